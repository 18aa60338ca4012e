//! Why a cell is not running. Read-only.

use super::canary::Gate;
use super::event::{Millis, Phase, WorkerId};
use super::fit::{Misfit, NODE_FAULTS};
use super::index::No;
use super::state::{Schedule, Sweep, Worker};
use espalier_proto::ids::{AttemptId, CellKey, Name, VariantKey};
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
    /// Its model's canary did: it was not tried itself.
    Fallen {
        /// Which.
        canary: VariantKey,
        /// Why.
        code: FailureCode,
    },
    /// It does not run yet, or not any more.
    Waiting {
        /// For what.
        on: Wait,
    },
}

/// What a cell waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// It failed without a fault of its own and is tried again.
    NotBefore {
        /// After so long, from the schedule's last event on.
        left: Millis,
        /// It, or the variant of the cell that failed.
        variant: VariantKey,
    },
    /// Its variant is being prepared.
    Preparing {
        /// By this attempt.
        attempt: AttemptId,
    },
    /// Its worker holds others that come first.
    Turn {
        /// Which worker.
        worker: WorkerId,
    },
    /// Its model's canary has not passed yet.
    Canary {
        /// Which.
        canary: VariantKey,
    },
    /// No worker that is known can run it, each with why; empty if there is none.
    NoWorkerFits(Vec<(WorkerId, Misfit)>),
    /// Every worker that fits has something else to do.
    Busy,
    /// It, or its variant, failed at those that have nothing to do, and goes to another one.
    Elsewhere(Vec<WorkerId>),
    /// The sweep is paused.
    Paused,
    /// The sweep was stopped.
    Halted,
    /// It was, by its failed cells.
    Doomed,
    /// The coordinator has just started and waits for what running workers hold.
    Reconciling,
    /// Workers are told to finish and end.
    Draining,
    /// The sweep does not want it.
    NotWanted,
}

impl Schedule {
    /// How a cell stands for a sweep, and if it is not running, why.
    pub fn explain(&self, sweep: &Name, cell: CellKey) -> Explanation {
        let (Some(home), Some(sweep)) = (self.homes.get(&cell).copied(), self.sweeps.get(sweep)) else {
            return Explanation::Waiting { on: Wait::NotWanted };
        };
        let variant = &self.variants[&home];
        let wanted = variant.cells[&cell].wants.contains(&sweep.no);
        match self.fate(cell, sweep.no) {
            Some(Ok(())) => return Explanation::Done,
            // Its retry does not reach it.
            Some(Err(_)) if !wanted => return Explanation::Waiting { on: Wait::NotWanted },
            Some(Err(code)) => return self.lost(home, cell, sweep.no, code),
            None => {}
        }
        let holder = variant.attempts.iter().find(|a| self.attempts[*a].cells.contains(&cell));
        if let Some(id) = holder {
            let attempt = &self.attempts[id];
            if attempt.phase == Phase::Waiting {
                return Explanation::Waiting { on: Wait::Turn { worker: attempt.worker.clone() } };
            }
            if attempt.begun.contains(&cell) || variant.done {
                return Explanation::Running { attempt: id.clone(), worker: attempt.worker.clone() };
            }
            return Explanation::Waiting { on: Wait::Preparing { attempt: id.clone() } };
        }
        let on = if wanted { self.wait(sweep, home, cell) } else { Wait::NotWanted };
        Explanation::Waiting { on }
    }

    fn lost(&self, home: VariantKey, cell: CellKey, no: No, code: FailureCode) -> Explanation {
        let variant = &self.variants[&home];
        let own = variant.trouble.quarantined.or(variant.cells[&cell].trouble.quarantined);
        match variant.after.get(&no).copied() {
            Some(canary) if own.is_none() => Explanation::Fallen { canary, code },
            _ => Explanation::Quarantined(code),
        }
    }

    /// What a sweep of which nothing runs waits for; `None` while something of it runs, or once it is over.
    pub fn waits_for(&self, sweep: &Name) -> Option<Wait> {
        let sweep = self.sweeps.get(sweep).filter(|s| !s.told && self.sum(s.no).running == 0)?;
        Some(match () {
            () if sweep.doomed => Wait::Doomed,
            () if sweep.halted => Wait::Halted,
            () if sweep.paused => Wait::Paused,
            () if self.draining => Wait::Draining,
            () if !self.reconciled(self.now) => Wait::Reconciling,
            () => return self.waits_for_workers(sweep),
        })
    }

