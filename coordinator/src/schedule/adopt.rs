//! Running work that the schedule does not know: after a restart, or after a lease that lapsed too early. It is adopted by
//! its keys; of two live attempts the one further on goes on. A cell that has begun is always finished by its worker.

use super::event::{Millis, Phase, Report, WorkerId};
use super::state::{Attempt, Reach, Schedule, Variant};
use espalier_proto::ids::{AttemptId, CellKey};
use std::collections::BTreeSet;

impl Report {
    /// How far this attempt has come.
    pub(super) fn reach(&self) -> Reach {
        let (done, total) = self.progress;
        Reach {
            variant_done: self.variant_done,
            cells_done: self.cells_done.len(),
            phase: self.phase as u8,
            // A worker may say any numbers.
            thousandths: (u128::from(done.min(total)) * 1000).checked_div(total.into()).unwrap_or(0) as u64,
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
            // Of its own epoch a coordinator knows all that it began.
            || report.attempt.epoch == self.epoch && report.attempt.n > self.last_attempt
            || variant.trouble.quarantined.is_some()
            || self.has_failed(&report.attempt, variant)
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
                if !planted!(self, DoubleAdoption) {
                    self.end(&rival);
                }
            }
            self.open_cells(report.variant).into_iter().collect()
        };
        let known = &self.variants[&report.variant].cells;
        cells.retain(|c| !failed.contains(c) && !known[c].trouble.seen.contains(&report.attempt));
        let alone = self.wanted_alone(report.variant);
        if cells.is_empty() && !alone {
            return;
        }
        if !planted!(self, BlameKept) {
            self.unblame_loss(report);
        }
        let attempt = Attempt {
            variant: report.variant,
            worker: worker.clone(),
            begun: report.cells_begun.clone(),
            begun_since: now,
            second: false,
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

    /// The attempt ended by its failure: a report that does not say so is an old one.
    fn has_failed(&self, attempt: &AttemptId, variant: &Variant) -> bool {
        variant.trouble.seen.contains(attempt)
            && !variant.losses.iter().any(|l| l.attempt == *attempt)
            && !planted!(self, StaleAttempt)
    }

    /// Ends other attempts that still prepare a variant whose checkpoint this attempt has put into the bucket.
    pub(super) fn end_rivals(&mut self, report: &Report) {
        let live = &self.variants[&report.variant].attempts;
        if live.len() < 2 && live.contains(&report.attempt) {
            return;
        }
        let rivals = live.iter().filter(|id| {
            let other = &self.attempts[*id];
            **id != report.attempt && other.prepares && !other.reach.variant_done
        });
        for id in rivals.cloned().collect::<Vec<_>>() {
            self.end(&id);
        }
    }

    /// Cells that this attempt has begun and others merely were to do become its own.
    pub(super) fn take_over_begun(&mut self, report: &Report) -> BTreeSet<CellKey> {
        let variant = &self.variants[&report.variant];
        let known = &variant.cells;
        let own = self.attempts.get(&report.attempt).map(|a| &a.cells);
        let mut taken = report.cells_begun.clone();
        taken.retain(|c| {
            !own.is_some_and(|own| own.contains(c))
                && known.get(c).is_some_and(|state| self.is_open(variant, state))
                && report.faults.iter().all(|f| f.key != c.0)
                && !known[c].trouble.seen.contains(&report.attempt)
        });
        if taken.is_empty() {
            return taken;
        }
        for id in self.variants[&report.variant].attempts.clone() {
            if id == report.attempt {
                continue;
            }
            let other = self.attempts.get_mut(&id).expect("a variant names live attempts");
            taken.retain(|c| !other.begun.contains(c));
            other.cells.retain(|c| !taken.contains(c));
            self.index.mark(report.variant);
            self.end_if_finished(&id);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::story::{Story, grid, pruning, variant};
    use espalier_proto::ids::Digest;

    #[test]
    fn an_attempt_that_this_coordinator_never_began_is_not_adopted() {
        let mut story = Story::of(grid(&[1, 1]));
        let mut invented = pruning(&story.given(1));
        invented.variant = variant(1);
        invented.attempt.n = u64::MAX;
        let answer = story.call(2, vec![invented]).unwrap_or_default();
        let given = answer.first().cloned().unwrap_or_else(|| story.given(2));
        assert_eq!((given.variant, given.attempt.n), (variant(1), 2));
    }

    #[test]
    fn a_report_of_any_numbers_has_a_reach() {
        let report = |done, total| Report {
            variant: espalier_proto::ids::VariantKey(Digest::of(b"v")),
            attempt: "demo-1-1".parse().unwrap(),
            phase: Phase::Pruning,
            progress: (done, total),
            variant_done: false,
            cells_done: BTreeSet::new(),
            cells_begun: BTreeSet::new(),
            faults: Vec::new(),
        };
        for (done, total, expected) in [(u64::MAX, u64::MAX, 1000), (3, 4, 750), (9, 4, 1000), (1, 0, 0)] {
            assert_eq!(report(done, total).reach().thousandths, expected);
        }
    }
}
