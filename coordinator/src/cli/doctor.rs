//! `espalier doctor`: can this machine run a sweep? The worker binary, its devices, the bucket, the Hugging Face cache.

use super::{BucketArg, Output, print};
use crate::exit::{Exit, Failure, chain};
use crate::serve::workers::find_binary;
use espalier_proto::bucket::Bucket;
use object_store::path::Path as ObjectPath;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::Command;

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
pub async fn run(command: &Doctor, output: Output) -> Result<Exit, Failure> {
    let mut findings = worker(command.worker_bin.as_deref());
    findings.push(bucket(&command.bucket.bucket).await);
    let exit = findings.iter().find(|f| !f.ok).map_or(Exit::Whole, |f| f.exit);
    match output {
        Output::Json => print::json(&findings),
        Output::Text => {
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
    let device = match Command::new(&binary).arg("doctor").output() {
        Err(error) => finding("device", false, format!("the worker cannot be started: {error}")),
        Ok(said) if said.status.success() => {
            let lines = String::from_utf8_lossy(&said.stdout);
            let lines: Vec<&str> = lines.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
            finding("device", true, lines.join("; "))
        }
        Ok(said) => finding("device", false, String::from_utf8_lossy(&said.stderr).trim().to_owned()),
    };
    vec![found, device]
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
