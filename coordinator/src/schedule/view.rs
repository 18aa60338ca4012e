//! What people are shown of a schedule. Read-only.

use super::event::{Millis, Phase, WorkerId};
use super::fit::NODE_FAULTS;
use super::state::{Cell, Schedule, Sweep, Worker};
use espalier_proto::ids::{AttemptId, CellKey, Digest, Name, VariantKey};
use espalier_proto::records::FailureCode;
use std::collections::BTreeMap;

/// A schedule at one moment.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Every sweep.
    pub sweeps: BTreeMap<Name, SweepView>,
    /// Every live attempt.
    pub attempts: Vec<AttemptView>,
    /// Workers that have called, have not left and are not forgotten.
    pub workers: Vec<WorkerView>,
    /// Workers are told to end: nothing is given out any more.
    pub draining: bool,
}

/// A sweep at one moment.
#[derive(Clone, Debug, Default)]
pub struct SweepView {
    /// Cells wanted of it.
    pub cells: usize,
    /// Of those, cells in the bucket.
    pub done: usize,
    /// Work in all, and of cells and variants in the bucket, in the unit of the costs that were submitted.
    pub work: (u64, u64),
    /// Of the work in all, what was given up.
    pub forgone: u64,
    /// Of its cells, those given up: by themselves, with their variant or with their model's canary.
    pub lost: usize,
    /// Keys of variants and cells that were given up, with why.
    pub failed: BTreeMap<Digest, GivenUp>,
    /// Higher comes first.
    pub priority: i32,
    /// Nothing new of it is given out.
    pub paused: bool,
    /// Nothing is left to do.
    pub over: bool,
    /// It was stopped before its end.
    pub halted: bool,
    /// It was stopped by `limits.max_failed_cells`.
    pub doomed: bool,
}

/// Why a variant or a cell was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// In a word.
    pub code: FailureCode,
    /// By the canary of its model: it was not tried itself.
    pub by_canary: bool,
}

/// A worker at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// Which.
    pub id: WorkerId,
    /// How long it has been silent. A call that is held open is no silence.
    pub silent: Millis,
    /// It takes nothing new.
    pub draining: bool,
    /// Its node failed too often: it is given nothing more.
    pub faulty: bool,
    /// It can be counted on: it is heard of, and has not said that it leaves.
    pub connected: bool,
}

/// An attempt at one moment.
#[derive(Clone, Debug)]
pub struct AttemptView {
    /// Which.
    pub attempt: AttemptId,
    /// Its variant.
    pub variant: VariantKey,
    /// Who does it.
    pub worker: WorkerId,
    /// What it is doing.
    pub phase: Phase,
    /// Work done in the phase, and in all of it.
    pub progress: (u64, u64),
    /// Cells that it is doing now.
    pub begun: Vec<CellKey>,
    /// Cells that it is still to do, those begun among them.
    pub left: usize,
    /// Work that it has done and that no record shows yet, in the unit of costs.
    pub work_done: u64,
}

impl Schedule {
    /// The schedule now.
    pub fn view(&self) -> View {
        let here = self.workers.iter().filter(|(_, worker)| !self.has_left(worker));
        View {
            sweeps: self.sweeps.keys().map(|name| (name.clone(), self.sweep_view(name))).collect(),
            attempts: self.attempts.keys().map(|id| self.attempt_view(id)).collect(),
            workers: here.map(|(id, worker)| self.worker_view(id, worker)).collect(),
            draining: self.draining,
        }
    }

    fn worker_view(&self, id: &WorkerId, worker: &Worker) -> WorkerView {
        WorkerView {
            id: id.clone(),
            silent: Millis(self.now.0.saturating_sub(self.last_heard(worker).0)),
            draining: worker.draining,
            faulty: worker.faults >= NODE_FAULTS,
            connected: self.is_connected(worker),
        }
    }

    fn sweep_view(&self, name: &Name) -> SweepView {
        let sweep = &self.sweeps[name];
        let sum = self.sum(sweep.no);
        SweepView {
            cells: sweep.cells.len(),
            done: sum.done as usize,
            work: sum.all,
            forgone: sum.forgone,
            lost: sum.lost as usize,
            failed: if sum.given_up > 0 { self.given_up(sweep) } else { BTreeMap::new() },
            priority: sweep.priority,
            paused: sweep.paused,
            over: sweep.told,
            halted: sweep.halted,
            doomed: sweep.doomed,
        }
    }

