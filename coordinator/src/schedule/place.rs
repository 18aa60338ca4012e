//! Who gets what: long shards first, to a worker that fits and preferably has the model; when nothing waits, unstarted cells
//! of a running shard are split off for idle workers, as soon as its checkpoint is in the bucket.

use super::event::{Millis, WorkerFacts, WorkerId};
use super::fit::{Misfit, NODE_FAULTS, misfit};
use super::state::{Schedule, Trouble, Worker};
use espalier_proto::ids::{AttemptId, CellKey, VariantKey};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// So many times longer than estimated may what is left of a shard be when it is judged whether it is late.
const MARGIN: u64 = 4;

/// What waits and a worker could be given.
struct Waiting {
    variant: VariantKey,
    cells: BTreeSet<CellKey>,
    /// All of it that is not done.
    work: u64,
    /// Of the sweep that it is given for.
    priority: i32,
}

/// Cells that could be taken from an attempt.
struct Split {
    from: AttemptId,
    cells: BTreeSet<CellKey>,
    /// All that it has not started.
    work: u64,
    /// Of the sweeps that want the cells.
    priority: i32,
}

impl Schedule {
    /// Workers that can be counted on.
    pub(super) fn connected(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.workers.iter().filter(|(_, worker)| self.is_connected(worker))
    }

    /// It was heard of within a lease, and is not about to leave.
    pub(super) fn is_connected(&self, worker: &Worker) -> bool {
        !worker.draining && !self.is_silent(worker)
    }

    /// It was not heard of for a lease.
    pub(super) fn is_silent(&self, worker: &Worker) -> bool {
        worker.heard + self.timing.lease <= self.now
    }

    /// It said that it leaves, and was not heard of since.
    pub(super) fn has_left(&self, worker: &Worker) -> bool {
        worker.draining && worker.attempts.is_empty() && self.is_silent(worker)
    }

    /// Why a device of this kind cannot run the variant.
    pub(super) fn misfit(&self, facts: &WorkerFacts, variant: VariantKey) -> Option<Misfit> {
        misfit(facts, &self.variants[&variant].needs)
    }

    pub(super) fn unfit(&self, worker: &Worker, variant: VariantKey) -> Option<Misfit> {
        if worker.faults >= NODE_FAULTS {
            return Some(Misfit::Faulty { faults: worker.faults });
        }
        self.misfit(&worker.facts, variant)
    }

    /// Running workers have had time to announce what they hold.
    pub(super) fn reconciled(&self, now: Millis) -> bool {
        self.started.is_some_and(|s| now >= s + self.timing.reconcile) || planted!(self, NoReconcile)
    }

    /// Gives every idle worker whose call is open something to do, if there is anything for it. Workers for which nothing was
    /// found are looked at again only when there is news.
    pub(super) fn place(&mut self, now: Millis) {
        self.refresh(now);
        if self.draining || !self.reconciled(now) {
            return;
        }
        let mut sized = !self.index.sized.is_empty();
        while std::mem::take(&mut self.index.news) || std::mem::take(&mut sized) {
            self.index.fresh.clear();
            for kind in self.index.idle.keys().copied().collect::<Vec<_>>() {
                // Workers of one kind are given the same: what the first cannot have the others cannot either.
                while let Some(worker) = self.index.idle.get(&kind).and_then(|idle| idle.first()).cloned() {
                    if !self.give(now, &worker) {
                        break;
                    }
                }
            }
        }
        while let Some(worker) = self.index.fresh.pop_first() {
            self.give(now, &worker);
        }
    }

    fn give(&mut self, now: Millis, worker: &WorkerId) -> bool {
        let waiting = self.longest_waiting(now, worker);
        let splits = self.index.splits.values();
        let most = splits.filter_map(|s| s.last()).map(|(work, _)| *work).max().unwrap_or(0);
        let split = match &waiting {
            None => self.largest_split(worker),
            Some(_) if !self.is_late(most) => None,
            Some(waiting) => self.largest_split(worker).filter(|split| {
                split.priority >= waiting.priority && split.work > waiting.work && self.is_late(split.work)
            }),
        };
        if let Some(Split { from, cells, .. }) = split {
            let planted = planted!(self, CellTwice);
            let attempt = self.attempts.get_mut(&from).expect("it was just chosen");
            let variant = attempt.variant;
            if !planted {
                attempt.cells.retain(|c| !cells.contains(c));
            }
            self.begin(now, worker, variant, cells);
        } else if let Some(Waiting { variant, cells, .. }) = waiting {
            self.begin(now, worker, variant, cells);
        } else {
            return false;
        }
        self.refresh(now);
        true
    }

