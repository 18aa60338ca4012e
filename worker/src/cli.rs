//! The command line: what may be said to a worker, and the only place that prints or reads the environment.

mod argv;
mod doctor;
mod manual;
mod values;

use crate::compute::child::ChildOptions;
use crate::compute::serve;
use crate::execute::{Executor, ModelCache, Options, ShardError};
use crate::leave::{Ended, Limits};
use crate::session::{self, SessionError};
use crate::telemetry::Logs;
use clap::{Args, Parser, Subcommand};
use espalier_proto::causes::chain;
use espalier_proto::mirror::MirrorError;
use espalier_proto::remote::{self, Address, Reach};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use values::{device, gib, past, seconds};

/// Prunes and evaluates for a coordinator, one device a worker.
#[derive(Debug, Parser)]
#[command(name = "espalier-worker", version, args_conflicts_with_subcommands = true, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    work: Work,
}

const EXAMPLE: &str = "Examples:
  espalier-worker --coordinator http://10.0.0.5:7420 --device cuda:0
  espalier-worker --coordinator http://127.0.0.1:7420 --threads 2 --memory-gib 8
  espalier-worker doctor --device cpu
  espalier-worker --coordinator http://10.0.0.5:7420 --device cuda:0 --idle-exit 300 --time-limit 82800
  espalier-worker doctor --device cuda:0 --speed bfloat16 --width 2560

Exit codes: 0 drained by the coordinator, or idle for --idle-exit
            2 the command line
            3 the coordinator's address or answers make no sense, or it refuses this worker from the start
            5 the bucket cannot be used, or has not answered for --bucket-timeout
            6 no coordinator has answered for --orphan-timeout
            7 this machine or its device cannot work, or sees another bucket
            8 left on a signal or by --time-limit: there may be work left, start another
            130, 143 ended at once by a second signal";

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what this device is and whether a worker can run here.
    Doctor(doctor::Doctor),
    /// Prints what a shell needs to complete this command line.
    Completions(manual::Completions),
    /// Writes manual pages, one a command.
    Man(manual::Man),
    /// Owns tensors for a supervisor; speaks JSON on stdin and stdout.
    #[command(hide = true)]
    Compute(serve::Options),
}

#[derive(Debug, Args)]
struct Work {
    /// Where the coordinator listens: http://HOST:PORT, https://HOST:PORT, or https://HOST:PORT#FINGERPRINT:TOKEN as `espalier identity`
    /// prints it (better in the environment, or with the token in a file, than on the command line). `--join` is the same option.
    #[arg(
        long,
        visible_alias = "join",
        env = "ESPALIER_COORDINATOR",
        hide_env_values = true,
        value_name = "URL",
        required = true
    )]
    coordinator: Option<String>,
    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    device: DeviceArgs,
    /// Memory that shards may use, GiB; default: four fifths of the device's.
    #[arg(long, value_name = "GIB", env = "ESPALIER_MEMORY_GIB", value_parser = gib)]
    memory_gib: Option<f64>,
    /// Where digests of model files are remembered [default: ~/.cache/espalier/digests].
    #[arg(long, value_name = "DIR", env = "ESPALIER_DIGEST_CACHE")]
    digest_cache: Option<PathBuf>,
    /// Where models are kept that are not on this node; its workers share it [default: ~/.cache/espalier/models].
    #[arg(long, value_name = "DIR", env = "ESPALIER_CACHE")]
    cache: Option<PathBuf>,
    /// How much the cache may hold, GiB; models that nobody uses go, oldest first [default: no end].
    #[arg(long, value_name = "GIB", env = "ESPALIER_CACHE_LIMIT", value_parser = gib)]
    cache_limit: Option<f64>,
    /// While pruning, masks of finished blocks go to the bucket not more often than this, in seconds; whoever prunes the variant after this
    /// worker's end goes on from there.
    #[arg(long, value_name = "SECONDS", env = "ESPALIER_SAVE_EVERY", default_value_t = 20.0, value_parser = seconds)]
    save_every: f64,
    /// A compute process that says nothing for so many seconds hangs, and is killed; one that works says something at least once a block.
    #[arg(long, value_name = "SECONDS", env = "ESPALIER_STALL", default_value_t = 1800.0, value_parser = past)]
    stall: f64,
    /// Leave after so many seconds without work from a coordinator that answers [default: stay].
    #[arg(long, value_name = "SECONDS", env = "ESPALIER_IDLE_EXIT", value_parser = seconds)]
    idle_exit: Option<f64>,
    /// Leave after so many seconds as if on SIGTERM: the cell that has begun is finished, masks of pruned blocks are saved, the rest goes
    /// back. Choose it shorter than the batch system's limit by the longest cell and a minute.
    #[arg(long, value_name = "SECONDS", env = "ESPALIER_TIME_LIMIT", value_parser = past)]
    time_limit: Option<f64>,
    /// Leave when no coordinator has answered for so many seconds and nothing is left to do.
    #[arg(long, value_name = "SECONDS", env = "ESPALIER_ORPHAN_TIMEOUT", default_value_t = 86_400.0, value_parser = seconds)]
    orphan_timeout: f64,
    /// A newcomer whose bucket has not answered for so many seconds ends, with 5; one that had it before waits for it.
    #[arg(long, value_name = "SECONDS", env = "ESPALIER_BUCKET_TIMEOUT", default_value_t = 300.0, value_parser = seconds)]
    bucket_timeout: f64,
    /// Where to answer /healthz, /readyz and /metrics, plain HTTP [default: nowhere].
    #[arg(long, env = "ESPALIER_HTTP", value_name = "ADDR")]
    http: Option<std::net::SocketAddr>,
    /// End when the process that started this one ends.
    #[arg(long)]
    die_with_parent: bool,
    #[command(flatten)]
    logs: Logs,
}

