//! `espalier doctor`: can this machine run a sweep? The worker binary, its devices and their driver, the bucket and its clock, the
//! hub, the caches; with `--coordinator`, whether one answers and has workers. What is known is told at once, and what is wrong with
//! what to do about it.

mod network;

pub(super) use network::PROBES;

use super::bars::say;
use super::work::cache;
use super::{BucketArg, Output, print};
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::hub::Environment;
use crate::inputs::sources::HubCache;
use crate::serve::workers::find_binary;
use espalier_proto::remote::Reach;
use serde::Serialize;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Output as Said, Stdio};
use std::time::Duration;
use tokio::process::Command;

/// Look whether this machine can run a sweep: worker, devices, bucket, hub, caches
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
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
    #[serde(skip)]
    exit: Exit,
}

impl Finding {
    fn good(what: &'static str, about: String) -> Self {
        Self { what, ok: true, about, advice: None, exit: Exit::Whole }
    }

    fn wrong(what: &'static str, exit: Exit, about: String, advice: impl Into<String>) -> Self {
        Self { what, ok: false, about, advice: Some(advice.into()), exit }
    }
}

/// What was found so far: for people each finding is printed as soon as it is known, for programs all of them in the end.
struct Told {
    output: Output,
    findings: Vec<Finding>,
}

impl Told {
    fn tell(&mut self, finding: Finding) {
        if self.output == Output::Text {
            let mark = if finding.ok { "ok   " } else { "wrong" };
            print::text(&format!("{mark}  {}: {}\n", finding.what, finding.about));
            if let Some(advice) = &finding.advice {
                print::text(&format!("       -> {advice}\n"));
            }
        }
        self.findings.push(finding);
    }

    fn all(&mut self, findings: impl IntoIterator<Item = Option<Finding>>) {
        findings.into_iter().flatten().for_each(|finding| self.tell(finding));
    }
}

/// Runs the command: the first thing that is wrong gives the code.
pub async fn run(command: &Doctor, output: Output) -> Result<Exit, Failure> {
    let mut told = Told { output, findings: Vec::new() };
    worker(command.worker_bin.as_deref(), LOOK, &mut told).await;
    network::bucket(&command.bucket.bucket, &mut told).await;
    told.tell(network::hub(|name| std::env::var(name).ok()).await);
    caches(&mut told);
    if let Some(url) = &command.coordinator {
        told.tell(network::coordinator(url, &command.reach).await);
    }
    if output == Output::Json {
        print::json(&told.findings);
    }
    Ok(told.findings.iter().find(|f| !f.ok).map_or(Exit::Whole, |f| f.exit))
}

/// A worker's look at its device may read a GPU's libraries from a slow disk first.
const LOOK: Duration = Duration::from_secs(120);
/// What `work` gives within `limit`; `None` if it gives nothing. After a tenth of it a person is told what is waited for.
async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(work);
    let moment = limit / 10;
    tokio::select! {
        done = &mut work => return Some(done),
        () = clock::sleep(moment) => say(&format!("{what} does not answer yet; it is given {} s", limit.as_secs())),
    }
    tokio::select! {
        done = &mut work => Some(done),
        () = clock::sleep(limit - moment) => None,
    }
}

