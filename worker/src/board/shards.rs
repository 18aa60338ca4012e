//! What a worker holds: shards, how far each is, what is wanted of it. Written by the session (orders) and by the execution
//! (progress); read by both. Pure bookkeeping: no I/O, no clock.

use super::order::{Failed, Order, kind};
use espalier_proto::ids::{AttemptId, CellKey, Digest, InputsDigest};
use espalier_proto::messages as pb;
use espalier_proto::records::FailureCode;
use std::collections::{BTreeMap, BTreeSet};

/// A shard that is held.
#[derive(Clone, Debug)]
struct Held {
    order: Order,
    /// The last answer named it with something to do.
    wanted: bool,
    phase: pb::Phase,
    done: BTreeSet<CellKey>,
    begun: Option<CellKey>,
    progress: (u64, u64),
    variant_done: bool,
    failures: Vec<Failed>,
}

impl Held {
    /// The first cell that is neither done nor failed.
    fn next_cell(&self) -> Option<(CellKey, InputsDigest)> {
        let failed = |key: Digest| self.failures.iter().any(|f| f.key == key);
        if !self.wanted || failed(self.order.key.0) {
            return None;
        }
        self.order.cells.iter().find(|(key, _)| !self.done.contains(key) && !failed(key.0)).copied()
    }

    /// Something is left to do: a cell, or the variant itself.
    fn has_work(&self) -> bool {
        let failed = self.failures.iter().any(|f| f.key == self.order.key.0);
        let owes_variant = self.wanted && self.order.variant_wanted && !self.variant_done && !failed;
        owes_variant || self.next_cell().is_some()
    }
}

/// All shards that are held, by attempt.
#[derive(Debug, Default)]
pub struct Board {
    shards: BTreeMap<AttemptId, Held>,
    running: Option<AttemptId>,
    draining: bool,
}

impl Board {
    /// Takes an answer's orders: they are whole, so a held attempt that is not among them is stopped, and forgotten unless it
    /// is running.
    pub fn apply(&mut self, orders: Vec<Order>) {
        for held in self.shards.values_mut() {
            held.wanted = false;
        }
        for order in orders {
            let wanted = !order.cells.is_empty() || order.variant_wanted;
            match self.shards.get_mut(&order.attempt) {
                Some(held) => {
                    held.wanted = wanted;
                    held.order.cells = order.cells;
                    held.order.variant_wanted = order.variant_wanted;
                }
                // Nothing is begun while leaving; the coordinator sees that the attempt is not held.
                None if wanted && !self.draining => {
                    let attempt = order.attempt.clone();
                    let held = Held {
                        order,
                        wanted,
                        phase: pb::Phase::Waiting,
                        done: BTreeSet::new(),
                        begun: None,
                        progress: (0, 0),
                        variant_done: false,
                        failures: Vec::new(),
                    };
                    self.shards.insert(attempt, held);
                }
                None => {}
            }
        }
        let running = self.running.clone();
        self.shards.retain(|attempt, held| held.wanted || Some(attempt) == running.as_ref());
    }

    /// The order of a shard that is held.
    pub fn held(&self, attempt: &AttemptId) -> Option<Order> {
        self.shards.get(attempt).map(|held| held.order.clone())
    }

    /// Every held shard, for the next call.
    pub fn report(&self) -> Vec<pb::ShardReport> {
        // A coordinator of before knows no shard that waits, and gives no second one.
        let next = self.shards.values().find(|held| held.has_work()).map(|held| &held.order.attempt);
        let report = |held: &Held| {
            let failure = |f: &Failed| pb::Failure {
                key: f.key.to_string(),
                kind: kind(f.code).into(),
                code: f.code.as_str().to_owned(),
                message: f.message.clone(),
            };
            let finished = held.begun.is_none() && held.wanted && !held.has_work();
            pb::ShardReport {
                variant_key: held.order.key.to_string(),
                attempt: held.order.attempt.to_string(),
                phase: match held.phase {
                    _ if finished => pb::Phase::Finished,
                    pb::Phase::Waiting if next == Some(&held.order.attempt) => pb::Phase::Loading,
                    phase => phase,
                }
                .into(),
                cells_done: held.done.iter().map(ToString::to_string).collect(),
                cells_begun: held.begun.iter().map(ToString::to_string).collect(),
                progress_done: held.progress.0,
                progress_total: held.progress.1,
                variant_done: held.variant_done,
                failures: held.failures.iter().map(failure).collect(),
            }
        };
        self.shards.values().map(report).collect()
    }