    /// Of the sweeps the one with the best claim, higher priority and then less work running; of its variants that are
    /// about the longest one whose model the worker has.
    fn longest_waiting(&self, now: Millis, id: &WorkerId) -> Option<Waiting> {
        let worker = &self.workers[id];
        let mut best = None;
        for (name, sweep) in &self.sweeps {
            let Some(classes) = self.index.queues.get(&sweep.no) else {
                continue;
            };
            let priority = if planted!(self, LowFirst) { -sweep.priority } else { sweep.priority };
            let claim = (priority, Reverse(self.sum(sweep.no).work));
            for (class, queue) in classes {
                if !self.index.fits(worker.kind, *class) && !planted!(self, Misfit) {
                    continue;
                }
                let model = self.index.model(*class);
                let has_model = worker.last_model == Some(model) || worker.facts.models.contains(&model);
                for (work, order, key) in queue.iter().rev() {
                    // Within a factor of two the model at hand comes before the length.
                    let rank = (claim, work.max(&1).ilog2(), has_model, *work, *order, Reverse(name));
                    if best.as_ref().is_some_and(|(top, _, _)| rank <= *top) {
                        break;
                    }
                    if let Some(cells) = self.takes(now, worker, *key) {
                        best = Some((rank, *key, cells));
                        break;
                    }
                }
            }
        }
        best.map(|(((priority, _), _, _, work, ..), variant, cells)| Waiting {
            variant,
            cells,
            work,
            priority,
        })
    }

    /// The cells of a waiting variant that the worker can take up.
    fn takes(&self, now: Millis, worker: &Worker, key: VariantKey) -> Option<BTreeSet<CellKey>> {
        let variant = &self.variants[&key];
        if !variant.done && !self.large_enough(worker, key, &variant.trouble) {
            return None;
        }
        let ready = |c: &CellKey| {
            let trouble = &variant.cells[c].trouble;
            trouble.not_before <= now && self.large_enough(worker, key, trouble)
        };
        let cells: BTreeSet<CellKey> = self.free_cells(key).into_iter().filter(ready).collect();
        let alone = variant.attempts.is_empty() && self.wanted_alone(key);
        (alone || !cells.is_empty()).then_some(cells)
    }

    /// What did not fit once goes to more memory, while any worker has more.
    pub(super) fn large_enough(&self, worker: &Worker, key: VariantKey, trouble: &Trouble) -> bool {
        let larger = |w: &Worker| w.facts.memory > trouble.too_small && self.unfit(w, key).is_none();
        trouble.too_small == 0
            || worker.facts.memory > trouble.too_small
            || planted!(self, TooLargeAgain)
            || !self.connected().any(|(_, w)| larger(w))
    }

    /// So much work of one worker may last longer than all that is left shared among all workers.
    fn is_late(&self, work: u64) -> bool {
        let left: u64 = self.going.iter().map(|no| self.sum(*no).left).sum();
        MARGIN * work > left / self.workers.len().max(1) as u64
    }

    /// Half of the unstarted work of the attempt that has most of it; its worker keeps at least one cell.
    fn largest_split(&self, id: &WorkerId) -> Option<Split> {
        let worker = &self.workers[id];
        let mut best: Option<(u64, AttemptId, Vec<CellKey>)> = None;
        for (class, splits) in &self.index.splits {
            if !self.index.fits(worker.kind, *class) && !planted!(self, Misfit) {
                continue;
            }
            for (work, Reverse((epoch, n))) in splits.iter().rev() {
                if best.as_ref().is_some_and(|(most, _, _)| work <= most) {
                    break;
                }
                let id = AttemptId { instance: self.instance.clone(), epoch: *epoch, n: *n };
                let attempt = &self.attempts[&id];
                let variant = &self.variants[&attempt.variant];
                let mut unstarted = self.unstarted(variant, attempt);
                unstarted.retain(|c| self.large_enough(worker, attempt.variant, &variant.cells[c].trouble));
                if !unstarted.is_empty() {
                    best = Some((*work, id, unstarted));
                    break;
                }
            }
        }
        let (_, from, unstarted) = best?;
        let costs = &self.variants[&self.attempts[&from].variant].cells;
        let work: u64 = unstarted.iter().map(|c| costs[c].cost.max(1)).sum();
        let mut taken = 0;
        let mut cells = BTreeSet::new();
        for cell in unstarted.into_iter().rev() {
            if !cells.is_empty() && taken * 2 >= work {
                break;
            }
            taken += costs[&cell].cost.max(1);
            cells.insert(cell);
        }
        let wanting = self
            .sweeps
            .values()
            .filter(|s| s.goes_on() && cells.iter().any(|c| costs[c].wants.contains(&s.no)));
        let priority = wanting.map(|s| s.priority).max().unwrap_or(i32::MIN);
        Some(Split { from, cells, work, priority })
    }
}
