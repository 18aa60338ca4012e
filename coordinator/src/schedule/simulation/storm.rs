//! What befalls a random world. Innocent work survives it: losses that look like a variant's own fault are kept below what
//! gives a key up, by looking at what the newest coordinator knows.

use super::worker::Nature;
use super::world::{Message, World};
use crate::schedule::state::Variant;
use crate::schedule::{Event, FaultKind, Phase, VariantPlan, WorkerId};
use espalier_proto::ids::{CellKey, Digest, Name, VariantKey};
use espalier_proto::records::FailureCode;
use std::collections::BTreeSet;

/// Longer than a lease.
const STALL: u64 = 40_000;

impl World {
    pub(super) fn storm(&mut self) {
        let names: Vec<String> = self.workers.keys().cloned().collect();
        let sweeps: Vec<Name> = self.desired.keys().cloned().collect();
        let newest = self.coordinators.len() - 1;
        let worker = self.dice.one_of(&names).cloned();
        let sweep = self.dice.one_of(&sweeps).cloned();
        match (self.dice.below(60), worker, sweep) {
            (0 | 1, Some(name), _) if self.may_lose(&name) => self.kill(&name),
            (2..=4, Some(name), _) => self.late_call(&name),
            (5, Some(name), _) => {
                let call = self.coordinators[newest].calls;
                self.tell(newest, Event::CallClosed { worker: WorkerId(name.into()), call });
            }
            (6, _, _) if names.iter().all(|n| self.may_lose(n)) => self.now += STALL,
            (7, _, _) => {
                self.end_coordinator(newest);
                self.start_coordinator();
            }
            (8 | 9, _, _) => self.start_coordinator(),
            (10 | 11, _, _) if newest > 0 => {
                let epoch = self.epoch;
                self.tell(0, Event::NewerEpoch(epoch));
            }
            (12 | 13, _, _) => self.submit(),
            (14, _, Some(sweep)) => {
                let desired = self.desired.get_mut(&sweep).unwrap();
                (desired.cancelled, desired.doomed) = (true, false);
                self.tell(newest, Event::Cancel(sweep));
            }
            (15 | 16, _, Some(sweep)) => {
                let desired = self.desired.get_mut(&sweep).unwrap();
                desired.paused = !desired.paused;
                let event = if desired.paused { Event::Pause(sweep) } else { Event::Resume(sweep) };
                self.tell(newest, event);
            }
            (17, _, Some(sweep)) => self.retry(sweep),
            (18, _, Some(sweep)) => {
                self.desired.remove(&sweep);
                self.tell(newest, Event::Forget(sweep));
            }
            (19 | 20, Some(name), _) if self.may_lose(&name) => {
                let hands = self.workers.get_mut(&name).unwrap();
                hands.draining = true;
                hands.excuse(FaultKind::Preempted, FailureCode::Preempted);
            }
            (21..=26, Some(name), _) if self.workers[&name].draining && self.may_lose(&name) => {
                self.kill(&name)
            }
            (27 | 28, Some(name), _) if self.may_lose(&name) => {
                self.workers.get_mut(&name).unwrap().silent_until = self.now + STALL;
            }
            // Where everything is to be met once, the rarest comes more often.
            (29, _, _) if self.dice.percent(if self.coverage.is_some() { 80 } else { 20 }) => {
                self.tell(newest, Event::Drain);
            }
            (30..=32, _, _) => self.found_elsewhere(),
            (33 | 34, Some(name), _) if self.may_excuse(&name) => {
                let (kind, code) = if self.dice.percent(50) {
                    (FaultKind::NodeFault, FailureCode::NodeFault)
                } else {
                    (FaultKind::StoreError, FailureCode::StoreError)
                };
                self.workers.get_mut(&name).unwrap().excuse(kind, code);
                if self.dice.percent(50) {
                    self.late_call(&name); // from before it failed
                }
            }
            _ => {}
        }
        if self.deletions.percent(2) {
            self.delete_records();
        }
        if self.drops.percent(5) {
            self.drop_checkpoint();
        }
    }

