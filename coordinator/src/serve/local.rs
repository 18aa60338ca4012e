//! A whole sweep in this process: takes the sweep's own instance, starts workers, waits until nothing is left, ends in order.
//!
//! In: a resolved sweep and a bucket. Out: what came of it. What is finished stays in the bucket whatever ends this process;
//! what is missing is computed anew at every start.

use super::driver::{self, Handle};
use super::epoch::{self, Epoch, EpochError};
use super::fleet::{Fleet, FleetError};
use super::grid::{self, Catalog, Costs};
use super::log::{self, LogError};
use super::machine::{Demand, Devices, memory_share_gib, worker_devices};
use super::outcome;
use super::progress::{Estimator, Progress};
use super::status::Status;
use super::worker_api;
use super::workers::{WorkerCommand, find_binary};
use crate::clock::{self, Stopwatch};
use crate::records::{Present, RecordsError, kept, present, present_without_stale};
use crate::schedule::{Event, Millis, Misfit, Timing, Wait};
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::ids::CellKey;
use espalier_proto::layout;
use espalier_proto::recipe::Backend;
use espalier_proto::sweep::ResolvedSweep;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

pub use super::outcome::{Failed, Outcome};

/// Durations of the protocol where workers are children of this process.
const TIMING: Timing =
    Timing { lease: Millis(30_000), busy: Millis(1_000), hold: Millis(25_000), reconcile: Millis(0) };
/// How often children are looked after.
const LOOK: Duration = Duration::from_millis(100);
/// How long a sweep may be without a worker that can run what waits, while all have called.
const STARVED: Duration = Duration::from_secs(3);

/// What to run.
#[derive(Clone, Debug)]
pub struct LocalRun<'a> {
    /// The sweep; its inputs are in the bucket.
    pub sweep: &'a ResolvedSweep,
    /// Where results go.
    pub bucket: &'a Bucket,
    /// Limits what is run, not what the sweep is.
    pub only: Option<BTreeSet<CellKey>>,
    /// Take the sweep's name from another instance, or from a run that cannot be known to be dead.
    pub take_over: bool,
    /// `--worker-bin`.
    pub worker_bin: Option<PathBuf>,
    /// `--devices`.
    pub devices: Devices,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Somebody else is at it, or the bucket failed.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// The name is another's, or the bucket failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Records cannot be read.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// There is no worker.
    #[error("no espalier-worker; looked for {}; say --worker-bin", looked.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "))]
    NoWorker {
        /// Where it was looked for.
        looked: Vec<PathBuf>,
    },
    /// The sweep asks for what this machine lacks.
    #[error(
        "backend cuda is asked for (by the sweep, or by --devices), and the worker sees no GPU on this machine; run it where one \
         is, say backend: cpu and --devices cpu, or, where backend: auto was found to be cuda before, --update"
    )]
    NoGpu,
    /// This process cannot do what a coordinator must.
    #[error("{what}")]
    Machine {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Its workers.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// No worker is what the sweep asks for.
    #[error("no worker can run what is left: worker {worker}: {why}")]
    NoFit {
        /// One of them.
        worker: String,
        /// Why not.
        why: String,
    },
    /// A newer run of this sweep took over.
    #[error("another run has taken {sweep} over; what this one finished is in the bucket")]
    TakenOver {
        /// The sweep.
        sweep: String,
    },
}

/// Runs a sweep until nothing is left to do; `show` is called whenever there is progress to show.
pub async fn run(options: LocalRun<'_>, mut show: impl FnMut(&Progress)) -> Result<Outcome, LocalError> {
    let watch = Stopwatch::start();
    let LocalRun { sweep, bucket, .. } = options;
    let instance = sweep.name.local_instance();
    let epoch = if options.take_over {
        epoch::take(bucket, &instance).await?
    } else {
        epoch::take_alone(bucket, &instance).await?
    };
    let result = run_epoch(&options, &epoch, watch, &mut show).await;
    // A marker that could not be written makes the next run look for this process, which will be gone.
    if let Err(error) = epoch.end(bucket).await {
        tracing::warn!(%error, "the end of this run could not be written");
    }
    result
}

