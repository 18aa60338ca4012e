//! The worker processes of a local run: started, started again a bounded number of times when they die, and ended in order.

use super::driver::Handle;
use super::status::Status;
use super::workers::{WorkerCommand, WorkerProcess};
use crate::clock::{self, Stopwatch};
use crate::schedule::Event;
use std::path::PathBuf;
use std::time::Duration;

/// How long workers may take to end by themselves.
const PATIENCE: Duration = Duration::from_secs(5);
/// Deaths of one worker without anything having been finished in between, after which it is not started again.
const DEATHS: u32 = 6;
/// The same for a worker that never called.
const STILLBIRTHS: u32 = 2;
/// The exit code by which a worker says that its machine cannot do the work.
const BAD_NODE: i32 = 7;

/// Why a run has no workers.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// None can be started.
    #[error("the worker cannot be started")]
    NotStarted(#[source] std::io::Error),
    /// Workers die and do not come back.
    #[error("workers on {device} keep dying ({how}); the last one's log, {log}, ends with:\n{tail}")]
    WorkersDie {
        /// The device.
        device: String,
        /// How the last one ended.
        how: String,
        /// Its log.
        log: PathBuf,
        /// The log's end.
        tail: String,
    },
}

/// One worker's place in a run.
struct Slot {
    command: WorkerCommand,
    process: Option<WorkerProcess>,
    /// Deaths since anything was last finished.
    deaths: u32,
    /// Done when it last died.
    done: usize,
    /// It is not started again.
    given_up: bool,
}

/// Every worker of a run.
pub(super) struct Fleet {
    driver: Handle,
    slots: Vec<Slot>,
}

impl Fleet {
    /// None is started yet.
    pub(super) fn new(driver: Handle, commands: impl Iterator<Item = WorkerCommand>) -> Self {
        let slot = |command| Slot { command, process: None, deaths: 0, done: 0, given_up: false };
        Self { driver, slots: commands.map(slot).collect() }
    }

    /// Every worker that runs has called at least once.
    pub(super) fn all_called(&self, status: &Status) -> bool {
        self.slots.iter().filter_map(|s| s.process.as_ref()).all(|p| status.called.contains_key(&p.pid()))
    }

    /// Starts workers that are not there, and tells the schedule of those that died.
    pub(super) fn look_after(&mut self, status: &Status) -> Result<(), FleetError> {
        let done = status.view.sweeps.values().map(|s| s.done).sum();
        let mut last_death = None;
        for slot in &mut self.slots {
            if let Some(process) = &mut slot.process
                && let Some(ended) = process.ended()
            {
                let pid = process.pid();
                let called = status.called.contains_key(&pid);
                self.driver.worker_exited(pid);
                slot.process = None;
                slot.deaths = if done > slot.done { 1 } else { slot.deaths + 1 };
                slot.done = done;
                let allowed = if called { DEATHS } else { STILLBIRTHS };
                slot.given_up = slot.deaths >= allowed || ended.code() == Some(BAD_NODE);
                tracing::warn!(pid, device = slot.command.device, how = %ended, tail = slot.command.tail(), "worker died");
                last_death = Some((slot.command.clone(), ended.to_string()));
            }
            if slot.process.is_none() && !slot.given_up {
                slot.process = Some(slot.command.start().map_err(FleetError::NotStarted)?);
            }
        }
        match last_death {
            Some((command, how)) if self.slots.iter().all(|s| s.given_up) => {
                let tail = command.tail();
                Err(FleetError::WorkersDie { device: command.device, how, log: command.log, tail })
            }
            _ => Ok(()),
        }
    }

    /// Workers end by themselves, then by force.
    pub(super) async fn end(&mut self, interrupted: bool) {
        self.driver.tell(Event::Drain);
        let waited = Stopwatch::start();
        let mut processes: Vec<WorkerProcess> =
            self.slots.iter_mut().filter_map(|s| s.process.take()).collect();
        if interrupted {
            processes.iter_mut().for_each(WorkerProcess::terminate);
        }
        // One for all turns: what comes between two would be nobody's.
        let again = tokio::signal::ctrl_c();
        tokio::pin!(again);
        while processes.iter_mut().any(|p| p.ended().is_none()) && waited.elapsed() < PATIENCE {
            tokio::select! {
                () = clock::sleep(Duration::from_millis(20)) => {}
                _ = &mut again => break,
            }
        }
        // Dropping a process kills it.
    }
}