    fn waits_for_workers(&self, sweep: &Sweep) -> Option<Wait> {
        let Some(classes) = self.index.queues.get(&sweep.no).filter(|classes| !classes.is_empty()) else {
            return self.rests(sweep);
        };
        // Workers of one kind, and variants of one class, are alike: of both there are few.
        let fits = |worker: &Worker| classes.keys().any(|class| self.index.fits(worker.kind, *class));
        let able = |worker: &Worker| self.answers(worker) && worker.faults < NODE_FAULTS && fits(worker);
        if self.connected().any(|(_, worker)| able(worker)) {
            let longest = classes.values().filter_map(|queue| queue.last()).map(|(.., variant)| *variant);
            let barred = longest.map(|variant| self.barred(variant, None)).find(|barred| !barred.is_empty());
            return Some(barred.map_or(Wait::Busy, Wait::Elsewhere));
        }
        let first = classes.values().find_map(|queue| queue.last()).map(|(.., variant)| *variant)?;
        self.rests(sweep).or_else(|| {
            let unable = |(id, worker)| Some((WorkerId::clone(id), self.unable(worker, first)?));
            Some(Wait::NoWorkerFits(self.present().filter_map(unable).collect()))
        })
    }

    /// Workers that have not left.
    fn present(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        let left = |w: &Worker| w.draining && w.attempts.is_empty() && !self.answers(w);
        self.workers.iter().filter(move |(_, worker)| !left(worker))
    }

    /// What of it is tried again later, the soonest.
    fn rests(&self, sweep: &Sweep) -> Option<Wait> {
        let wanted = |key: &VariantKey| {
            self.variants[key].entry.tallies.iter().any(|(no, tally)| *no == sweep.no && tally.open)
        };
        let (when, variant) = self.index.timers.iter().find(|(_, key)| wanted(key))?;
        Some(Wait::NotBefore { left: Millis(when.0.saturating_sub(self.now.0)), variant: *variant })
    }

    /// Workers that fit and have nothing to do, and at which the cell, or all that waits of the variant, failed.
    fn barred(&self, variant: VariantKey, cell: Option<CellKey>) -> Vec<WorkerId> {
        if !self.variants[&variant].entry.picky {
            return Vec::new();
        }
        let free = |worker: &Worker| worker.attempts.is_empty() && self.unfit(worker, variant).is_none();
        let takes = |id: &WorkerId| {
            let cells = self.takes(self.now, id, variant);
            cells.is_some_and(|cells| cell.is_none_or(|cell| cells.contains(&cell)))
        };
        let barred = self.connected().filter(|(id, worker)| free(worker) && !takes(id));
        let barred: Vec<WorkerId> = barred.map(|(id, _)| id.clone()).collect();
        // Others are barred for being like those, in their memory or their bits.
        let failed: Vec<WorkerId> =
            barred.iter().filter(|id| self.has_failed_at(id, variant)).cloned().collect();
        if failed.is_empty() { barred } else { failed }
    }