/// Whether there is a worker, and what it says of its device within `limit`; one that says nothing is ended.
async fn worker(given: Option<&Path>, limit: Duration, told: &mut Told) {
    let wrong = |what, about, advice: &str| Finding::wrong(what, Exit::BadNode, about, advice);
    let binary = match find_binary(given) {
        Ok(binary) => binary,
        Err(looked) => {
            let looked: Vec<String> = looked.iter().map(|p| p.display().to_string()).collect();
            let about = format!("no espalier-worker; looked for {}", looked.join(", "));
            return told.tell(wrong(
                "worker",
                about,
                "say --worker-bin FILE, or put it beside espalier or on PATH",
            ));
        }
    };
    told.tell(Finding::good("worker", binary.display().to_string()));
    let mut look = Command::new(&binary);
    look.args(["doctor", "--output", "json"]).stdin(Stdio::null()).kill_on_drop(true);
    let said = match within("the worker's look at its device", limit, look.output()).await {
        Some(Ok(said)) => said,
        None => {
            let about =
                format!("`{} doctor` said nothing in {} s, and was ended", binary.display(), limit.as_secs());
            let advice = "a device's driver hangs (does `nvidia-smi` answer?), or the disk where the worker and its libtorch are";
            return told.tell(wrong("device", about, advice));
        }
        Some(Err(error)) => {
            let about = format!("{} cannot be started: {error}", binary.display());
            return told.tell(wrong(
                "device",
                about,
                "say --worker-bin with a worker built for this machine",
            ));
        }
    };
    let answer: Option<Value> = serde_json::from_slice(&said.stdout).ok().filter(|_| said.status.success());
    match answer.as_ref().and_then(about) {
        Some(about) => told.tell(Finding::good("device", about)),
        None => {
            let advice =
                "is it an espalier-worker, and is its libtorch beside it? `espalier-worker doctor` says more";
            told.tell(wrong("device", no_answer(&binary, &said), advice));
        }
    }
    if let Some(driver) = answer.as_ref().and_then(driver) {
        told.tell(driver);
    }
}

/// Whether the driver of NVIDIA's is new enough for the worker's CUDA; `None` where there is none, or the worker does not tell.
fn driver(answer: &Value) -> Option<Finding> {
    let version = answer["driver"].as_str()?;
    let needed = answer["driver_needed"].as_u64()?;
    let major: u64 = version.split('.').next()?.parse().ok()?;
    if major >= needed {
        return Some(Finding::good("driver", format!("NVIDIA's {version}")));
    }
    let about = format!("NVIDIA's is {version}, and CUDA 13 needs {needed} or newer: no GPU can be used");
    let advice = format!(
        "install driver {needed} or newer, or measure on the CPU: `backend: cpu` in the sweep file, `--device cpu` of workers"
    );
    Some(Finding::wrong("driver", Exit::BadNode, about, advice))
}

