//! A worker of a random world: what it is, what it holds, how it gets on, what it says and how it takes an answer.

use crate::schedule::{Fault, FaultKind, Order, Phase, Report, Sync, WorkerFacts, WorkerId};
use espalier_proto::ids::{AttemptId, CellKey, Digest, VariantKey};
use espalier_proto::methods;
use espalier_proto::recipe::Backend;
use espalier_proto::records::FailureCode;
use std::collections::{BTreeMap, BTreeSet};

/// Another kind of device than most.
const OTHER_KIND: &str = "g";
/// Blocks of a variant.
const BLOCKS: u64 = 4;

/// A shard in a worker's hands.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) variant: VariantKey,
    wanted: Vec<CellKey>,
    stopped: bool,
    blocks: u64,
    variant_done: bool,
    done: BTreeSet<CellKey>,
    begun: BTreeSet<CellKey>,
    faults: Vec<Fault>,
    /// It will do nothing more.
    dead: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Hands {
    pub(super) facts: WorkerFacts,
    pub(super) held: BTreeMap<AttemptId, Held>,
    /// Its last call, as it was sent.
    pub(super) last: Option<Sync>,
    pub(super) draining: bool,
    /// Percent of turns in which it gets on.
    pub(super) speed: u64,
    /// It is silent, though it works, until then.
    pub(super) silent_until: u64,
    /// When the newest coordinator last heard of it.
    pub(super) heard: u64,
    pub(super) epoch_seen: u64,
}

/// What is so about a key, whoever runs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    Fine,
    /// It fails wherever it runs.
    Fails(FaultKind, FailureCode),
    /// Whoever prunes it dies, supervisor and all.
    Kills,
    /// It needs more memory than was predicted.
    Hungry(u64),
    /// It was pruned before, and comes out otherwise on the other kind of device.
    Unlike,
}

/// What the world knows that a worker meets.
pub(super) struct Ground<'a> {
    pub(super) natures: &'a BTreeMap<Digest, Nature>,
    pub(super) dropped: &'a mut BTreeSet<VariantKey>,
    pub(super) variants_there: &'a mut BTreeSet<VariantKey>,
    pub(super) cells_there: &'a mut BTreeSet<CellKey>,
}

impl Hands {
    pub(super) fn new((host, memory, backend): (u64, u64, Backend), speed: u64, now: u64) -> Self {
        let facts = WorkerFacts {
            host: format!("h{host}"),
            pid: 1,
            device: "d".into(),
            backend,
            memory,
            fingerprint: if host == 2 { OTHER_KIND } else { "f" }.into(),
            stages: BTreeMap::new(),
            threads: 2,
            models: BTreeSet::new(),
        };
        Self {
            facts,
            held: BTreeMap::new(),
            last: None,
            draining: false,
            speed,
            silent_until: 0,
            heard: now,
            epoch_seen: 0,
        }
    }

    pub(super) fn sync(&self, name: &str, call: u64) -> Sync {
        let first = self.held.iter().find(|(_, held)| held.has_work()).map(|(id, _)| id);
        let several = self.does_several();
        let report = |(id, held): (&AttemptId, &Held)| held.report(id, several && first != Some(id));
        let shards = self.held.iter().map(report).collect();
        Sync {
            worker: WorkerId(name.into()),
            call,
            facts: self.facts.clone(),
            draining: self.draining,
            epoch_seen: self.epoch_seen,
            shards,
        }
    }

    /// Takes an answer: what is not named stops, cells that have begun are finished all the same.
    pub(super) fn take(&mut self, orders: &[Order], epoch: u64) {
        self.epoch_seen = self.epoch_seen.max(epoch);
        for (id, held) in &mut self.held {
            let order = orders.iter().find(|o| o.attempt == *id);
            held.stopped = order.is_none_or(|o| o.cells.is_empty() && !o.variant_wanted);
            held.wanted = order.map(|o| o.cells.clone()).unwrap_or_default();
        }
        self.held.retain(|_, h| !(h.stopped && (h.dead || h.begun.is_empty())));
        for order in orders.iter().filter(|_| !self.draining) {
            self.held.entry(order.attempt.clone()).or_insert_with(|| Held {
                variant: order.variant,
                wanted: order.cells.clone(),
                stopped: false,
                blocks: 0,
                variant_done: false,
                done: BTreeSet::new(),
                begun: BTreeSet::new(),
                faults: Vec::new(),
                dead: false,
            });
        }
    }

