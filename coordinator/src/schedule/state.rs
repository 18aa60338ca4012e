//! What a schedule knows.

use super::event::{Millis, Needs, Phase, WorkerFacts, WorkerId};
use super::index::{Entry, Index, No, Sum};
use super::pace::Pace;
use super::table::{Lookup, Table};
use espalier_proto::ids::{AttemptId, CellKey, Name, VariantKey};
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::Limits;
use litemap::LiteMap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Durations of the protocol.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Silence after which a worker's shards may be given to others.
    pub lease: Millis,
    /// A busy worker calls at least this often.
    pub busy: Millis,
    /// An idle worker's call is held open this long.
    pub hold: Millis,
    /// After a restart nothing new is given out for this long, while running workers announce what they hold.
    pub reconcile: Millis,
}

/// The one state machine of a coordinator.
#[derive(Clone, Debug)]
pub struct Schedule {
    pub(super) instance: Name,
    pub(super) epoch: u64,
    pub(super) timing: Timing,
    /// Time of the first event.
    pub(super) started: Option<Millis>,
    /// Time of the last event.
    pub(super) now: Millis,
    /// Number of the last attempt of this epoch.
    pub(super) last_attempt: u64,
    pub(super) draining: bool,
    /// A newer coordinator is at work: nothing is commanded any more.
    pub(super) superseded: bool,
    /// Variants and cells that workers of each node have finished.
    pub(super) finished: BTreeMap<String, u64>,
    #[cfg(test)]
    pub(super) bug: Option<super::simulation::Bug>,
    /// Something happened that can finish a sweep.
    pub(super) unsettled: bool,
    pub(super) pace: Pace,
    /// Events so far.
    pub(super) checks: u64,
    pub(super) sweeps: BTreeMap<Name, Sweep>,
    pub(super) variants: Table<VariantKey, Variant>,
    /// The variant of every cell.
    pub(super) homes: Lookup<CellKey, VariantKey>,
    pub(super) workers: Table<WorkerId, Worker>,
    pub(super) attempts: Table<AttemptId, Attempt>,
    pub(super) index: Index,
    /// What variants add to the sweep of each number.
    pub(super) sums: BTreeMap<No, Sum>,
    /// Variants that wait for each canary.
    pub(super) gated: BTreeMap<VariantKey, BTreeSet<VariantKey>>,
    /// Numbers of the sweeps that go on.
    pub(super) going: BTreeSet<No>,
    /// The last sweep's number.
    pub(super) last_sweep: No,
    /// No lease lapses before.
    pub(super) next_lapse: Millis,
    /// Workers are not forgotten before.
    pub(super) next_forget: Millis,
    /// Idle calls that are held open, with the end of that.
    pub(super) holds: BTreeSet<(Millis, WorkerId)>,
    /// Workers that may be due an answer.
    pub(super) to_answer: BTreeSet<WorkerId>,
    /// Variants of which something is believed to be done by what was said of an attempt that was not known.
    pub(super) hearsay: BTreeSet<VariantKey>,
}

/// A submitted sweep.
#[derive(Clone, Debug)]
pub(super) struct Sweep {
    /// What it is called in the index; a sweep submitted again keeps it.
    pub(super) no: No,
    pub(super) limits: Limits,
    /// Cells wanted of it.
    pub(super) cells: BTreeSet<CellKey>,
    /// Variants whose own record is wanted.
    pub(super) alone: BTreeSet<VariantKey>,
    /// Higher comes first.
    pub(super) priority: i32,
    /// Work that was given out for it; as much as for others that went on when it joined them.
    pub(super) served: u64,
    /// Nothing new of it is given out.
    pub(super) paused: bool,
    /// Stopped, by the user or by `limits.max_failed_cells`.
    pub(super) halted: bool,
    /// Stopped by `limits.max_failed_cells`.
    pub(super) doomed: bool,
    /// It was, by its log.
    pub(super) was_doomed: bool,
    /// `SweepDone` was said.
    pub(super) told: bool,
}

