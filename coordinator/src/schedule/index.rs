//! What placement and the ends of sweeps need to know at once, kept up to date: which variants wait and how much work they are,
//! which attempts can be split, which workers are idle, how much of a sweep is open and runs. Whatever changes a variant marks
//! it; before anything is decided every marked one is looked at anew. Nothing here decides.

use super::event::{Millis, Needs, WorkerFacts, WorkerId};
use super::fit::misfit;
use espalier_proto::ids::{ModelDigest, VariantKey};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// A sweep's number, a kind of worker's, a class of needs'.
pub(super) type No = u32;
/// Epoch and number of an attempt: all live ones are of one instance.
pub(super) type Try = (u64, u64);
/// Waiting variants of one class, by work and, among equals, in the order of submission.
pub(super) type Queue = BTreeSet<(u64, Reverse<usize>, VariantKey)>;

/// Everything that is looked up instead of searched.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Variants to be looked at anew.
    pub(super) marked: BTreeSet<VariantKey>,
    /// Variants that become calm at a time.
    pub(super) timers: BTreeSet<(Millis, VariantKey)>,
    /// Waiting variants by the number of a sweep that wants them and their class.
    pub(super) queues: BTreeMap<No, BTreeMap<No, Queue>>,
    /// Attempts that can be split, by class and by the work that could be taken.
    pub(super) splits: BTreeMap<No, BTreeSet<(u64, Reverse<Try>)>>,
    /// Waiting variants of which something failed before, so that not every worker that fits may try it.
    pub(super) picky: BTreeSet<VariantKey>,
    /// Idle workers with an open call, by kind.
    pub(super) idle: BTreeMap<No, BTreeSet<WorkerId>>,
    /// Of those, workers for which nothing has been looked for yet.
    pub(super) fresh: BTreeSet<WorkerId>,
    /// Something waits, or can be split, that did not before.
    pub(super) news: bool,
    classes: BTreeMap<Needs, No>,
    class_needs: Vec<Needs>,
    kinds: Vec<WorkerFacts>,
    /// Whether a kind of worker fits a class.
    fits: Vec<Vec<bool>>,
}

/// What a variant adds to a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Something of it is neither done nor given up.
    pub(super) open: bool,
    /// Cells given up by failures of their own or of their variant.
    pub(super) failed: u64,
    /// Cells given up by whatever it was, a canary among it.
    pub(super) lost: u64,
    /// An attempt has a cell of the sweep.
    pub(super) running: bool,
    /// Work of attempts that the sweep wants.
    pub(super) work: u64,
    /// Work that is not done yet.
    pub(super) left: u64,
    /// Cells whose record is in the bucket.
    pub(super) done: u64,
    /// Work in all, and of what is in the bucket.
    pub(super) all: (u64, u64),
    /// Work that is neither done nor ever will be, as long as nobody asks for it again.
    pub(super) forgone: u64,
    /// Its key, or one of its cells', was given up.
    pub(super) given_up: bool,
}

/// What all variants add to a sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// Variants with something open.
    pub(super) open: u64,
    /// Cells given up by failures of their own or of their variant.
    pub(super) failed: u64,
    /// Cells given up by whatever it was, a canary among it.
    pub(super) lost: u64,
    /// Variants with a running cell of the sweep.
    pub(super) running: u64,
    /// Work that runs for it.
    pub(super) work: u64,
    /// Work that is not done yet.
    pub(super) left: u64,
    /// Cells whose record is in the bucket.
    pub(super) done: u64,
    /// Work in all, and of what is in the bucket.
    pub(super) all: (u64, u64),
    /// Work that is neither done nor ever will be, as long as nobody asks for it again.
    pub(super) forgone: u64,
    /// Variants of which something was given up.
    pub(super) given_up: u64,
}

/// A variant's place in the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) tallies: Vec<(No, Tally)>,
    /// Its length, by which what waits is put in order, and the sweeps that want it now, if it waits.
    pub(super) waits: Option<(u64, BTreeSet<No>)>,
    pub(super) splits: Vec<(Try, u64)>,
    pub(super) timer: Option<Millis>,
    pub(super) picky: bool,
}

impl Index {
    /// The variant changed.
    pub(super) fn mark(&mut self, key: VariantKey) {
        self.marked.insert(key);
    }

    /// The number of a class of needs.
    pub(super) fn class(&mut self, needs: &Needs) -> No {
        if let Some(no) = self.classes.get(needs) {
            return *no;
        }
        let no = self.classes.len() as No;
        self.classes.insert(needs.clone(), no);
        self.class_needs.push(needs.clone());
        for (kind, fits) in self.kinds.iter().zip(&mut self.fits) {
            fits.push(misfit(kind, needs).is_none());
        }
        no
    }

    /// The number of a kind of worker: workers of one kind fit the same shards.
    pub(super) fn kind(&mut self, facts: &WorkerFacts) -> No {
        let at = self.kinds.iter().position(|k| k.same_kind(facts));
        at.unwrap_or_else(|| {
            self.kinds.push(facts.clone());
            self.fits.push(self.class_needs.iter().map(|needs| misfit(facts, needs).is_none()).collect());
            self.kinds.len() - 1
        }) as No
    }

    /// A kind of worker fits a class of needs.
    pub(super) fn fits(&self, kind: No, class: No) -> bool {
        self.fits[kind as usize][class as usize]
    }

    /// The model that a class needs.
    pub(super) fn model(&self, class: No) -> ModelDigest {
        self.class_needs[class as usize].model
    }
}

impl Sum {
    pub(super) fn add(&mut self, tally: &Tally) {
        self.open += u64::from(tally.open);
        self.failed += tally.failed;
        self.lost += tally.lost;
        self.running += u64::from(tally.running);
        self.work += tally.work;
        self.left += tally.left;
        self.done += tally.done;
        self.all = (self.all.0 + tally.all.0, self.all.1 + tally.all.1);
        self.forgone += tally.forgone;
        self.given_up += u64::from(tally.given_up);
    }

    pub(super) fn take(&mut self, tally: &Tally) {
        self.open -= u64::from(tally.open);
        self.failed -= tally.failed;
        self.lost -= tally.lost;
        self.running -= u64::from(tally.running);
        self.work -= tally.work;
        self.left -= tally.left;
        self.done -= tally.done;
        self.all = (self.all.0 - tally.all.0, self.all.1 - tally.all.1);
        self.forgone -= tally.forgone;
        self.given_up -= u64::from(tally.given_up);
    }
}
