//! `espalier doctor`: can this machine run a sweep? The worker binary, its devices, the bucket, the Hugging Face cache.

use super::{BucketArg, print};
use crate::causes::chain;
use crate::exit::{Exit, Failure};
use crate::serve::workers::find_binary;
use espalier_proto::bucket::Bucket;
use object_store::path::Path as ObjectPath;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Look whether this machine can run a sweep: worker, devices, bucket
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  espalier doctor\n  espalier doctor --bucket s3://results/llm --output json"
)]
pub struct Doctor {
    /// The bucket.
    #[command(flatten)]
    pub bucket: BucketArg,
    /// The worker's binary [default: beside this one, else on PATH]
    #[arg(long, value_name = "FILE", env = "ESPALIER_WORKER_BIN")]
    pub worker_bin: Option<PathBuf>,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    what: &'static str,
    ok: bool,
    about: String,
    #[serde(skip)]
    exit: Exit,
}

/// Runs the command: the first thing that is wrong gives the code.
pub async fn run(command: &Doctor, output: super::Output) -> Result<Exit, Failure> {
    let mut findings = worker(command.worker_bin.as_deref());
    findings.push(bucket(&command.bucket.bucket).await);
    let exit = findings.iter().find(|f| !f.ok).map_or(Exit::Whole, |f| f.exit);
    match output {
        super::Output::Json => print::json(&findings),
        super::Output::Text => {
            for Finding { what, ok, about, .. } in &findings {
                let mark = if *ok { "ok   " } else { "wrong" };
                print::text(&format!("{mark}  {what}: {about}\n"));
            }
        }
    }
    Ok(exit)
}

fn worker(given: Option<&Path>) -> Vec<Finding> {
    let finding = |what, ok, about| Finding { what, ok, about, exit: Exit::BadNode };
    let binary = match find_binary(given) {
        Ok(binary) => binary,
        Err(looked) => {
            let looked: Vec<String> = looked.iter().map(|p| p.display().to_string()).collect();
            let about = format!("no espalier-worker; looked for {}; say --worker-bin", looked.join(", "));
            return vec![finding("worker", false, about)];
        }
    };
    let found = finding("worker", true, binary.display().to_string());
    let device = match Command::new(&binary).args(["doctor", "--output", "json"]).output() {
        Err(error) => finding("device", false, format!("{} cannot be started: {error}", binary.display())),
        Ok(said) => match about(&said.stdout).filter(|_| said.status.success()) {
            Some(about) => finding("device", true, about),
            None => finding("device", false, no_answer(&binary, &said)),
        },
    };
    vec![found, device]
}

/// What a worker says of its device, in a line; `None` if it is not what a worker says.
fn about(answer: &[u8]) -> Option<String> {
    let device: Value = serde_json::from_slice(answer).ok()?;
    let text = |field: &str| device[field].as_str().map(str::to_owned);
    let gib = device["memory_bytes"].as_u64()? as f64 / f64::from(1 << 30);
    let cuda = text("no_cuda").map_or_else(|| "CUDA".to_owned(), |why| format!("no CUDA: {why}"));
    Some(format!(
        "{}, {gib:.1} GiB, {} threads, libtorch {}, {cuda}, {} GPUs, fingerprint {}",
        text("name")?,
        device["threads"],
        text("libtorch")?,
        device["gpus"].as_array().map_or(0, Vec::len),
        text("fingerprint")?
    ))
}

/// What is wrong with a binary that does not answer as a worker does.
fn no_answer(binary: &Path, said: &Output) -> String {
    let stderr = String::from_utf8_lossy(&said.stderr);
    let stderr = if stderr.trim().is_empty() { "and nothing on stderr" } else { stderr.trim() };
    let binary = binary.display();
    format!("{binary} did not answer as a worker does ({}): {stderr}; is it an espalier-worker?", said.status)
}

/// Opens the bucket and tries the promises that everything stands on.
async fn bucket(url: &str) -> Finding {
    let finding = |ok, about| Finding { what: "bucket", ok, about, exit: Exit::Bucket };
    let bucket = match Bucket::open(url) {
        Ok(bucket) => bucket,
        Err(error) => return finding(false, chain(&error)),
    };
    let path = ObjectPath::from(format!("coordinators/doctor/probe/{}.json", std::process::id()));
    let probed = bucket.probe(&path, "doctor").await;
    let cleaned = bucket.delete(&path).await;
    match probed.and(cleaned) {
        Ok(()) => finding(true, format!("{} takes create-only writes and reads back", bucket.url())),
        Err(error) => finding(false, chain(&error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binary_that_is_no_worker_is_told_with_how_it_ended_and_what_it_said() {
        for (binary, says) in [
            (
                "/bin/false",
                "/bin/false did not answer as a worker does (exit status: 1): and nothing on stderr",
            ),
            ("/bin/true", "/bin/true did not answer as a worker does (exit status: 0)"),
            ("/bin/cat", "unrecognized option"),
        ] {
            let findings = worker(Some(Path::new(binary)));
            let last = findings.last().unwrap();
            assert!(!last.ok && last.exit == Exit::BadNode && last.about.contains(says), "{}", last.about);
        }
    }
}
