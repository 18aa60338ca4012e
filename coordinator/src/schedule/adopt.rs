//! Running work that the schedule does not know: after a restart, or after a lease that lapsed too early. It is adopted by
//! its keys; of two live attempts the one further on goes on. A cell that has begun is always finished by its worker.

use super::event::{Millis, Phase, Report, WorkerId};
use super::state::{Attempt, Reach, Schedule};
use espalier_proto::ids::CellKey;
use std::collections::BTreeSet;

impl Report {
    /// How far this attempt has come.
    pub(super) fn reach(&self) -> Reach {
        let (done, total) = self.progress;
        Reach {
            variant_done: self.variant_done,
            cells_done: self.cells_done.len(),
            phase: 1 + self.phase as u8,
            thousandths: (done.min(total) * 1000).checked_div(total).unwrap_or(0),
        }
    }
}

impl Schedule {
    /// Makes the attempt a live one again if there is something that it should go on with. What the report says is done was
    /// taken in before.
    pub(super) fn adopt(&mut self, now: Millis, worker: &WorkerId, report: &Report) {
        let Some(variant) = self.variants.get(&report.variant) else {
            return;
        };
        let failed: BTreeSet<CellKey> = report.faults.iter().map(|f| CellKey(f.key)).collect();
        let over = report.phase == Phase::Finished
            || report.attempt.instance != self.instance
            || report.attempt.epoch > self.epoch
            || variant.trouble.quarantined.is_some()
            || failed.contains(&CellKey(report.variant.0))
            || self.misfit(&self.workers[worker].facts, report.variant).is_some();
        if over {
            return;
        }
        let mut cells: BTreeSet<CellKey> = if variant.done {
            let mut free: BTreeSet<CellKey> = self.free_cells(report.variant).into_iter().collect();
            free.extend(self.take_over_begun(report));
            free
        } else {
            if let Some(rival) = variant.attempts.first().cloned() {
                if report.reach() <= self.attempts[&rival].reach {
                    return;
                }
                self.end(&rival);
            }
            self.open_cells(report.variant).into_iter().collect()
        };
        cells.retain(|c| !failed.contains(c));
        let alone = self.wanted_alone(report.variant);
        if cells.is_empty() && !alone {
            return;
        }
        // It was given up for lost, and lives: nobody is to blame for its loss.
        let trouble = &mut self.variants.get_mut(&report.variant).expect("it was just there").trouble;
        if trouble.seen.remove(&report.attempt) {
            trouble.blamed = trouble.blamed.saturating_sub(1);
        }
        if report.attempt.epoch == self.epoch {
            self.last_attempt = self.last_attempt.max(report.attempt.n);
        }
        let attempt = Attempt {
            variant: report.variant,
            worker: worker.clone(),
            begun: cells.intersection(&report.cells_begun).copied().collect(),
            cells,
            alone,
            prepares: !report.variant_done,
            confirmed: true,
            lease_until: now + self.timing.lease,
            reach: report.reach(),
            phase: report.phase,
            progress: report.progress,
        };
        self.enter(report.attempt.clone(), attempt);
    }

    /// Ends other attempts that still prepare a variant whose checkpoint this attempt has put into the bucket.
    pub(super) fn end_rivals(&mut self, report: &Report) {
        for id in self.variants[&report.variant].attempts.clone() {
            let other = &self.attempts[&id];
            if id != report.attempt && other.prepares && !other.reach.variant_done {
                self.end(&id);
            }
        }
    }

    /// Cells that this attempt has begun and others merely were to do become its own.
    pub(super) fn take_over_begun(&mut self, report: &Report) -> BTreeSet<CellKey> {
        let open: BTreeSet<CellKey> = self.open_cells(report.variant).into_iter().collect();
        let mut taken: BTreeSet<CellKey> = report.cells_begun.intersection(&open).copied().collect();
        taken.retain(|c| report.faults.iter().all(|f| f.key != c.0));
        for id in self.variants[&report.variant].attempts.clone() {
            if id == report.attempt {
                continue;
            }
            let other = self.attempts.get_mut(&id).expect("a variant names live attempts");
            taken.retain(|c| !other.begun.contains(c));
            other.cells.retain(|c| !taken.contains(c));
            self.end_if_finished(&id);
        }
        taken
    }
}
