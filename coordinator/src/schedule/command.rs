//! What the caller of a schedule must do.

use super::event::{Fault, WorkerId};
use espalier_proto::ids::{AttemptId, CellKey, Digest, Name, VariantKey};
use espalier_proto::records::FailureCode;

/// Something to carry out. Commands are in order; a lost one does no lasting harm, because the next call of a worker and the
/// next start of a coordinator find out what is the case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Answer a worker's open call.
    Answer {
        /// Whose.
        worker: WorkerId,
        /// Which call.
        call: u64,
        /// Everything that it should hold.
        orders: Vec<Order>,
        /// It should finish what it holds and end.
        drain: bool,
        /// Milliseconds until it should call again at the latest.
        call_again_ms: u32,
        /// It is given nothing, and there is work that it could do later.
        held_back: bool,
    },
    /// Keep the failure of an attempt in the bucket.
    KeepFailure {
        /// Who said so; its fingerprint is kept.
        worker: WorkerId,
        /// The attempt.
        attempt: AttemptId,
        /// What failed.
        fault: Fault,
    },
    /// A key failed as often as the limits allow: write it to the logs of these sweeps.
    Quarantine {
        /// The sweeps that want it.
        sweeps: Vec<Name>,
        /// Variant or cell key.
        key: Digest,
        /// The failure's code.
        code: FailureCode,
    },
    /// So many cells of the sweep failed that it is stopped: write it to its log.
    Stop {
        /// Which.
        sweep: Name,
    },
    /// A retry of one sweep forgave what others had given up too: write it to their logs.
    Forgive {
        /// One of the others.
        sweep: Name,
        /// Keys of variants and cells that it wants.
        keys: Vec<Digest>,
    },
    /// A model's canary has passed: write it to the logs of these sweeps.
    CanaryPassed {
        /// The sweeps that want it.
        sweeps: Vec<Name>,
        /// Which.
        canary: VariantKey,
    },
    /// An attempt was lost: look whether its records are in the bucket, and tell by `RecordsFound`.
    LookFor {
        /// The variant.
        variant: VariantKey,
        /// Cells that the attempt had.
        cells: Vec<CellKey>,
    },
    /// Nothing of the sweep is left to do.
    SweepDone {
        /// Which.
        sweep: Name,
        /// It was stopped by `limits.max_failed_cells`.
        halted: bool,
    },
    /// A worker knows a newer epoch of this instance: this coordinator must end.
    Superseded {
        /// That epoch.
        epoch: u64,
    },
}

/// One attempt that a worker should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The attempt.
    pub attempt: AttemptId,
    /// Its variant.
    pub variant: VariantKey,
    /// Cells still to do, in order.
    pub cells: Vec<CellKey>,
    /// The variant's record is wanted even if there is no cell to do.
    pub variant_wanted: bool,
}
