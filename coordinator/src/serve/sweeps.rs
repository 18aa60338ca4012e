//! The sweeps that a coordinator has: taken up, steered, shown.
//!
//! In: resolved sweeps and the logs of the bucket. Out: what the schedule is told. The bucket is the only memory: what is here
//! is read from it at every start.

use super::driver::Handle;
use super::ending::Ending;
use super::epoch::Epoch;
use super::fold::{Fold, Part};
use super::log::LogError;
use super::outcome::{Failed, given_up};
use super::progress::{Estimator, Progress};
use super::status::Status;
use crate::clock::Stopwatch;
use crate::records::RecordsError;
use crate::schedule::AttemptView;
use crate::spec::only::{Only, OnlyError};
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::causes::chain;
use espalier_proto::ids::{CellKey, Digest, Name, VariantKey};
use espalier_proto::sweep::ResolvedSweep;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

/// A sweep cannot be taken up.
#[derive(Debug, thiserror::Error)]
pub enum SweepsError {
    /// Its log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Its records.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// What is asked for of it, in its log.
    #[error("the log of sweep {sweep}")]
    Only {
        /// The sweep.
        sweep: Name,
        /// What is wrong.
        source: OnlyError,
    },
    /// A record of it, or a list of records, is not what it should be.
    #[error("{of} makes what is damaged missing again: {why}")]
    Damaged {
        /// What mends it: a command, of a sweep of the bucket that has it.
        of: String,
        /// What is damaged, and how.
        why: String,
    },
    /// It could not be taken up at the start.
    #[error(
        "sweep {sweep} could not be taken up: {why}; submitting it again writes its grid and its inputs anew, `espalier repair {sweep}` makes \
         what is damaged missing again of all else, and `espalier rm {sweep} --force` removes a sweep alone whose log is damaged: submitting it \
         again finds what it has measured"
    )]
    Unreadable {
        /// The sweep.
        sweep: Name,
        /// Why.
        why: String,
    },
    /// Another coordinator of this instance is at work, which may have read the log before this was said.
    #[error(
        "another coordinator of instance {instance} has taken this one's place, and may not know of this: ask that one again"
    )]
    Superseded {
        /// This instance.
        instance: Name,
    },
    /// Another instance has it now.
    #[error(
        "instance {owner} has taken sweep {sweep} over from instance {instance}: the coordinator of {owner} tells how it goes on, and \
         `espalier submit --take-over` brings it back"
    )]
    TakenOver {
        /// This instance.
        instance: Name,
        /// The sweep.
        sweep: Name,
        /// Whose it is.
        owner: String,
    },
    /// It was removed from the bucket.
    #[error("sweep {sweep} was removed from the bucket; submitting it again brings it back")]
    Removed {
        /// The sweep.
        sweep: Name,
    },
    /// This instance has no such sweep.
    #[error("instance {instance} has no sweep {sweep}; it has: {known}")]
    Unknown {
        /// This instance.
        instance: Name,
        /// As asked.
        sweep: String,
        /// Its sweeps.
        known: String,
    },
}

/// One sweep.
pub(super) struct Live {
    pub(super) sweep: Arc<ResolvedSweep>,
    /// What the log says that the schedule has been told.
    pub(super) fold: Fold,
    /// That of the records when they were read; `None` if some were being deleted.
    pub(super) generation: Option<Digest>,
    /// Variants that somebody was at when something was deleted, or of which a worker's word alone is known: they are looked at once nobody is
    /// at them.
    pub(super) unlooked: BTreeSet<VariantKey>,
    /// How often something was asked of it that the status shows.
    pub(super) asked: u64,
    pub(super) estimator: Estimator,
}

impl Live {
    /// What others did to these variants of it is looked for once nobody is at them.
    pub(super) fn look_again(&mut self, variants: &BTreeSet<VariantKey>) {
        self.unlooked.extend(variants.iter().filter(|key| self.estimator.knows(**key)));
    }
}

/// Every sweep of this instance.
pub struct Sweeps {
    bucket: Bucket,
    epoch: Epoch,
    driver: Handle,
    watch: Stopwatch,
    live: Mutex<BTreeMap<Name, Live>>,
    /// Those that could not be taken up, with why.
    pub(super) unreadable: Mutex<BTreeMap<Name, String>>,
    /// Those that were let go, with whose they are now; of those that were removed nobody's.
    pub(super) gone: Mutex<BTreeMap<Name, Option<String>>>,
    /// How far the ends are of those that are over.
    endings: Mutex<BTreeMap<Name, Ending>>,
    /// Held while a sweep's log is written and the schedule is told of it: both hear everything in one order.
    turns: Mutex<BTreeMap<Name, Arc<tokio::sync::Mutex<()>>>>,
}