async fn run_epoch(
    options: &LocalRun<'_>,
    epoch: &Epoch,
    watch: Stopwatch,
    show: &mut impl FnMut(&Progress),
) -> Result<Outcome, LocalError> {
    let LocalRun { sweep, bucket, only, .. } = options;
    log::submit(bucket, epoch, sweep, None, options.take_over).await?;
    let before = present_without_stale(bucket, sweep, kept(bucket, &sweep.name).await?).await?;
    let missing = outcome::missing(sweep, &before, only.as_ref());
    if missing == 0 {
        return Ok(outcome::outcome(sweep, only.as_ref(), &before, &before, &Status::default())
            .after(watch.elapsed()));
    }
    let mut run = Running::start(options, epoch, &before, missing, watch).await?;
    let ended = run.until_over(show).await;
    let interrupted = matches!(ended, Ok(End::Interrupted));
    run.fleet.end(interrupted).await;
    run.driver.stop(Duration::MAX).await;
    run.server.abort();
    let status = run.driver.status().borrow().clone();
    ended?;
    let after = present(bucket, sweep, true).await?;
    let mut outcome = outcome::outcome(sweep, only.as_ref(), &before, &after, &status).after(watch.elapsed());
    outcome.interrupted = interrupted;
    Ok(outcome)
}

/// How a run's main loop ended.
enum End {
    Over,
    Interrupted,
}

/// A run with its workers.
struct Running<'a> {
    sweep: &'a ResolvedSweep,
    driver: Handle,
    server: tokio::task::JoinHandle<()>,
    fleet: Fleet,
    estimator: Estimator,
    watch: Stopwatch,
}