    /// It does one shard after another, and says which it has not begun.
    fn does_several(&self) -> bool {
        self.facts.stages.contains_key(methods::AHEAD)
    }

    /// Gets a little further with everything that it holds. True if that killed it.
    pub(super) fn work(&mut self, ground: &mut Ground<'_>) -> bool {
        let facts = &self.facts;
        let several = self.does_several();
        let alone = self.held.len() == 1 || several;
        let mut busy = self.held.values_mut().filter(|h| h.has_work());
        if several {
            return busy.next().is_some_and(|h| h.work(ground, facts, alone));
        }
        busy.any(|h| h.work(ground, facts, alone))
    }

    /// Something outside the shards goes wrong with one of them.
    pub(super) fn excuse(&mut self, kind: FaultKind, code: FailureCode) {
        for held in self.held.values_mut().filter(|h| !h.dead) {
            held.fail(held.variant.0, kind, code);
        }
    }

    pub(super) fn variants(&self) -> impl Iterator<Item = VariantKey> {
        self.held.values().map(|h| h.variant)
    }
}

impl Held {
    fn settled(&self, cell: CellKey) -> bool {
        self.done.contains(&cell) || self.faults.iter().any(|f| f.key == cell.0)
    }

    fn fail(&mut self, key: Digest, kind: FaultKind, code: FailureCode) {
        self.faults.push(Fault { key, kind, code, message: String::new() });
        if key == self.variant.0 {
            self.begun.clear();
            self.dead = true;
        }
    }

    fn work(&mut self, ground: &mut Ground<'_>, facts: &WorkerFacts, alone: bool) -> bool {
        if let Some(cell) = self.begun.pop_first() {
            match ground.natures[&cell.0] {
                Nature::Fails(kind, code) => self.fail(cell.0, kind, code),
                _ => {
                    ground.cells_there.insert(cell);
                    self.done.insert(cell);
                }
            }
        } else if self.stopped {
        } else if !self.variant_done {
            let there = ground.variants_there.contains(&self.variant);
            if there && !ground.dropped.contains(&self.variant) {
                self.variant_done = true;
                return false;
            }
            self.blocks += 1;
            match ground.natures[&self.variant.0] {
                Nature::Fails(kind, code) if self.blocks >= 2 => self.fail(self.variant.0, kind, code),
                Nature::Hungry(needs) if facts.memory < needs => {
                    self.fail(self.variant.0, FaultKind::OutOfMemory, FailureCode::OutOfMemory);
                }
                Nature::Unlike if self.blocks >= 2 && facts.fingerprint == OTHER_KIND => {
                    self.fail(self.variant.0, FaultKind::CellError, FailureCode::DigestMismatch);
                }
                Nature::Kills if self.blocks >= 2 && alone => return true,
                Nature::Kills if self.blocks >= 2 => {
                    self.fail(self.variant.0, FaultKind::ComputeLost, FailureCode::ComputeLost);
                }
                _ if self.blocks >= BLOCKS => {
                    ground.variants_there.insert(self.variant);
                    ground.dropped.remove(&self.variant);
                    self.variant_done = true;
                }
                _ => {}
            }
        } else if let Some(cell) = self.wanted.iter().find(|c| !self.settled(**c)) {
            self.begun.insert(*cell);
        }
        false
    }

    fn has_work(&self) -> bool {
        let rest = !self.variant_done || self.wanted.iter().any(|c| !self.settled(*c));
        !self.dead && (!self.begun.is_empty() || !self.stopped && rest)
    }

    fn report(&self, id: &AttemptId, waits: bool) -> Report {
        let finished =
            self.variant_done && self.begun.is_empty() && self.wanted.iter().all(|c| self.settled(*c));
        let phase = match () {
            () if self.dead || finished => Phase::Finished,
            () if waits && !self.variant_done && self.blocks == 0 => Phase::Waiting,
            () if self.variant_done => Phase::Evaluating,
            () if self.blocks > 0 => Phase::Pruning,
            () => Phase::Loading,
        };
        Report {
            variant: self.variant,
            attempt: id.clone(),
            phase,
            progress: (self.blocks, BLOCKS),
            variant_done: self.variant_done,
            cells_done: self.done.clone(),
            cells_begun: self.begun.clone(),
            faults: self.faults.clone(),
        }
    }
}
