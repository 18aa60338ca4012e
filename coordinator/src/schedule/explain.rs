//! Why a cell is not running. Read-only.

use super::canary::Gate;
use super::event::{Millis, WorkerId};
use super::fit::Misfit;
use super::state::Schedule;
use espalier_proto::ids::{AttemptId, CellKey, VariantKey};
use espalier_proto::records::FailureCode;

/// How a cell stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Explanation {
    /// Its record is in the bucket.
    Done,
    /// A worker has it.
    Running {
        /// The attempt.
        attempt: AttemptId,
        /// Who.
        worker: WorkerId,
    },
    /// It, or its variant, failed as often as the limits allow.
    Quarantined(FailureCode),
    /// It does not run yet, or not any more.
    Waiting {
        /// For what.
        on: Wait,
    },
}

/// What a cell waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It failed without a fault of its own and is tried again after so long, from the schedule's last event on.
    NotBefore(Millis),
    /// Its variant is being prepared.
    Preparing {
        /// By this attempt.
        attempt: AttemptId,
    },
    /// Its model's canary has not passed yet.
    Canary {
        /// Which.
        canary: VariantKey,
    },
    /// No connected worker can run it; empty if there is none.
    NoWorkerFits(Vec<(WorkerId, Misfit)>),
    /// Every worker that fits has something else to do.
    Busy,
    /// Every sweep that wants it and goes on is paused.
    Paused,
    /// Every sweep that wants it was stopped.
    Halted,
    /// They were, and at least one by its failed cells.
    Doomed,
    /// The coordinator has just started and waits for what running workers hold.
    Reconciling,
    /// Workers are told to finish and end.
    Draining,
    /// No sweep wants it.
    NotWanted,
}

impl Schedule {
    /// How a cell stands, and if it is not running, why.
    pub fn explain(&self, cell: CellKey) -> Explanation {
        let Some(home) = self.homes.get(&cell).copied() else {
            return Explanation::Waiting { on: Wait::NotWanted };
        };
        match self.fate(cell) {
            Some(Ok(())) => return Explanation::Done,
            Some(Err(code)) => return Explanation::Quarantined(code),
            None => {}
        }
        let variant = &self.variants[&home];
        let holder = variant.attempts.iter().find(|a| self.attempts[*a].cells.contains(&cell));
        if let Some(id) = holder {
            let attempt = &self.attempts[id];
            if attempt.begun.contains(&cell) || variant.done {
                return Explanation::Running { attempt: id.clone(), worker: attempt.worker.clone() };
            }
            return Explanation::Waiting { on: Wait::Preparing { attempt: id.clone() } };
        }
        Explanation::Waiting { on: self.wait(home, cell) }
    }

    fn wait(&self, home: VariantKey, cell: CellKey) -> Wait {
        let wanting: Vec<_> = self.sweeps.values().filter(|s| s.cells.contains(&cell)).collect();
        if wanting.is_empty() {
            return Wait::NotWanted;
        }
        if wanting.iter().all(|s| s.halted) {
            return if wanting.iter().any(|s| s.doomed) { Wait::Doomed } else { Wait::Halted };
        }
        if !wanting.iter().any(|s| s.goes_on()) {
            return Wait::Paused;
        }
        if self.draining {
            return Wait::Draining;
        }
        if !self.reconciled(self.now) {
            return Wait::Reconciling;
        }
        let variant = &self.variants[&home];
        let not_before = variant.trouble.not_before.max(variant.cells[&cell].trouble.not_before);
        if not_before > self.now {
            return Wait::NotBefore(Millis(not_before.0 - self.now.0));
        }
        let preparing = variant.attempts.first().filter(|_| !variant.done);
        if let Some(attempt) = preparing {
            return Wait::Preparing { attempt: attempt.clone() };
        }
        if let Gate::Closed(canary) = self.gate(variant)
            && self.variants[&canary].attempts.first().is_some()
        {
            return Wait::Canary { canary };
        }
        let misfits: Vec<_> = self.connected().map(|(id, w)| (id, self.unfit(w, home))).collect();
        if misfits.iter().any(|(_, m)| m.is_none()) {
            return Wait::Busy;
        }
        Wait::NoWorkerFits(misfits.into_iter().filter_map(|(id, m)| Some((id.clone(), m?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::*;
    use super::*;

    #[test]
    fn a_worker_that_is_not_heard_of_any_more_is_none_that_does_or_does_not_fit() {
        let mut story = Story::of(grid(&[1]));
        story.facts.insert(1, crate::schedule::WorkerFacts { memory: 10, ..facts() });
        story.sync(1, vec![]);
        let misfits = |story: &Story| match story.schedule.explain(cell(0, 0)) {
            Explanation::Waiting { on: Wait::NoWorkerFits(misfits) } => misfits.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!((misfits(&story), story.schedule.starved().len()), (1, 1));
        story.later(31_000);
        assert_eq!((misfits(&story), story.schedule.starved().len()), (0, 0));
    }
}
