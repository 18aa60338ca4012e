//! How attempts begin, are renewed, and end. A lapsed lease only permits a second attempt; it stops nothing.

use super::command::Command;
use super::event::{Millis, Phase, WorkerId};
use super::state::{Attempt, Reach, Schedule};
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
        self.last_attempt += 1;
        let id = AttemptId { instance: self.instance.clone(), epoch: self.epoch, n: self.last_attempt };
        let prepares = !self.variants[&variant].done;
        let alone = self.wanted_alone(variant) && self.variants[&variant].attempts.is_empty();
        self.enter(
            id,
            Attempt {
                variant,
                worker: worker.clone(),
                cells,
                begun: BTreeSet::new(),
                alone,
                prepares,
                confirmed: false,
                lease_until: now + self.timing.lease,
                reach: Reach::default(),
                phase: Phase::Loading,
                progress: (0, 0),
            },
        );
    }

    /// Puts an attempt, new or adopted, among the live ones.
    pub(super) fn enter(&mut self, id: AttemptId, attempt: Attempt) {
        let variant = self.variants.get_mut(&attempt.variant).expect("attempts are made for known variants");
        let worker = self.workers.get_mut(&attempt.worker).expect("attempts are made for known workers");
        variant.attempts.insert(id.clone());
        worker.attempts.insert(id.clone());
        worker.last_model = Some(variant.needs.model);
        self.attempts.insert(id, attempt);
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
        self.unsettled = true;
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
        let lapsed: Vec<AttemptId> =
            self.attempts.iter().filter(|(_, a)| a.lease_until <= now).map(|(id, _)| id.clone()).collect();
        for id in lapsed {
            self.lose(now, &id, commands);
        }
        let forgotten = Millis(self.timing.lease.0.saturating_mul(20));
        self.workers.retain(|_, w| !w.attempts.is_empty() || w.heard + forgotten > now);
    }

    /// A worker's process has ended.
    pub(super) fn worker_lost(&mut self, now: Millis, worker: &WorkerId, commands: &mut Vec<Command>) {
        let Some(known) = self.workers.get(worker) else {
            return;
        };
        for id in known.attempts.clone() {
            self.lose(now, &id, commands);
        }
        self.workers.remove(worker);
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
