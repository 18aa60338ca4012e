//! Who gets what: long shards first, to a worker that fits and preferably has the model; when nothing waits, unstarted cells
//! of a running shard are split off for idle workers, as soon as its checkpoint is in the bucket.

use super::blame::NODE_FAULTS;
use super::event::{Millis, WorkerFacts, WorkerId};
use super::state::{Schedule, Trouble, Worker};
use espalier_proto::ids::{AttemptId, CellKey, Name, VariantKey};
use espalier_proto::recipe::Backend;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// Why a worker cannot run a variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Misfit {
    #[error("its device is {found}, the sweep asks for {wanted}", found = found.as_str(), wanted = wanted.as_str())]
    Backend { found: Backend, wanted: Backend },
    #[error("it computes with {found} threads, the sweep asks for {wanted}")]
    Threads { found: u32, wanted: u32 },
    #[error("its device kind is {found}, the sweep asks for {wanted}")]
    DeviceKind { found: String, wanted: String },
    #[error("it has {found} bytes of memory for shards, the variant needs {wanted}")]
    Memory { found: u64, wanted: u64 },
    #[error("its stage {stage} is of version {found:?}, the keys were made with {wanted}")]
    Stage { stage: String, found: Option<u32>, wanted: u32 },
    #[error("its node failed {faults} times in a row")]
    Faulty { faults: u32 },
}

impl Schedule {
    /// Why no worker that has called can run any waiting variant; empty while something runs, nothing waits, or one can.
    pub fn starved(&self) -> Vec<(WorkerId, Misfit)> {
        let waiting: Vec<VariantKey> =
            self.variants.keys().copied().filter(|v| self.waits(Millis(u64::MAX), *v)).collect();
        if !self.attempts.is_empty() || waiting.is_empty() {
            return Vec::new();
        }
        let mut reasons = Vec::new();
        for (id, worker) in &self.workers {
            for variant in &waiting {
                match self.unfit(worker, *variant) {
                    Some(misfit) => reasons.push((id.clone(), misfit)),
                    None => return Vec::new(),
                }
            }
        }
        reasons
    }

    /// Why a device of this kind cannot run the variant.
    pub(super) fn misfit(&self, facts: &WorkerFacts, variant: VariantKey) -> Option<Misfit> {
        let needs = &self.variants[&variant].needs;
        if facts.backend != needs.backend {
            return Some(Misfit::Backend { found: facts.backend, wanted: needs.backend });
        }
        if let Some(wanted) = needs.threads.filter(|t| *t != facts.threads) {
            return Some(Misfit::Threads { found: facts.threads, wanted });
        }
        if let Some(wanted) = needs.device_kind.as_ref().filter(|k| **k != facts.fingerprint) {
            return Some(Misfit::DeviceKind { found: facts.fingerprint.clone(), wanted: wanted.clone() });
        }
        if needs.memory > facts.memory {
            return Some(Misfit::Memory { found: facts.memory, wanted: needs.memory });
        }
        needs.stages.iter().find(|(stage, version)| facts.stages.get(*stage) != Some(version)).map(
            |(stage, version)| Misfit::Stage {
                stage: stage.clone(),
                found: facts.stages.get(stage).copied(),
                wanted: *version,
            },
        )
    }

    pub(super) fn unfit(&self, worker: &Worker, variant: VariantKey) -> Option<Misfit> {
        if worker.faults >= NODE_FAULTS {
            return Some(Misfit::Faulty { faults: worker.faults });
        }
        self.misfit(&worker.facts, variant)
    }

    /// Running workers have had time to announce what they hold.
    pub(super) fn reconciled(&self, now: Millis) -> bool {
        self.started.is_some_and(|s| now >= s + self.timing.reconcile)
    }

    /// Work that runs for every sweep; an attempt that several want counts for each.
    fn running_work(&self) -> BTreeMap<&Name, u64> {
        let mut running: BTreeMap<&Name, u64> = BTreeMap::new();
        for attempt in self.attempts.values() {
            let variant = &self.variants[&attempt.variant];
            let pruning = if variant.done { 0 } else { variant.cost };
            let cost = pruning + attempt.cells.iter().map(|c| variant.cells[c].cost).sum::<u64>();
            for (name, _) in self.sweeps.iter().filter(|(_, s)| {
                s.alone.contains(&attempt.variant) || attempt.cells.iter().any(|c| s.cells.contains(c))
            }) {
                *running.entry(name).or_default() += cost.max(1);
            }
        }
        running
    }

    /// The best claim that a sweep has on giving out these cells next: higher priority, then less work running.
    fn claim(
        &self,
        key: VariantKey,
        cells: &BTreeSet<CellKey>,
        running: &BTreeMap<&Name, u64>,
    ) -> (i32, Reverse<u64>) {
        let wanting = self.sweeps.iter().filter(|(_, s)| {
            s.goes_on() && (s.alone.contains(&key) || cells.iter().any(|c| s.cells.contains(c)))
        });
        let claims = wanting.map(|(name, s)| (s.priority, Reverse(running.get(name).copied().unwrap_or(0))));
        claims.max().unwrap_or((i32::MIN, Reverse(u64::MAX)))
    }