/// Of two sweeps the one whose claim is larger comes first: that of higher priority, then that for which less runs, then that whose turn it is.
pub(super) type Claim = (i32, Reverse<u64>, bool);

impl Sweep {
    /// So many of its cells given up stop it.
    pub(super) fn most_failed(&self) -> u64 {
        self.limits.max_failed_cells.max(1).into()
    }

    /// What it wants is to be run now.
    pub(super) fn goes_on(&self) -> bool {
        !self.halted && !self.paused
    }
}

/// A variant that some sweep wants.
#[derive(Clone, Debug)]
pub(super) struct Variant {
    pub(super) needs: Needs,
    pub(super) cost: u64,
    /// Number of its needs.
    pub(super) class: No,
    /// Sweeps that want its own record.
    pub(super) wants_alone: BTreeSet<No>,
    /// Its place in the index.
    pub(super) entry: Entry,
    /// Position in the order of submission.
    pub(super) order: usize,
    /// Its record is in the bucket.
    pub(super) done: bool,
    /// The canary of its model, of each sweep that wants it and has one.
    pub(super) after: LiteMap<No, VariantKey>,
    /// Flat: a hundred thousand variants of one cell would take 2 kB each with a tree's node.
    pub(super) cells: LiteMap<CellKey, Cell>,
    /// Live attempts at it.
    pub(super) attempts: BTreeSet<AttemptId>,
    pub(super) trouble: Trouble,
    /// How far the last lost attempt had come.
    pub(super) lost_at: Option<Reach>,
    /// Attempts lost in a row, none further than the one before it.
    pub(super) losses: Vec<Loss>,
}

impl Variant {
    /// An attempt that came this far came further than the last lost one.
    pub(super) fn came_further(&self, reach: Reach) -> bool {
        self.lost_at.is_none_or(|before| reach > before)
    }
}

/// An attempt that was lost with its worker.
#[derive(Clone, Debug)]
pub(super) struct Loss {
    pub(super) attempt: AttemptId,
    pub(super) host: String,
    /// What its node had finished by then.
    pub(super) finished: u64,
    pub(super) weight: Weight,
    /// How far the one lost before it had come.
    pub(super) before: Option<Reach>,
}

/// What one failure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    Nothing,
    Excused,
    Blamed,
    Final,
}

/// A cell that some sweep wants.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) cost: u64,
    /// Position among its variant's cells.
    pub(super) order: usize,
    /// Sweeps that want it.
    pub(super) wants: Vec<No>,
    /// Its record is in the bucket.
    pub(super) done: bool,
    pub(super) trouble: Trouble,
    /// It was late once, and given to a second worker.
    pub(super) doubled: bool,
}

impl Cell {
    pub(super) fn new(cost: u64, order: usize) -> Self {
        Self { cost, order, wants: Vec::new(), done: false, trouble: Trouble::default(), doubled: false }
    }

    /// Cells of a variant are done in this order: the longest first, so that none is begun late.
    pub(super) fn rank(&self) -> (Reverse<u64>, usize) {
        (Reverse(self.cost), self.order)
    }
}

/// The failures of one key, since this coordinator's start.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    /// Attempts whose failure was counted: a report repeated is not a second failure.
    pub(super) seen: BTreeSet<AttemptId>,
    /// Failures by its own fault.
    pub(super) blamed: u32,
    /// Failures by the fault of a node or the store.
    pub(super) excused: u32,
    /// Memory of the largest device that did not suffice, bytes.
    pub(super) too_small: u64,
    /// Workers at which it failed, of itself or by their node's fault.
    pub(super) failed_at: BTreeSet<WorkerId>,
    /// Fingerprints of devices on which it came out otherwise than before.
    pub(super) unlike: BTreeSet<String>,
    /// Not to be tried before.
    pub(super) not_before: Millis,
    /// It failed as often as the limits allow.
    pub(super) quarantined: Option<FailureCode>,
}