#[derive(Debug, Args)]
struct DeviceArgs {
    /// `cpu` or `cuda:N`.
    #[arg(long, default_value = "cpu", env = "ESPALIER_DEVICE", value_parser = device)]
    device: String,
    /// CPU: threads that compute. They change last bits, so they are the sweep's, never the machine's.
    #[arg(long, default_value_t = 2, env = "ESPALIER_THREADS", value_parser = clap::value_parser!(u32).range(1..=1024))]
    threads: u32,
    /// CUDA: the libtorch_cuda.so to open [default: the one beside libtorch_cpu.so].
    #[arg(long, value_name = "FILE", env = "ESPALIER_LIBTORCH_CUDA")]
    libtorch_cuda: Option<PathBuf>,
}

/// Why the program ends badly.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("this device cannot work")]
    Device(#[source] ShardError),
    #[error("this process cannot start: {action}")]
    Process {
        action: &'static str,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} cannot be written")]
    Write {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("--cache cannot be used, expected a folder that can be written")]
    Cache(#[source] MirrorError),
    #[error("OMP_THREAD_LIMIT is {value:?}: it would change results silently; unset it and use --threads")]
    ThreadLimit { value: String },
}

impl CliError {
    /// Exit codes as in `espalier`: 3 bad input, 5 bucket, 7 bad node. What batch systems read.
    fn exit(&self) -> u8 {
        match self {
            Self::Session(
                SessionError::Reach(_)
                | SessionError::Refused { .. }
                | SessionError::Stranger { .. }
                | SessionError::Protocol { .. }
                | SessionError::Answer { .. },
            ) => 3,
            Self::Write { .. } => 3,
            Self::Session(SessionError::Bucket(_)) => 5,
            Self::Session(SessionError::ForeignBucket { .. }) => 7,
            Self::Device(_) | Self::Process { .. } | Self::Cache(_) | Self::ThreadLimit { .. } => 7,
        }
    }
}

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = argv::parse();
    let result = match cli.command {
        Some(Command::Compute(options)) => {
            Logs::plain("info").start();
            return serve::main(&options);
        }
        Some(Command::Doctor(doctor)) => {
            on_main_thread(&Logs::plain("warn"), doctor::examine(&doctor)).map(|()| Ended::Drained)
        }
        Some(Command::Completions(command)) => manual::completions(&command).map(|()| Ended::Drained),
        Some(Command::Man(command)) => manual::man(&command).map(|()| Ended::Drained),
        None => on_main_thread(&cli.work.logs, work(&cli.work)),
    };
    match result {
        Ok(Ended::Drained | Ended::Idle) => ExitCode::SUCCESS,
        Ok(Ended::Orphaned) => ExitCode::from(6),
        Ok(Ended::Signalled | Ended::TimeOver) => ExitCode::from(8),
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit())
        }
    }
}

fn complain(error: &CliError) {
    // Where even stderr cannot be written, the exit code tells.
    let _ = writeln!(std::io::stderr(), "error: {}", remote::failure_shown(&chain(error)));
}

/// Runs on this thread alone: a compute child dies with the *thread* that spawned it, and this one lives as long as the process.
fn on_main_thread<T>(logs: &Logs, future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|source| CliError::Process { action: "starting the runtime", source })?;
    let entered = runtime.enter();
    let spans = logs.start();
    drop(entered);
    let result = runtime.block_on(future);
    spans.end(&runtime);
    result
}