/// What a worker says of its device, in a line; `None` if it is not what a worker says.
fn about(device: &Value) -> Option<String> {
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
fn no_answer(binary: &Path, said: &Said) -> String {
    let stderr = String::from_utf8_lossy(&said.stderr);
    let stderr = if stderr.trim().is_empty() { "and nothing on stderr" } else { stderr.trim() };
    let binary = binary.display();
    format!("{binary} did not answer as a worker does ({}): {stderr}", said.status)
}

/// The Hugging Face cache and the folder where models are kept.
fn caches(told: &mut Told) {
    told.tell(hub_cache(|name| std::env::var(name).ok()));
    let wrong = |about, advice: &str| Finding::wrong("cache", Exit::BadNode, about, advice);
    // As workers have it.
    let said = std::env::var_os("ESPALIER_CACHE").filter(|folder| !folder.is_empty());
    let Some(cache) = said.map(PathBuf::from).or_else(cache) else {
        return told.tell(wrong("there is no home".to_owned(), "set HOME, or say --cache DIR to workers"));
    };
    told.tell(match written(&cache) {
        Ok(()) => Finding::good("cache", format!("{} can be written, {}", cache.display(), free(&cache))),
        Err(error) => {
            let about = format!("{}: {error}", cache.display());
            wrong(about, "make the folder writable, or name another: --cache DIR (ESPALIER_CACHE) of workers")
        }
    });
}

/// Whether what the hub has can be put where it belongs; `get` reads one variable.
fn hub_cache(get: impl Fn(&str) -> Option<String>) -> Finding {
    let hub = HubCache::from_env(&get);
    let about = format!("{}, {} models", hub.shown(), hub.models());
    // Under HF_HUB_OFFLINE nothing is put there.
    let offline = matches!(Environment::read(&get), Ok(None));
    match written(hub.root()) {
        Err(error) if !offline => Finding::wrong(
            "hub cache",
            Exit::BadNode,
            format!("{about}: it cannot be written: {error}"),
            "name a folder that can be made and written: HF_HOME; where all that a sweep needs of the hub is there, HF_HUB_OFFLINE=1",
        ),
        _ => Finding::good("hub cache", about),
    }
}

/// Whether a folder can be written; it is made where it is absent.
fn written(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder)).map(drop)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_binary_that_is_no_worker_is_told_with_how_it_ended_and_what_it_said() {
        for (binary, says) in [
            (
                "/bin/false",
                "/bin/false did not answer as a worker does (exit status: 1): and nothing on stderr",
            ),
            ("/bin/true", "/bin/true did not answer as a worker does (exit status: 0)"),
            ("/bin/cat", "unrecognized option"),
        ] {
            let mut told = Told { output: Output::Json, findings: Vec::new() };
            worker(Some(Path::new(binary)), LOOK, &mut told).await;
            let last = told.findings.last().unwrap();
            assert!(!last.ok && last.exit == Exit::BadNode && last.about.contains(says), "{}", last.about);
        }
    }

    #[tokio::test]
    async fn a_worker_whose_look_hangs_is_ended_and_told_as_that() {
        let folder = tempfile::tempdir().unwrap();
        let (binary, pid) = (folder.path().join("worker"), folder.path().join("pid"));
        // Written by another process: what this one forks meanwhile would hold it open, and nobody could execute it.
        let script = format!("#!/bin/sh\necho $$ > {}\nexec sleep 1000\n", pid.display());
        let write = r#"printf %s "$2" > "$1" && chmod +x "$1""#;
        let mut written = std::process::Command::new("sh");
        written.args(["-c", write, "sh"]).arg(&binary).arg(script);
        assert!(written.status().unwrap().success());
        let mut told = Told { output: Output::Json, findings: Vec::new() };
        worker(Some(&binary), Duration::from_secs(5), &mut told).await;
        let last = told.findings.last().unwrap();
        assert!(!last.ok && last.exit == Exit::BadNode, "{last:?}");
        assert!(last.about.ends_with("worker doctor` said nothing in 5 s, and was ended"), "{last:?}");
        let process = format!("/proc/{}/cmdline", std::fs::read_to_string(&pid).unwrap().trim());
        let runs = || std::fs::read(&process).is_ok_and(|line| !line.is_empty());
        while runs() {
            clock::sleep(Duration::from_millis(10)).await;
        }
    }

    #[test]
    fn a_hub_cache_that_cannot_be_written_is_wrong_unless_nothing_is_put_there() {
        let of = |pairs: &[(&str, &str)]| {
            hub_cache(|key| pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned()))
        };
        let folder = tempfile::tempdir().unwrap();
        assert!(of(&[("HF_HOME", folder.path().to_str().unwrap())]).ok);
        let wrong = of(&[("HF_HOME", "/proc/none")]);
        assert!(!wrong.ok && wrong.exit == Exit::BadNode, "{wrong:?}");
        assert!(wrong.about.starts_with("/proc/none/hub, 0 models: it cannot be written: "), "{wrong:?}");
        assert!(wrong.advice.unwrap().contains("HF_HOME"));
        assert!(of(&[("HF_HOME", "/proc/none"), ("HF_HUB_OFFLINE", "1")]).ok);
    }

    #[test]
    fn a_driver_that_is_too_old_for_cuda_is_wrong_and_its_lack_is_not() {
        let of = |version: Value| driver(&serde_json::json!({"driver": version, "driver_needed": 580}));
        assert!(of(Value::Null).is_none());
        assert!(of("580.65.06".into()).unwrap().ok && of("1000.1".into()).unwrap().ok);
        let old = of("570.86.15".into()).unwrap();
        assert!(!old.ok && old.exit == Exit::BadNode && old.about.contains("570.86.15"), "{old:?}");
        assert!(old.advice.unwrap().contains("install driver 580 or newer"));
    }
}