    /// Takes the next shard with work in hand; `None` if there is none or the worker is leaving.
    pub fn begin(&mut self) -> Option<Order> {
        if self.draining {
            return None;
        }
        let held = self.shards.values_mut().find(|held| held.has_work())?;
        if held.phase == pb::Phase::Waiting {
            held.phase = pb::Phase::Loading;
        }
        self.running = Some(held.order.attempt.clone());
        Some(held.order.clone())
    }

    /// Lays the running shard down.
    pub fn end(&mut self) {
        let Some(attempt) = self.running.take() else { return };
        let Some(held) = self.shards.get_mut(&attempt) else { return };
        // One that could not be brought to its end is begun anew, here or elsewhere.
        held.begun = None;
        if !held.wanted {
            self.shards.remove(&attempt);
        }
    }

    /// True while work on this attempt that has not begun a cell should go on.
    pub fn goes_on(&self, attempt: &AttemptId) -> bool {
        !self.draining && self.shards.get(attempt).is_some_and(Held::has_work)
    }

    /// Begins the next cell of an attempt that is still wanted. Second: the coordinator is to hear of it at once, so that nobody else is
    /// given it. The first of the cells that an answer named is never taken away: that it has begun can wait for the next call.
    pub fn begin_cell(&mut self, attempt: &AttemptId) -> Option<((CellKey, InputsDigest), bool)> {
        if !self.goes_on(attempt) {
            return None;
        }
        let held = self.shards.get_mut(attempt)?;
        let cell = held.next_cell()?;
        held.begun = Some(cell.0);
        (held.phase, held.progress) = (pb::Phase::Evaluating, (0, 0));
        Some((cell, held.order.cells.first() != Some(&cell)))
    }

    /// The begun cell is in the bucket.
    pub fn cell_done(&mut self, attempt: &AttemptId, cell: CellKey) {
        if let Some(held) = self.shards.get_mut(attempt) {
            held.begun = None;
            held.done.insert(cell);
        }
    }

    /// The variant's record is in the bucket. True: the coordinator is to hear of it at once, since the attempt is over or some of its cells
    /// can now be given to others.
    pub fn variant_done(&mut self, attempt: &AttemptId) -> bool {
        let Some(held) = self.shards.get_mut(attempt) else { return false };
        held.variant_done = true;
        held.order.cells.len() != 1
    }

    /// Variant or cell failed; the other cells go on if it was a cell.
    pub fn failed(&mut self, attempt: &AttemptId, failed: Failed) {
        if let Some(held) = self.shards.get_mut(attempt) {
            held.begun = None;
            held.failures.push(failed);
        }
    }

    /// Where the attempt is.
    pub fn phase(&mut self, attempt: &AttemptId, phase: pb::Phase) {
        if let Some(held) = self.shards.get_mut(attempt) {
            (held.phase, held.progress) = (phase, (0, 0));
        }
    }

    /// How far its phase is; true if it has come to another tenth of it.
    pub fn progress(&mut self, attempt: &AttemptId, done: u64, total: u64) -> bool {
        let Some(held) = self.shards.get_mut(attempt) else { return false };
        let tenth = |(done, total): (u64, u64)| (done * 10).checked_div(total);
        let before = tenth(std::mem::replace(&mut held.progress, (done, total)));
        before != tenth(held.progress)
    }

    /// The worker leaves: nothing more is begun. What is held and unfinished goes back, blamed on nobody.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// Gives back what is held and not running, once leaving; a shard that was given back has no work left.
    pub fn give_back(&mut self) {
        for (attempt, held) in &mut self.shards {
            let unfinished = held.has_work();
            if self.running.as_ref() != Some(attempt) && unfinished {
                let message = "the worker was told to leave".to_owned();
                held.failures.push(Failed { key: held.order.key.0, code: FailureCode::Preempted, message });
            }
        }
    }

    /// The worker takes no new shard.
    pub fn draining(&self) -> bool {
        self.draining
    }

    /// No shard has work left.
    pub fn idle(&self) -> bool {
        self.running.is_none() && !self.shards.values().any(Held::has_work)
    }

    /// The worker takes no new shard and executes none.
    pub fn leaves(&self) -> bool {
        self.draining && self.running.is_none()
    }

    /// Others are in hand besides the one that runs: what it does next is known, and how far it is can wait until the next call is due.
    pub fn has_more(&self) -> bool {
        !self.draining
            && self.shards.iter().any(|(id, held)| self.running.as_ref() != Some(id) && held.has_work())
    }

    /// Nothing is held.
    pub fn empty(&self) -> bool {
        self.shards.is_empty()
    }
}