impl Trouble {
    /// Not every worker that fits may try it again.
    pub(super) fn is_picky(&self) -> bool {
        self.too_small > 0 || !self.failed_at.is_empty()
    }
}

/// How far an attempt has come; larger is further.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Reach {
    pub(super) variant_done: bool,
    pub(super) cells_done: usize,
    /// 0 before it was heard that it has begun.
    pub(super) phase: u8,
    /// Thousandths of the phase.
    pub(super) thousandths: u64,
}

/// A live attempt at a shard.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) variant: VariantKey,
    pub(super) worker: WorkerId,
    /// Cells that it is to do and has not done.
    pub(super) cells: BTreeSet<CellKey>,
    /// Those of them that it has begun, and begun ones that were taken from it.
    pub(super) begun: BTreeSet<CellKey>,
    /// When it was first heard that it has begun just these.
    pub(super) begun_since: Millis,
    /// It does what is late a second time.
    pub(super) second: bool,
    /// The variant's record is wanted, even without cells.
    pub(super) alone: bool,
    /// The variant's record was not there when it began: it prunes, or still loads.
    pub(super) prepares: bool,
    /// The worker has said that it holds it.
    pub(super) confirmed: bool,
    pub(super) lease_until: Millis,
    pub(super) reach: Reach,
    pub(super) phase: Phase,
    pub(super) progress: (u64, u64),
}

impl Attempt {
    /// It is to do this cell, or does it all the same.
    pub(super) fn has(&self, cell: &CellKey) -> bool {
        self.cells.contains(cell) || self.begun.contains(cell)
    }
}

/// A worker that has called.
#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) facts: WorkerFacts,
    /// When it last called.
    pub(super) heard: Millis,
    /// When its last call was answered, or was let go by itself.
    pub(super) answered: Millis,
    pub(super) draining: bool,
    /// Its open call: number and time.
    pub(super) call: Option<(u64, Millis)>,
    /// Number of its newest call, open or not.
    pub(super) newest: u64,
    /// What it said it holds in its last call.
    pub(super) reported: BTreeSet<AttemptId>,
    /// Live attempts that it holds or is to hold.
    pub(super) attempts: BTreeSet<AttemptId>,
    /// When it last said that a cell is done.
    pub(super) done_at: Millis,
    /// Model of the last shard that it was given.
    pub(super) last_model: Option<espalier_proto::ids::ModelDigest>,
    /// Node faults in a row.
    pub(super) faults: u32,
    /// Number of its facts.
    pub(super) kind: No,
    /// It is among the idle workers of this kind.
    pub(super) idle_as: Option<No>,
    /// Its call is held open until then.
    pub(super) held_until: Option<Millis>,
    /// It was told that there is work that it could do later.
    pub(super) told_held_back: bool,
    /// It was answered before. A newcomer's first call is not held, so that it knows at once that it is accepted and for which bucket.
    pub(super) greeted: bool,
}

impl Schedule {
    /// An empty schedule of this epoch of an instance.
    pub fn new(instance: Name, epoch: u64, timing: Timing) -> Self {
        Self {
            instance,
            epoch,
            timing,
            started: None,
            now: Millis(0),
            last_attempt: 0,
            draining: false,
            superseded: false,
            finished: BTreeMap::new(),
            #[cfg(test)]
            bug: None,
            unsettled: false,
            pace: Pace::default(),
            checks: 0,
            sweeps: BTreeMap::new(),
            variants: Table::default(),
            homes: Lookup::default(),
            workers: Table::default(),
            attempts: Table::default(),
            index: Index::default(),
            sums: BTreeMap::new(),
            gated: BTreeMap::new(),
            going: BTreeSet::new(),
            last_sweep: 0,
            next_lapse: Millis(u64::MAX),
            next_forget: Millis(0),
            holds: BTreeSet::new(),
            to_answer: BTreeSet::new(),
            hearsay: BTreeSet::new(),
        }
    }
}