    /// The checkpoint of a variant of which no sweep lacks anything is dropped.
    fn drop_checkpoint(&mut self) {
        let Some(busy) = self.busy() else { return };
        let plans = || self.desired.values().flat_map(|desired| &desired.submission.variants);
        let needed = |key: VariantKey| {
            let lacks = |plan: &VariantPlan| {
                plan.wanted_alone || plan.cells.iter().any(|cell| !self.cells_there.contains(&cell.key))
            };
            plans().filter(|plan| plan.key == key).any(lacks)
        };
        let calm = self.variants_there.iter().filter(|key| !busy.contains(*key) && !needed(**key));
        let calm: Vec<VariantKey> = calm.copied().collect();
        self.dropped.extend(self.drops.one_of(&calm).copied());
    }

    /// Records of a variant that nobody is at are deleted, and a sweep that wants it is submitted again.
    fn delete_records(&mut self) {
        let sweeps: Vec<Name> = self.desired.keys().cloned().collect();
        let (Some(name), Some(busy)) = (self.deletions.one_of(&sweeps).cloned(), self.busy()) else {
            return;
        };
        let plans = self.desired[&name].submission.variants.iter().map(|plan| plan.key);
        let calm: Vec<VariantKey> =
            plans.filter(|key| !busy.contains(key) && !self.dropped.contains(key)).collect();
        let Some(key) = self.deletions.one_of(&calm).copied() else { return };
        let whole = self.deletions.percent(30);
        let plan = self.pool.iter().find(|plan| plan.key == key).unwrap();
        for cell in &plan.cells {
            if whole || self.deletions.percent(50) {
                self.cells_there.remove(&cell.key);
            }
        }
        if whole {
            self.variants_there.remove(&key);
        }
        self.desired.get_mut(&name).unwrap().cancelled = false;
        self.tell_submission(&name, 0, false);
    }

    /// Variants that somebody is at, or that something on its way names; `None` where several coordinators may differ about it.
    fn busy(&self) -> Option<BTreeSet<VariantKey>> {
        let [coordinator] = &self.coordinators[..] else { return None };
        let calls = self.workers.values().flat_map(|hands| &hands.last);
        let said = calls.chain(self.wire.iter().filter_map(|(_, _, message)| match message {
            Message::Call(call) => Some(&**call),
            Message::Event(_) => None,
        }));
        let mut busy: BTreeSet<VariantKey> = said.flat_map(|call| &call.shards).map(|r| r.variant).collect();
        busy.extend(self.workers.values().flat_map(|hands| hands.variants()));
        busy.extend(coordinator.schedule.attempts.iter().map(|(_, attempt)| attempt.variant));
        for (_, _, message) in &self.wire {
            if let Message::Event(Event::RecordsFound { variants, cells }) = message {
                let named = |plan: &&VariantPlan| {
                    variants.contains(&plan.key) || plan.cells.iter().any(|c| cells.contains(&c.key))
                };
                busy.extend(self.pool.iter().filter(named).map(|plan| plan.key));
            }
        }
        Some(busy)
    }

    /// A worker's process is gone, with or without anybody being told.
    pub(super) fn kill(&mut self, name: &str) {
        self.workers.remove(name);
        if self.dice.percent(60) {
            for at in 0..self.coordinators.len() {
                self.tell(at, Event::WorkerLost(WorkerId(name.into())));
            }
        }
    }

    /// A call arrives a second time, late; it may look like a new one.
    fn late_call(&mut self, name: &str) {
        let at = self.coordinators.len() - 1;
        let Some(mut call) = self.workers[name].last.clone() else {
            return;
        };
        if self.dice.percent(50) {
            let said: Vec<VariantKey> = call.shards.iter().map(|r| r.variant).collect();
            if !self.may_lose(name) || !self.risk(said) {
                return;
            }
            self.coordinators[at].calls += 1;
            call.call = self.coordinators[at].calls;
        }
        let due = self.now + self.dice.below(6_000);
        self.wire.push((due, self.coordinators[at].epoch, Message::Call(Box::new(call))));
    }