fn child_options(
    device: &DeviceArgs,
    memory_bytes: Option<u64>,
    stall: Duration,
) -> Result<ChildOptions, CliError> {
    if let Ok(value) = std::env::var("OMP_THREAD_LIMIT") {
        return Err(CliError::ThreadLimit { value });
    }
    let exe = std::env::current_exe()
        .map_err(|source| CliError::Process { action: "finding its own binary", source })?;
    Ok(ChildOptions {
        exe,
        device: device.device.clone(),
        threads: device.threads,
        memory_bytes,
        libtorch_cuda: device.libtorch_cuda.clone(),
        stall,
    })
}

async fn work(work: &Work) -> Result<Ended, CliError> {
    if work.die_with_parent {
        die_with_parent()?;
    }
    // Installed before anything slow, so that a signal at any time is one that is heard.
    let leave = leave_signal()?;
    // What cannot be called is told before a device is opened.
    let address = Address::parse(work.coordinator.as_deref().expect("clap requires it"));
    let address = address.map_err(|e| SessionError::Reach(e.into()))?;
    let (channel, credential) = remote::channel(&address, &work.reach).map_err(SessionError::Reach)?;
    let memory = work.memory_gib.map(|gib| (gib * (1u64 << 30) as f64) as u64);
    let options = Options {
        child: child_options(&work.device, memory, Duration::from_secs_f64(work.stall))?,
        digest_cache: work.digest_cache.clone().or_else(|| user_cache("digests")),
        cache: model_cache(work.cache.clone(), work.cache_limit),
        save_every: Duration::from_secs_f64(work.save_every),
    };
    match options.cache.try_out() {
        Ok(()) => {}
        Err(error) if work.cache.is_some() => return Err(CliError::Cache(error)),
        // It may never be needed: a worker that sees the models' folders fetches none.
        Err(error) => tracing::warn!(%error, "the cache cannot be used; say another: --cache DIR"),
    }
    let mut executor = Executor::new(options).map_err(CliError::Device)?;
    let device = executor.describe().await.map_err(CliError::Device)?;
    let memory = memory.unwrap_or(device.memory_bytes / 5 * 4);
    tracing::info!(
        device = device.name,
        fingerprint = device.fingerprint,
        threads = device.threads,
        "worker is ready"
    );
    let listening = |source| CliError::Process { action: "listening on --http", source };
    let http = match work.http {
        Some(at) => {
            let http = tokio::net::TcpListener::bind(at).await.map_err(listening)?;
            let at = http.local_addr().map_err(listening)?;
            tracing::info!("answers probes and scrapers on http://{at}");
            Some(http)
        }
        None => None,
    };
    let info = session::worker_info(&device, host(), memory);
    let limits = Limits {
        idle_exit: work.idle_exit.map(Duration::from_secs_f64),
        time_limit: work.time_limit.map(Duration::from_secs_f64),
        orphan_timeout: Duration::from_secs_f64(work.orphan_timeout),
        bucket_timeout: Duration::from_secs_f64(work.bucket_timeout),
    };
    let calls = session::Calls { channel, credential, address: address.to_string() };
    let ended = session::serve(calls, info, device, executor, http, limits, leave).await?;
    tracing::info!(why = ?ended, "worker ended");
    Ok(ended)
}

/// Completes on the first SIGTERM or SIGINT; a second one ends the process at once.
fn leave_signal() -> Result<impl Future<Output = ()>, CliError> {
    use tokio::signal::unix::{SignalKind, signal};
    let failed = |source| CliError::Process { action: "listening for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let (tell, told) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut once = async || {
            tokio::select! { _ = terminate.recv() => 143, _ = interrupt.recv() => 130 }
        };
        once().await;
        // The receiver is gone only when the worker is ending anyway.
        let _ = tell.send(());
        let code = once().await;
        std::process::exit(code);
    });
    Ok(async move {
        if told.await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}

/// Asks the kernel to end this process with its parent (with the thread of it that spawned us).
fn die_with_parent() -> Result<(), CliError> {
    // SAFETY: prctl with these arguments touches no memory.
    let rc = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    if rc != 0 {
        let source = std::io::Error::last_os_error();
        return Err(CliError::Process { action: "tying its life to its parent's", source });
    }
    Ok(())
}

/// `~/.cache/espalier/<name>`, where there is a home.
fn user_cache(name: &str) -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    Some(base.join("espalier").join(name))
}

/// The node's model cache: as told, else the user's, else one of this machine.
fn model_cache(folder: Option<PathBuf>, limit_gib: Option<f64>) -> ModelCache {
    let folder = folder.or_else(|| user_cache("models"));
    let folder = folder.unwrap_or_else(|| std::env::temp_dir().join("espalier-models"));
    ModelCache::new(folder, limit_gib.map(|gib| (gib * (1u64 << 30) as f64) as u64))
}

/// This host's name, for people.
fn host() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "unknown".to_owned(), |s| s.trim().to_owned())
}