impl<'a> Running<'a> {
    async fn start(
        options: &LocalRun<'a>,
        epoch: &Epoch,
        before: &Present,
        missing: usize,
        watch: Stopwatch,
    ) -> Result<Self, LocalError> {
        let LocalRun { sweep, bucket, .. } = *options;
        let binary =
            find_binary(options.worker_bin.as_deref()).map_err(|looked| LocalError::NoWorker { looked })?;
        let costs = Costs::read(bucket, sweep).await?;
        let devices = worker_devices(&options.devices, demand(sweep, &costs, missing), &binary);
        if devices.is_empty() {
            return Err(LocalError::NoGpu);
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .map_err(machine("no port of this machine could be opened for workers"))?;
        let address = listener.local_addr().map_err(machine("the port for workers has no address"))?;
        let driver = driver::start(bucket.clone(), epoch.clone(), TIMING, Catalog::new(sweep));
        let submission = grid::submission(sweep, before, &costs, options.only.as_ref(), Default::default());
        driver.tell(Event::Submit(Box::new(submission)));
        let serving = worker_api::serve(listener, driver.clone(), std::future::pending());
        let server = tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "workers can no longer be served");
            }
        });
        let logs = log_folder(bucket, epoch);
        if let Some(folder) = logs(0).parent() {
            std::fs::create_dir_all(folder).map_err(machine("no folder for workers' logs could be made"))?;
        }
        let threads = sweep.variants.iter().find_map(|v| v.spec.threads);
        // A worker alone on its device knows best; what the environment says holds for each worker.
        let shared = devices[0] == "cpu" && std::env::var_os("ESPALIER_MEMORY_GIB").is_none();
        let memory_gib = if shared { memory_share_gib(devices.len()) } else { None };
        let commands = devices.into_iter().enumerate().map(|(slot, device)| WorkerCommand {
            binary: binary.clone(),
            coordinator: format!("http://{address}"),
            device,
            threads,
            memory_gib,
            log: logs(slot),
        });
        let fleet = Fleet::new(driver.clone(), commands);
        Ok(Self { sweep, driver, server, fleet, estimator: Estimator::new(sweep), watch })
    }

    async fn until_over(&mut self, show: &mut impl FnMut(&Progress)) -> Result<End, LocalError> {
        let mut status = self.driver.status();
        // Once, and not at every turn: what comes while this is busy would be nobody's.
        let mut interrupted =
            signal(SignalKind::interrupt()).map_err(machine("Ctrl-C cannot be listened for"))?;
        let mut terminated =
            signal(SignalKind::terminate()).map_err(machine("SIGTERM cannot be listened for"))?;
        let mut starved: Option<Stopwatch> = None;
        loop {
            let now: Arc<Status> = status.borrow_and_update().clone();
            if let Some(progress) = self.estimator.progress(&now, self.watch.elapsed()) {
                show(&progress);
            }
            if now.over() {
                return Ok(End::Over);
            }
            if now.superseded {
                return Err(LocalError::TakenOver { sweep: self.sweep.name.to_string() });
            }
            self.fleet.look_after(&now)?;
            let still = now.view.attempts.is_empty() && self.fleet.all_called(&now);
            let waits = if still { self.driver.waits_for(&self.sweep.name).await } else { None };
            let misfit = match &waits {
                Some(Wait::NoWorkerFits(misfits)) => misfits.iter().find(|(_, why)| lasts(why)),
                _ => None,
            };
            match misfit {
                Some((worker, why)) => {
                    if starved.get_or_insert_with(Stopwatch::start).elapsed() > STARVED {
                        return Err(LocalError::NoFit { worker: worker.to_string(), why: unfit(why, &now) });
                    }
                }
                None => starved = None,
            }
            tokio::select! {
                () = clock::sleep(LOOK) => {}
                _ = status.changed() => {}
                _ = interrupted.recv() => return Ok(End::Interrupted),
                _ = terminated.recv() => return Ok(End::Interrupted),
            }
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.server.abort();
        restore_interrupt();
    }
}

fn machine(what: &'static str) -> impl FnOnce(std::io::Error) -> LocalError {
    move |source| LocalError::Machine { what, source }
}

/// It is not only for now that the worker runs nothing.
fn lasts(why: &Misfit) -> bool {
    !matches!(why, Misfit::Leaves | Misfit::Silent { .. })
}

/// Why a worker cannot run what is left; a node that failed is told with its last failure.
fn unfit(why: &Misfit, status: &Status) -> String {
    let last = match why {
        Misfit::Faulty { .. } => {
            status.faults.values().last().map(|f| format!(", the last time so: {}", f.message))
        }
        _ => None,
    };
    format!("{why}{}", last.unwrap_or_default())
}

/// After a run Ctrl-C ends the process again, as it did before.
fn restore_interrupt() {
    // SAFETY: sets the default action of a signal.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_DFL) };
    // SAFETY: as above.
    unsafe { libc::signal(libc::SIGTERM, libc::SIG_DFL) };
}

fn demand(sweep: &ResolvedSweep, costs: &Costs, missing: usize) -> Demand {
    let spec = sweep.variants.first().map(|v| &v.spec);
    let backend = spec.map_or(Backend::Cpu, |s| s.backend);
    Demand {
        backend,
        threads: spec.and_then(|s| s.threads).unwrap_or(1),
        worker_bytes: costs.resident(sweep, backend),
        useful: missing,
    }
}

/// Where workers' logs go: into a folder bucket, else to the machine's folder for temporary files.
fn log_folder(bucket: &Bucket, epoch: &Epoch) -> impl Fn(usize) -> PathBuf {
    let root = bucket.folder().map_or_else(|| std::env::temp_dir().join("espalier"), PathBuf::from);
    let epoch = epoch.clone();
    move |slot| root.join(layout::worker_log(&epoch.instance, epoch.n, slot).as_ref())
}
