//! How attempts begin, are renewed, and end. A lapsed lease only permits a second attempt; it stops nothing.

use super::command::Command;
use super::event::{Millis, Phase, WorkerId};
use super::state::{Attempt, Reach, Schedule, Sweep};
use espalier_proto::ids::{AttemptId, CellKey, VariantKey};
use std::collections::BTreeSet;

impl Schedule {
    /// Gives a worker a new attempt.
    pub(super) fn begin(
        &mut self,
        now: Millis,
        worker: &WorkerId,
        variant: VariantKey,
        cells: BTreeSet<CellKey>,
    ) {
        debug_assert!(
            self.variants[&variant]
                .attempts
                .iter()
                .all(|a| cells.iter().all(|c| !self.attempts[a].begun.contains(c))),
            "S12 no cell is given out that a live attempt has begun, unless it is late"
        );
        self.begin_with(now, worker, variant, cells, false);
    }

    /// Gives a worker a cell that another one has begun.
    pub(super) fn begin_second(
        &mut self,
        now: Millis,
        worker: &WorkerId,
        variant: VariantKey,
        cell: CellKey,
    ) {
        self.begin_with(now, worker, variant, [cell].into(), true);
    }

    fn begin_with(
        &mut self,
        now: Millis,
        worker: &WorkerId,
        variant: VariantKey,
        cells: BTreeSet<CellKey>,
        second: bool,
    ) {
        self.last_attempt += 1;
        let epoch = if planted!(self, NumberAgain) { 1 } else { self.epoch };
        let id = AttemptId { instance: self.instance.clone(), epoch, n: self.last_attempt };
        let prepares = !self.variants[&variant].done;
        let alone = self.wanted_alone(variant) && self.variants[&variant].attempts.is_empty();
        self.serve(variant, &cells, alone);
        self.enter(
            id,
            Attempt {
                variant,
                worker: worker.clone(),
                cells,
                begun: BTreeSet::new(),
                begun_since: now,
                second,
                alone,
                prepares,
                confirmed: false,
                lease_until: now + self.timing.lease,
                reach: Reach::default(),
                // What its worker has comes first.
                phase: if self.workers[worker].attempts.is_empty() { Phase::Loading } else { Phase::Waiting },
                progress: (0, 0),
            },
        );
    }

    /// Counts what is given out for every sweep that wants it.
    fn serve(&mut self, key: VariantKey, cells: &BTreeSet<CellKey>, alone: bool) {
        let variant = &self.variants[&key];
        let work = self.work_of(variant, cells);
        let wants = |sweep: &Sweep| {
            cells.iter().any(|c| variant.cells[c].wants.contains(&sweep.no))
                || alone && variant.wants_alone.contains(&sweep.no)
        };
        for sweep in self.sweeps.values_mut().filter(|sweep| wants(sweep)) {
            sweep.served += work;
        }
    }

    /// Puts an attempt, new or adopted, among the live ones.
    pub(super) fn enter(&mut self, id: AttemptId, attempt: Attempt) {
        let variant = self.variants.get_mut(&attempt.variant).expect("attempts are made for known variants");
        let worker = self.workers.get_mut(&attempt.worker).expect("attempts are made for known workers");
        variant.attempts.insert(id.clone());
        worker.attempts.insert(id.clone());
        worker.last_model = Some(variant.needs.model);
        self.index.mark(attempt.variant);
        self.next_lapse = self.next_lapse.min(attempt.lease_until);
        let worker = attempt.worker.clone();
        self.attempts.insert(id, attempt);
        self.note_worker(&worker);
        self.to_answer.insert(worker);
    }

    /// Takes an attempt from among the live ones. Its worker hears of it by not finding it in its next answer.
    pub(super) fn end(&mut self, id: &AttemptId) -> Option<Attempt> {
        let attempt = self.attempts.remove(id)?;
        if let Some(variant) = self.variants.get_mut(&attempt.variant) {
            variant.attempts.remove(id);
        }
        if let Some(worker) = self.workers.get_mut(&attempt.worker) {
            worker.attempts.remove(id);
        }
        self.index.mark(attempt.variant);
        self.note_worker(&attempt.worker);
        Some(attempt)
    }

    /// A worker called: what it said that it holds stays its own for another lease.
    pub(super) fn renew(&mut self, now: Millis, worker: &WorkerId) {
        let until = now + self.timing.lease;
        for id in &self.workers[worker].reported {
            if let Some(attempt) = self.attempts.get_mut(id).filter(|a| a.worker == *worker) {
                attempt.confirmed = true;
                attempt.lease_until = until;
            }
        }
    }

    /// Ends what was not renewed in time, and forgets workers that are long gone.
    pub(super) fn lapse(&mut self, now: Millis, commands: &mut Vec<Command>) {
        if now >= self.next_lapse {
            let lapsed = self.attempts.iter().filter(|(_, a)| a.lease_until <= now);
            for id in lapsed.map(|(id, _)| id.clone()).collect::<Vec<AttemptId>>() {
                if planted!(self, LapsedLease) {
                    self.attempts.get_mut(&id).expect("it was just found").lease_until =
                        now + self.timing.lease;
                    continue;
                }
                self.lose(now, &id, commands);
            }
            // Leases only ever grow: there is nothing to look for before the shortest one has lapsed.
            let next = self.attempts.each().map(|a| a.lease_until).min();
            self.next_lapse = next.unwrap_or(Millis(u64::MAX));
        }
        if now >= self.next_forget {
            self.next_forget = now + self.timing.lease;
            let forgotten = Millis(self.timing.lease.0.saturating_mul(20));
            let gone =
                self.workers.iter().filter(|(_, w)| w.attempts.is_empty() && w.heard + forgotten <= now);
            for id in gone.map(|(id, _)| id.clone()).collect::<Vec<WorkerId>>() {
                self.remove_worker(&id);
            }
        }
    }

    /// A worker's process has ended.
    pub(super) fn worker_lost(&mut self, now: Millis, worker: &WorkerId, commands: &mut Vec<Command>) {
        let Some(known) = self.workers.get(worker) else {
            return;
        };
        for id in known.attempts.clone() {
            self.lose(now, &id, commands);
        }
        self.remove_worker(worker);
    }

    fn remove_worker(&mut self, id: &WorkerId) {
        if let Some(worker) = self.workers.remove(id) {
            self.forget_idle(id, worker.idle_as);
            if let Some(until) = worker.held_until {
                self.holds.remove(&(until, id.clone()));
            }
        }
    }

    /// An attempt is over without anything having been said about why.
    pub(super) fn lose(&mut self, now: Millis, id: &AttemptId, commands: &mut Vec<Command>) {
        let Some(attempt) = self.end(id) else { return };
        commands.push(Command::LookFor {
            variant: attempt.variant,
            cells: attempt.cells.union(&attempt.begun).copied().collect(),
        });
        if attempt.confirmed {
            self.blame_loss(now, id, &attempt, commands);
        }
    }
}