    /// Gives every idle worker whose call is open something to do, if there is anything for it.
    pub(super) fn place(&mut self, now: Millis) {
        if self.draining || !self.reconciled(now) {
            return;
        }
        let idle: Vec<WorkerId> = self
            .workers
            .iter()
            .filter(|(_, w)| w.call.is_some() && w.attempts.is_empty() && !w.draining)
            .map(|(id, _)| id.clone())
            .collect();
        for worker in idle {
            if let Some((variant, cells)) = self.longest_waiting(now, &worker) {
                self.begin(now, &worker, variant, cells);
            } else if let Some((from, cells)) = self.largest_split(&worker) {
                let attempt = self.attempts.get_mut(&from).expect("it was just chosen");
                let variant = attempt.variant;
                attempt.cells.retain(|c| !cells.contains(c));
                self.begin(now, &worker, variant, cells);
            }
        }
    }

    /// A variant has something to do and nobody is preparing it.
    fn waits(&self, now: Millis, key: VariantKey) -> bool {
        let variant = &self.variants[&key];
        variant.trouble.quarantined.is_none()
            && variant.trouble.not_before <= now
            && (variant.attempts.is_empty() || variant.done)
            && (!self.free_cells(key).is_empty() || (variant.attempts.is_empty() && self.wanted_alone(key)))
    }

    fn longest_waiting(&self, now: Millis, id: &WorkerId) -> Option<(VariantKey, BTreeSet<CellKey>)> {
        let worker = &self.workers[id];
        let running = self.running_work();
        let mut best = None;
        for (key, variant) in &self.variants {
            if !self.waits(now, *key)
                || self.unfit(worker, *key).is_some()
                || !self.large_enough(worker, &variant.trouble)
            {
                continue;
            }
            let ready = |c: &CellKey| {
                let trouble = &variant.cells[c].trouble;
                trouble.not_before <= now && self.large_enough(worker, trouble)
            };
            let cells: BTreeSet<CellKey> = self.free_cells(*key).into_iter().filter(ready).collect();
            if cells.is_empty() && !(variant.attempts.is_empty() && self.wanted_alone(*key)) {
                continue;
            }
            let has_model = worker.last_model == Some(variant.needs.model)
                || worker.facts.models.contains(&variant.needs.model);
            let pruning = if variant.done { 0 } else { variant.cost };
            let cost = pruning + cells.iter().map(|c| variant.cells[c].cost).sum::<u64>();
            let rank = (self.claim(*key, &cells, &running), has_model, cost, Reverse(variant.order));
            if best.as_ref().is_none_or(|(top, _, _)| rank > *top) {
                best = Some((rank, *key, cells));
            }
        }
        best.map(|(_, key, cells)| (key, cells))
    }

    /// What did not fit once goes to more memory, while any worker has more.
    fn large_enough(&self, worker: &Worker, trouble: &Trouble) -> bool {
        trouble.too_small == 0
            || worker.facts.memory > trouble.too_small
            || !self.workers.values().any(|w| w.facts.memory > trouble.too_small)
    }

    /// Half of the unstarted work of the attempt that has most of it; its worker keeps at least one cell.
    fn largest_split(&self, id: &WorkerId) -> Option<(AttemptId, BTreeSet<CellKey>)> {
        let worker = &self.workers[id];
        let mut best: Option<(u64, AttemptId, Vec<CellKey>)> = None;
        for (attempt_id, attempt) in &self.attempts {
            let variant = &self.variants[&attempt.variant];
            if !variant.done || self.unfit(worker, attempt.variant).is_some() {
                continue;
            }
            let mut unstarted: Vec<_> = attempt
                .cells
                .iter()
                .filter(|c| {
                    !attempt.begun.contains(*c) && self.large_enough(worker, &variant.cells[*c].trouble)
                })
                .map(|c| (variant.cells[c].order, *c))
                .collect();
            unstarted.sort_unstable();
            let keep = usize::from(attempt.cells.iter().all(|c| !attempt.begun.contains(c)));
            let unstarted: Vec<CellKey> = unstarted.into_iter().skip(keep).map(|(_, c)| c).collect();
            let work: u64 = unstarted.iter().map(|c| variant.cells[c].cost.max(1)).sum();
            if !unstarted.is_empty() && best.as_ref().is_none_or(|(most, _, _)| work > *most) {
                best = Some((work, attempt_id.clone(), unstarted));
            }
        }
        let (work, from, unstarted) = best?;
        let costs = &self.variants[&self.attempts[&from].variant].cells;
        let mut taken = 0;
        let mut cells = BTreeSet::new();
        for cell in unstarted.into_iter().rev() {
            if !cells.is_empty() && taken * 2 >= work {
                break;
            }
            taken += costs[&cell].cost.max(1);
            cells.insert(cell);
        }
        Some((from, cells))
    }
}