    fn given_up(&self, sweep: &Sweep) -> BTreeMap<Digest, GivenUp> {
        let mut failed = BTreeMap::new();
        for key in self.variants_of(sweep) {
            let variant = &self.variants[&key];
            let lacks = |cell: &Cell| !cell.done && cell.wants.contains(&sweep.no);
            let alone = sweep.alone.contains(&key) && !variant.done;
            // Of what others have done nothing is lost to this sweep.
            if !alone && !variant.cells.values().any(lacks) {
                continue;
            }
            let by_canary = variant.trouble.quarantined.is_none();
            failed.extend(
                self.why_given_up(variant, sweep.no).map(|code| (key.0, GivenUp { code, by_canary })),
            );
            for (cell, state) in variant.cells.iter().filter(|(_, cell)| lacks(cell)) {
                let code = state.trouble.quarantined;
                failed.extend(code.map(|code| (cell.0, GivenUp { code, by_canary: false })));
            }
        }
        failed
    }

    fn attempt_view(&self, id: &AttemptId) -> AttemptView {
        let attempt = &self.attempts[id];
        let variant = &self.variants[&attempt.variant];
        // Of what is taken from it nothing more is counted; its worker is at it all the same.
        let counted: Vec<&CellKey> = attempt.begun.intersection(&attempt.cells).collect();
        let (done, total) = attempt.progress;
        let part = |cost: u64| {
            (u128::from(cost) * u128::from(done.min(total))).checked_div(u128::from(total)).unwrap_or(0)
                as u64
        };
        let pruning = if variant.done { 0 } else { variant.cost };
        let work_done = match attempt.phase {
            Phase::Pruning => part(pruning),
            Phase::Evaluating if counted.len() == 1 => part(variant.cells[counted[0]].cost),
            Phase::Waiting | Phase::Loading | Phase::Evaluating | Phase::Committing | Phase::Finished => 0,
        };
        AttemptView {
            attempt: id.clone(),
            variant: attempt.variant,
            worker: attempt.worker.clone(),
            phase: attempt.phase,
            progress: attempt.progress,
            left: attempt.cells.len(),
            work_done,
            begun: attempt.begun.iter().copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Event, Sync, WorkerId};
    use super::super::story::*;

    #[test]
    fn a_worker_is_silent_from_its_last_call_on_or_from_the_answer_to_it_where_that_was_held_open() {
        let mut story = Story::of(grid(&[1]));
        let order = story.given(1);
        story.sync(1, vec![pruning(&order)]);
        assert_eq!(story.sync(2, vec![]), None);
        story.later(9_000);
        let silent = |story: &Story| -> Vec<u64> {
            story.schedule.view().workers.iter().map(|worker| worker.silent.0).collect()
        };
        assert_eq!(silent(&story), [9_000, 0]);
        story.sync(1, vec![pruning(&order)]);
        assert_eq!(silent(&story)[0], 0);
        // Its call was answered after 25 s, and it has not called again.
        story.later(16_000);
        story.later(4_000);
        assert_eq!(silent(&story)[1], 4_000);
    }

    #[test]
    fn a_worker_that_said_goodbye_is_not_silent_but_gone() {
        let mut story = Story::of(grid(&[]));
        story.sync(1, vec![]);
        let goodbye = Sync {
            worker: WorkerId("w2".into()),
            call: 99,
            facts: facts(),
            draining: true,
            epoch_seen: 0,
            shards: Vec::new(),
        };
        let said = story.event(Event::Sync(Box::new(goodbye)));
        assert!(answer_to(&said, 2).is_some(), "it is answered at once");
        let states = |story: &Story| story.schedule.census().workers;
        assert_eq!((states(&story)["draining"], states(&story)["silent"]), (1, 0));
        // The other one's call is held open, and answered when it is due.
        story.later(30_000);
        assert_eq!(states(&story)["silent"], 0);
        story.later(30_000);
        let shown: Vec<String> = story.schedule.view().workers.iter().map(|w| w.id.to_string()).collect();
        assert_eq!(
            (shown, states(&story)["silent"], states(&story)["draining"]),
            (vec!["w1".to_owned()], 1, 0)
        );
    }
}