    fn wait(&self, sweep: &Sweep, home: VariantKey, cell: CellKey) -> Wait {
        match sweep {
            Sweep { doomed: true, .. } => return Wait::Doomed,
            Sweep { halted: true, .. } => return Wait::Halted,
            Sweep { paused: true, .. } => return Wait::Paused,
            _ => {}
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
            return Wait::NotBefore { left: Millis(not_before.0 - self.now.0), variant: home };
        }
        let preparing = variant.attempts.first().filter(|_| !variant.done);
        if let Some(attempt) = preparing {
            return Wait::Preparing { attempt: attempt.clone() };
        }
        if let Gate::Closed(canary) = self.gate_for(variant, sweep.no)
            && self.variants[&canary].attempts.first().is_some()
        {
            return Wait::Canary { canary };
        }
        let misfits: Vec<_> = self.present().map(|(id, w)| (id, self.unable(w, home))).collect();
        if misfits.iter().any(|(_, m)| m.is_none()) {
            let barred = self.barred(home, Some(cell));
            return if barred.is_empty() { Wait::Busy } else { Wait::Elsewhere(barred) };
        }
        Wait::NoWorkerFits(misfits.into_iter().filter_map(|(id, m)| Some((id.clone(), m?))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Event, Submission};
    use super::super::story::*;
    use super::*;

    #[test]
    fn a_worker_that_does_not_fit_leaves_or_is_not_heard_of_is_told_as_that() {
        let mut story = Story::of(grid(&[1]));
        story.facts.insert(1, crate::schedule::WorkerFacts { memory: 10, ..facts() });
        story.sync(1, vec![]);
        let told = |story: &Story| {
            let on = match story.explain(cell(0, 0)) {
                Explanation::Waiting { on } => on,
                other => panic!("{other:?}"),
            };
            assert_eq!(Some(&on), story.schedule.waits_for(&sweep()).as_ref());
            match on {
                Wait::NoWorkerFits(misfits) => misfits.into_iter().map(|(_, why)| why).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(told(&story), [Misfit::Memory { found: 10, wanted: 100 }]);
        // Its call is held open and answered, and then it does not call again.
        story.later(31_000);
        story.later(30_000);
        assert!(matches!(told(&story)[..], [Misfit::Silent { seconds: 30.. }]), "{:?}", told(&story));
        let call = crate::schedule::Sync {
            worker: WorkerId("w1".into()),
            call: 100,
            facts: facts(),
            draining: true,
            epoch_seen: 0,
            shards: Vec::new(),
        };
        story.event(Event::Sync(Box::new(call)));
        assert_eq!(told(&story), [Misfit::Leaves]);
        story.later(31_000);
        assert_eq!(told(&story), [], "it has left");
    }

    #[test]
    fn what_failed_at_the_only_idle_worker_waits_for_another_one() {
        let mut story = Story::of(grid(&[1, 1]));
        let (order, _long) = (story.given(1), story.given(2));
        let died = failing(
            pruning(&order),
            order.variant.0,
            crate::schedule::FaultKind::NodeFault,
            FailureCode::ComputeLost,
        );
        story.sync(1, vec![died]);
        story.later(5_000);
        assert_eq!(story.sync(1, vec![]), None, "it failed there, and another worker may be free in a while");
        let elsewhere = Wait::Elsewhere(vec![WorkerId("w1".into())]);
        assert_eq!(story.explain(cell(0, 0)), Explanation::Waiting { on: elsewhere });
    }

    #[test]
    fn a_sweep_waits_for_what_keeps_all_of_it_from_running() {
        let mut story = Story::of(grid(&[1]));
        let waits = |story: &Story| story.schedule.waits_for(&sweep());
        assert_eq!(waits(&story), Some(Wait::NoWorkerFits(Vec::new())));
        let order = story.given(1);
        assert_eq!(waits(&story), None);
        let failed = failing(
            pruning(&order),
            order.variant.0,
            crate::schedule::FaultKind::StoreError,
            FailureCode::StoreError,
        );
        story.sync(1, vec![failed]);
        assert!(
            matches!(waits(&story), Some(Wait::NotBefore { left: Millis(1..), .. })),
            "{:?}",
            waits(&story)
        );
        story.event(Event::Pause(sweep()));
        assert_eq!(waits(&story), Some(Wait::Paused));
        story.event(Event::Cancel(sweep()));
        assert_eq!(waits(&story), None, "nothing of it runs: it is over");
    }
    #[test]
    fn what_one_sweep_is_told_of_a_cell_that_another_wants_is_its_own_state_unless_it_runs_or_is_done() {
        let mut story = Story::of(grid(&[2]));
        let other: Name = "other".parse().unwrap();
        let mut part = Submission { sweep: other.clone(), ..grid(&[2]) };
        part.variants[0].cells.truncate(1);
        story.event(Event::Submit(Box::new(part)));
        let (first, second) = (cell(0, 0), cell(0, 1));
        let waits = |on: Wait| Explanation::Waiting { on };
        story.event(Event::Pause(other.clone()));
        story.event(Event::Cancel(sweep()));
        assert_eq!(story.schedule.explain(&sweep(), first), waits(Wait::Halted));
        assert_eq!(story.schedule.explain(&other, first), waits(Wait::Paused));
        assert_eq!(story.schedule.explain(&other, second), waits(Wait::NotWanted));
        story.event(Event::Resume(other.clone()));
        assert_eq!(story.schedule.explain(&sweep(), first), waits(Wait::Halted));
        assert_eq!(story.schedule.explain(&other, first), waits(Wait::NoWorkerFits(Vec::new())));
        let order = story.given(1);
        story.sync(1, vec![evaluating(&order, &[], &[first])]);
        assert!(matches!(story.schedule.explain(&sweep(), first), Explanation::Running { .. }));
        story.sync(1, vec![evaluating(&order, &[first], &[])]);
        assert_eq!(story.schedule.explain(&sweep(), first), Explanation::Done);
    }
}
