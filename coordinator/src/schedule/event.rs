//! What can happen to a schedule.

use espalier_proto::ids::{AttemptId, CellKey, Digest, ModelDigest, Name, VariantKey};
use espalier_proto::recipe::Backend;
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::Limits;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// A time or a duration, milliseconds; times count from the schedule's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl std::ops::Add for Millis {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

/// A worker, as it named itself at its start. Copies share the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub Arc<str>);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A sweep was submitted, or submitted again: this is now what is wanted of it.
    Submit(Box<Submission>),
    /// Nothing more of the sweep is to be run.
    Cancel(Name),
    /// Nothing new of the sweep is to be given out until it is resumed; begun cells are finished. Submitting again does not
    /// resume it.
    Pause(Name),
    /// The end of a pause.
    Resume(Name),
    /// The failures of these keys are forgotten, so that they are tried again; a sweep that too many failures stopped goes on.
    Retry {
        /// The sweep.
        sweep: Name,
        /// Variant or cell keys; empty for every quarantined one of the sweep.
        keys: Vec<Digest>,
    },
    /// Another instance has the sweep now: it is no longer known here. Cells that other sweeps want stay wanted.
    Forget(Name),
    /// A worker called.
    Sync(Box<Sync>),
    /// A worker's call is no longer open, though it was not answered.
    CallClosed {
        /// Whose.
        worker: WorkerId,
        /// Which call.
        call: u64,
    },
    /// A worker's process is known to have ended.
    WorkerLost(WorkerId),
    /// These records were seen in the bucket.
    RecordsFound {
        /// Variants.
        variants: Vec<VariantKey>,
        /// Cells.
        cells: Vec<CellKey>,
    },
    /// Every worker is to finish what it holds and end.
    Drain,
    /// Another coordinator of this instance has taken this epoch.
    NewerEpoch(u64),
    /// Time has passed.
    Tick,
}

/// What is wanted of a sweep.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The sweep.
    pub sweep: Name,
    /// Higher comes first; sweeps of one priority share fairly. 0 unless said.
    pub priority: i32,
    /// Nothing new of it is begun.
    pub paused: bool,
    /// It is stopped: known, and not run.
    pub cancelled: bool,
    /// Its failed cells stopped it before, and nothing of it was to be tried again since, whatever others have measured.
    pub doomed: bool,
    /// Somebody asks for it: what was given up of it is tried again, as after [`Event::Retry`].
    pub again: bool,
    /// When to give up.
    pub limits: Limits,
    /// Variants with the cells wanted of them, in the order of tables.
    pub variants: Vec<VariantPlan>,
    /// Variants whose record is in the bucket.
    pub variants_done: BTreeSet<VariantKey>,
    /// Cells whose record is in the bucket.
    pub cells_done: BTreeSet<CellKey>,
    /// Records that were believed to be in the bucket before it was read for this submission, and are not there.
    pub gone: Records,
    /// Keys that the sweep's log says were given up, and why.
    pub given_up: BTreeMap<Digest, FailureCode>,
}

/// Records of the bucket, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Records {
    /// Of variants.
    pub variants: BTreeSet<VariantKey>,
    /// Of cells.
    pub cells: BTreeSet<CellKey>,
}

/// What a schedule believes to be in the bucket.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Believed {
    /// Of variants that nobody is at.
    pub records: Records,
    /// Variants that somebody is at: their workers go on saying what they have done, deleted or not.
    pub busy: BTreeSet<VariantKey>,
}

/// A variant as the schedule sees it.
#[derive(Clone, Debug)]
pub struct VariantPlan {
    /// Which.
    pub key: VariantKey,
    /// What a worker must be to run it.
    pub needs: Needs,
    /// Expected work of loading and pruning; any unit, the same for all.
    pub cost: u64,
    /// The variant's own record is wanted, whether or not any cell is.
    pub wanted_alone: bool,
    /// Its cells, in the order in which they are done.
    pub cells: Vec<CellPlan>,
    /// Its model's canary, which has to be done first: a variant without cells that is wanted alone.
    pub after: Option<VariantKey>,
}

/// A cell as the schedule sees it.
#[derive(Clone, Copy, Debug)]
pub struct CellPlan {
    /// Which.
    pub key: CellKey,
    /// Expected work, in the unit of [`VariantPlan::cost`].
    pub cost: u64,
}

/// What a worker must be to run a variant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Needs {
    /// The model.
    pub model: ModelDigest,
    /// Kind of device.
    pub backend: Backend,
    /// Threads, on CPU.
    pub threads: Option<u32>,
    /// The fingerprint that the sweep pins.
    pub device_kind: Option<String>,
    /// Predicted peak of device memory, bytes; 0 if nothing is predicted.
    pub memory: u64,
    /// Stages with the versions that the keys were made with.
    pub stages: BTreeMap<String, u32>,
}

/// One call of a worker.
#[derive(Clone, Debug)]
pub struct Sync {
    /// Who.
    pub worker: WorkerId,
    /// The call's number, given by the caller of `step`; larger is newer.
    pub call: u64,
    /// What the worker is.
    pub facts: WorkerFacts,
    /// It takes no new shard.
    pub draining: bool,
    /// Highest epoch of this instance that it has heard of.
    pub epoch_seen: u64,
    /// Every shard that it holds.
    pub shards: Vec<Report>,
}

/// What a worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerFacts {
    /// Its node, for people and for blame.
    pub host: String,
    /// Its process id there.
    pub pid: u32,
    /// Its device's name, for people.
    pub device: String,
    /// Kind of device.
    pub backend: Backend,
    /// Bytes that shards may use.
    pub memory: u64,
    /// Digest of the device's own bits.
    pub fingerprint: String,
    /// Versions of its stages.
    pub stages: BTreeMap<String, u32>,
    /// Threads of one compute process, on CPU.
    pub threads: u32,
    /// Models at hand.
    pub models: BTreeSet<ModelDigest>,
}

/// What a worker says of one shard that it holds.
#[derive(Clone, Debug)]
pub struct Report {
    /// The shard's variant.
    pub variant: VariantKey,
    /// The attempt.
    pub attempt: AttemptId,
    /// What it is doing.
    pub phase: Phase,
    /// Work done in this phase, and in all of it.
    pub progress: (u64, u64),
    /// The variant's record is in the bucket.
    pub variant_done: bool,
    /// Cells whose records are in the bucket.
    pub cells_done: BTreeSet<CellKey>,
    /// Cells that have begun and will be finished.
    pub cells_begun: BTreeSet<CellKey>,
    /// What failed in this attempt so far.
    pub faults: Vec<Fault>,
}

/// What a shard's attempt is doing, in the order in which it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Phase {
    /// Behind others that its worker holds.
    Waiting,
    Loading,
    Pruning,
    Evaluating,
    Committing,
    Finished,
}

/// A failure where it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The variant's key or a cell's.
    pub key: Digest,
    /// What it says about what to do next.
    pub kind: FaultKind,
    /// The word that results show.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

/// What a failure says about what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// The worker was told to leave.
    Preempted,
    /// The compute process died or stalled.
    ComputeLost,
    /// The node or its device is at fault.
    NodeFault,
    /// The work itself fails wherever it runs.
    CellError,
    /// The object store did not answer as promised.
    StoreError,
    /// The device's memory did not suffice.
    OutOfMemory,
}