    /// Another instance has finished something.
    fn found_elsewhere(&mut self) {
        let fine =
            |world: &Self, key: Digest| matches!(world.natures[&key], Nature::Fine | Nature::Hungry(_));
        let Some(plan) = self.dice.one_of(&self.pool).cloned().filter(|p| fine(self, p.key.0)) else {
            return;
        };
        let mut cells: Vec<CellKey> = plan.cells.iter().map(|c| c.key).collect();
        cells.retain(|c| fine(self, c.0) && self.dice.percent(30));
        self.variants_there.insert(plan.key);
        self.dropped.remove(&plan.key);
        self.cells_there.extend(&cells);
        for at in 0..self.coordinators.len() {
            let event = Event::RecordsFound { variants: vec![plan.key], cells: cells.clone() };
            self.wire.push((
                self.now + self.dice.below(9_000),
                self.coordinators[at].epoch,
                Message::Event(event),
            ));
        }
    }

    fn retry(&mut self, sweep: Name) {
        let newest = self.coordinators.len() - 1;
        let keys = match self.dice.percent(60) {
            true => Vec::new(),
            false => self.natures.keys().copied().filter(|_| self.dice.percent(40)).collect(),
        };
        let desired = self.desired.get_mut(&sweep).unwrap();
        desired.doomed = false;
        desired.given_up.retain(|key, _| !keys.is_empty() && !keys.contains(key));
        self.tell(newest, Event::Retry { sweep, keys });
    }

    /// A sweep's log is told what another sweep's retry forgave; by an older epoch it is not.
    pub(super) fn forgive(&mut self, at: usize, sweep: &Name, keys: &[Digest]) {
        if at + 1 == self.coordinators.len()
            && let Some(desired) = self.desired.get_mut(sweep)
        {
            desired.doomed = false;
            desired.given_up.retain(|key, _| !keys.contains(key));
        }
    }

    /// What a worker has, by its own hands and by the newest coordinator, may be lost without giving anything innocent up.
    fn may_lose(&mut self, name: &str) -> bool {
        let schedule = &self.coordinators[self.coordinators.len() - 1].schedule;
        let mut variants: BTreeSet<VariantKey> = self.workers[name].variants().collect();
        if let Some(worker) = schedule.workers.get(&WorkerId(name.into())) {
            variants.extend(worker.attempts.iter().map(|a| schedule.attempts[a].variant));
        }
        self.risk(variants)
    }

    /// A loss that need not be the first, or not the only one, may come no further than another: few of those are survived.
    fn risk(&mut self, variants: impl IntoIterator<Item = VariantKey>) -> bool {
        for variant in variants {
            let schedule = &self.coordinators[self.coordinators.len() - 1].schedule;
            let waits = |v: &Variant| {
                !v.attempts.is_empty()
                    && v.attempts.iter().all(|a| {
                        schedule.attempts[a].confirmed && schedule.attempts[a].phase == Phase::Waiting
                    })
            };
            if schedule.variants.get(&variant).is_some_and(waits) {
                continue; // whatever comes of it, it is not blamed
            }
            let first = schedule.variants.get(&variant).is_some_and(|v| {
                let further = v.attempts.iter().all(|a| v.came_further(schedule.attempts[a].reach));
                v.attempts.len() == 1 && further
            });
            if !first || !self.pending.insert(variant) {
                let bad = self.bad_luck.entry(variant).or_default();
                if *bad >= 1 {
                    return false;
                }
                *bad += 1;
            }
        }
        true
    }

    fn may_excuse(&mut self, name: &str) -> bool {
        let variants: Vec<VariantKey> = self.workers[name].variants().collect();
        let ok = variants.iter().all(|v| self.excuses.get(v).is_none_or(|n| *n < 2));
        if ok && !variants.is_empty() {
            variants.into_iter().for_each(|v| *self.excuses.entry(v).or_default() += 1);
        }
        ok
    }
}
