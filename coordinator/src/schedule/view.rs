//! What people are shown of a schedule. Read-only.

use super::event::{Phase, WorkerId};
use super::state::{Schedule, Sweep};
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
    /// Workers that have called and are not forgotten.
    pub workers: Vec<WorkerId>,
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
    /// Keys of variants and cells that were given up, with why.
    pub failed: BTreeMap<Digest, FailureCode>,
    /// Higher comes first.
    pub priority: i32,
    /// Nothing new of it is given out.
    pub paused: bool,
    /// Nothing is left to do.
    pub over: bool,
    /// It was stopped before its end.
    pub halted: bool,
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
        View {
            sweeps: self.sweeps.keys().map(|name| (name.clone(), self.sweep_view(name))).collect(),
            attempts: self.attempts.keys().map(|id| self.attempt_view(id)).collect(),
            workers: self.workers.keys().cloned().collect(),
        }
    }

    fn sweep_view(&self, name: &Name) -> SweepView {
        let sweep = &self.sweeps[name];
        let sum = self.sum(sweep.no);
        SweepView {
            cells: sweep.cells.len(),
            done: sum.done as usize,
            work: sum.all,
            failed: if sum.given_up > 0 { self.given_up(sweep) } else { BTreeMap::new() },
            priority: sweep.priority,
            paused: sweep.paused,
            over: sweep.told,
            halted: sweep.halted,
        }
    }

    fn given_up(&self, sweep: &Sweep) -> BTreeMap<Digest, FailureCode> {
        let mut failed = BTreeMap::new();
        for key in self.variants_of(sweep) {
            let variant = &self.variants[&key];
            failed.extend(self.why_given_up(variant).map(|code| (key.0, code)));
            for (cell, state) in variant.cells.iter().filter(|(_, c)| !c.done && c.wants.contains(&sweep.no))
            {
                failed.extend(state.trouble.quarantined.map(|code| (cell.0, code)));
            }
        }
        failed
    }

    fn attempt_view(&self, id: &AttemptId) -> AttemptView {
        let attempt = &self.attempts[id];
        let variant = &self.variants[&attempt.variant];
        let begun: Vec<CellKey> = attempt.begun.intersection(&attempt.cells).copied().collect();
        let (done, total) = attempt.progress;
        let part = |cost: u64| {
            (u128::from(cost) * u128::from(done.min(total))).checked_div(u128::from(total)).unwrap_or(0)
                as u64
        };
        let pruning = if variant.done { 0 } else { variant.cost };
        let work_done = match attempt.phase {
            Phase::Pruning => part(pruning),
            Phase::Evaluating if begun.len() == 1 => part(variant.cells[&begun[0]].cost),
            Phase::Loading | Phase::Evaluating | Phase::Committing | Phase::Finished => 0,
        };
        AttemptView {
            attempt: id.clone(),
            variant: attempt.variant,
            worker: attempt.worker.clone(),
            phase: attempt.phase,
            progress: attempt.progress,
            left: attempt.cells.len(),
            work_done,
            begun,
        }
    }
}
