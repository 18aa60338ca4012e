//! `espalier doctor`: can this machine run a sweep? The worker binary, its devices, the bucket and its clock, the Hugging Face cache, the
//! cache of models; with `--coordinator`, whether one answers and has workers.

use super::remote::CoordinatorArg;
use super::run::cache;
use super::{BucketArg, print};
use crate::causes::chain;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::inputs::sources::HubCache;
use crate::serve::workers::find_binary;
use espalier_proto::bucket::Bucket;
use espalier_proto::messages::StateRequest;
use espalier_proto::remote::Reach;
use object_store::path::Path as ObjectPath;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Look whether this machine can run a sweep: worker, devices, bucket
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier doctor\n  espalier doctor --bucket s3://results/llm --output json\n  \
                  espalier doctor --coordinator https://HOST:7420 --token-file token"
)]
pub struct Doctor {
    /// The bucket.
    #[command(flatten)]
    pub bucket: BucketArg,
    /// The worker's binary [default: beside this one, else on PATH]
    #[arg(long, value_name = "FILE", env = "ESPALIER_WORKER_BIN")]
    pub worker_bin: Option<PathBuf>,
    /// Also look whether this coordinator answers
    #[arg(long, env = "ESPALIER_COORDINATOR", hide_env_values = true, value_name = "URL")]
    pub coordinator: Option<String>,
    /// How it is believed.
    #[command(flatten)]
    pub reach: Reach,
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
    findings.extend(bucket(&command.bucket.bucket).await);
    findings.extend(caches());
    if let Some(url) = &command.coordinator {
        findings.push(coordinator(url, &command.reach).await);
    }
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

/// A store's clock may differ from this machine's by so much: requests are signed with the time, and stores refuse those of another.
const SKEW_S: u64 = 60;

/// Opens the bucket, tries the promises that everything stands on, and compares its clock with this machine's.
async fn bucket(url: &str) -> Vec<Finding> {
    let finding = |what, ok, about| Finding { what, ok, about, exit: Exit::Bucket };
    let bucket = match Bucket::open(url) {
        Ok(bucket) => bucket,
        Err(error) => return vec![finding("bucket", false, chain(&error))],
    };
    let path = ObjectPath::from(format!("coordinators/doctor/probe/{}.json", std::process::id()));
    let probed = bucket.probe(&path, "doctor").await;
    let written = bucket.meta(&path).await;
    let cleaned = bucket.delete(&path).await;
    if let Err(error) = probed.and(cleaned) {
        return vec![finding("bucket", false, chain(&error))];
    }
    let mut findings =
        vec![finding("bucket", true, format!("{} takes create-only writes and reads back", bucket.url()))];
    if let Ok(Some(written)) = written {
        let skew = clock::seconds_since(written.last_modified).unsigned_abs();
        let about = match skew <= SKEW_S {
            true => format!("this machine's and the bucket's agree to within {SKEW_S} s"),
            false => format!(
                "this machine's and the bucket's are {skew} s apart; set this machine's, by NTP for example"
            ),
        };
        findings.push(finding("clock", skew <= SKEW_S, about));
    }
    findings
}

/// The Hugging Face cache and the folder where models are kept.
fn caches() -> Vec<Finding> {
    let finding = |what, ok, about| Finding { what, ok, about, exit: Exit::BadNode };
    let hub = HubCache::from_env(|name| std::env::var(name).ok());
    let models = hub.models();
    let hub = finding("hub cache", true, format!("{}, {} models", hub.shown(), models));
    let Some(cache) = cache() else {
        return vec![hub, finding("cache", false, "there is no home; set HOME, or say --cache".to_owned())];
    };
    let tried = std::fs::create_dir_all(&cache).and_then(|()| tempfile::tempfile_in(&cache));
    let cache = match tried {
        Ok(_) => finding("cache", true, format!("{} can be written, {}", cache.display(), free(&cache))),
        Err(error) => finding("cache", false, format!("{}: {error}; say --cache", cache.display())),
    };
    vec![hub, cache]
}

fn free(folder: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let unknown = || "free space unknown".to_owned();
    let Ok(path) = std::ffi::CString::new(folder.as_os_str().as_bytes()) else { return unknown() };
    // SAFETY: all zeros is a value of this struct of numbers.
    let mut about: libc::statvfs = unsafe { std::mem::zeroed() };
    // SAFETY: both live through the call.
    match unsafe { libc::statvfs(path.as_ptr(), &mut about) } {
        0 => format!("{:.1} GiB free", about.f_bavail as f64 * about.f_frsize as f64 / f64::from(1 << 30)),
        _ => unknown(),
    }
}

/// Asks a coordinator for its state.
async fn coordinator(url: &str, reach: &Reach) -> Finding {
    let finding = |ok, about, exit| Finding { what: "coordinator", ok, about, exit };
    let argument = CoordinatorArg { coordinator: url.to_owned(), reach: reach.clone() };
    let asked = async {
        let state = argument.connect().await?.state(StateRequest::default()).await?.into_inner();
        Ok::<_, Failure>(state)
    };
    match asked.await {
        Ok(state) => {
            let about = format!("it answers; {} sweeps, {} workers", state.sweeps.len(), state.workers.len());
            finding(true, about, Exit::Whole)
        }
        Err(failure) => finding(false, chain(&failure), failure.exit()),
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