/// A sweep at one moment.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its progress.
    pub progress: Progress,
    /// What was given up.
    pub failures: Vec<Failed>,
    /// Nothing is left to do.
    pub over: bool,
    /// Stopped before its end.
    pub halted: bool,
    /// Stopped by its failed cells.
    pub doomed: bool,
    /// Nothing new is begun.
    pub paused: bool,
    /// Its place among sweeps.
    pub priority: i32,
    /// Cells of its whole grid, of which `--only` may want a part.
    pub grid: usize,
    /// Of one that is over.
    pub ending: Ending,
}

/// What a submission says beside the sweep.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// The part of its grid.
    pub only: Only,
    /// The sweep's name passes to this instance.
    pub take_over: bool,
    /// Its place among sweeps; `None` leaves it.
    pub priority: Option<i32>,
}

impl SweepsError {
    /// The sweep's log cannot be read or written; of a damaged one it is said what can be done.
    pub(super) fn of_log(sweep: &Name, error: LogError) -> Self {
        match error {
            LogError::Bucket(error @ BucketError::Corrupt { .. }) => {
                Self::Unreadable { sweep: sweep.clone(), why: chain(&error) }
            }
            error => error.into(),
        }
    }
}

impl Sweeps {
    /// None yet.
    pub fn new(bucket: Bucket, epoch: Epoch, driver: Handle) -> Self {
        Self {
            bucket,
            epoch,
            driver,
            watch: Stopwatch::start(),
            live: Mutex::default(),
            unreadable: Mutex::default(),
            gone: Mutex::default(),
            endings: Mutex::default(),
            turns: Mutex::default(),
        }
    }

    /// The bucket of the instance.
    pub fn bucket(&self) -> &Bucket {
        &self.bucket
    }

    /// The epoch of this coordinator.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// The driver of this coordinator.
    pub fn driver(&self) -> &Handle {
        &self.driver
    }

    /// Something was asked of the sweep, and the status shows it.
    pub(super) fn count_asked(&self, name: &Name) {
        if let Some(live) = self.live().get_mut(name) {
            live.asked += 1;
        }
    }

    /// How often something was asked of each.
    pub(super) fn asked(&self) -> BTreeMap<Name, u64> {
        self.live().iter().map(|(name, live)| (name.clone(), live.asked)).collect()
    }

    pub(super) fn endings(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, Ending>> {
        self.endings.lock().expect("nothing panics while it holds the ends of sweeps")
    }

    pub(super) fn turn(&self, name: &Name) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().expect("nothing panics while it holds the turns");
        turns.entry(name.clone()).or_default().clone()
    }

    /// All of its grid was asked for before parts of it were, or were cancelled.
    pub fn wanted_all(&self, name: &Name) -> bool {
        let first = |live: &Live| matches!(live.fold.parts.first(), None | Some(Part::Unwanted(_)));
        self.live().get(name).is_some_and(first)
    }

    /// One of these cells is asked for.
    pub fn wants_any(&self, name: &Name, cells: &BTreeSet<CellKey>) -> Result<bool, SweepsError> {
        let known = self.live().get(name).map(|live| (live.sweep.clone(), live.fold.clone()));
        let asked = known.map(|(sweep, fold)| asked_for(&sweep, &fold)).transpose()?.flatten();
        Ok(asked.is_none_or(|asked| !asked.is_disjoint(cells)))
    }

    /// A sweep under this status; `None` if it is not here.
    pub fn show(&self, name: &Name, status: &Status) -> Option<Shown> {
        let mut live = self.live();
        let live = live.get_mut(name)?;
        let view = status.view.sweeps.get(name)?;
        let progress = live.estimator.progress(status, self.watch.elapsed())?;
        Some(Shown {
            progress,
            failures: given_up(&live.sweep, status),
            over: view.over,
            halted: view.halted,
            doomed: view.doomed,
            paused: view.paused,
            priority: view.priority,
            grid: live.sweep.cells.len(),
            ending: self
                .endings()
                .get(name)
                .filter(|e| view.over && e.asked == live.asked)
                .cloned()
                .unwrap_or_default(),
        })
    }

    /// What an attempt is doing, in a line.
    pub fn line(&self, attempt: &AttemptView) -> String {
        let live = self.live();
        let whole = live.values().find(|l| l.estimator.has(attempt));
        let of = whole.or_else(|| live.values().find(|l| l.estimator.knows(attempt.variant)));
        of.map_or_else(|| attempt.variant.0.short(), |l| l.estimator.line(attempt))
    }

    pub(super) fn live(&self) -> std::sync::MutexGuard<'_, BTreeMap<Name, Live>> {
        self.live.lock().expect("nothing panics while it holds the sweeps")
    }
}

/// The cells that a log asks for; `None`: all.
pub(super) fn asked_for(
    sweep: &ResolvedSweep,
    fold: &Fold,
) -> Result<Option<BTreeSet<CellKey>>, SweepsError> {
    fold.wanted(sweep).map_err(|source| SweepsError::Only { sweep: sweep.name.clone(), source })
}
