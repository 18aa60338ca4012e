//! What a running shard has not begun, once its checkpoint is in the bucket. Near a sweep's end it is given to idle workers, or
//! given back, so that its worker takes up something longer that waits: of what is left, what may last longest begins first.

use super::event::{Millis, WorkerId};
use super::state::{Attempt, Claim, Schedule, Sweep};
use espalier_proto::ids::{AttemptId, CellKey, VariantKey};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// So many times longer than estimated may what is left of a shard be when it is judged whether it is late.
const MARGIN: u64 = 4;
/// A rest is given back for something longer by more than this factor, so that what its worker takes up next is not just that rest again
/// ([`Schedule::longest_waiting`] may prefer the model at hand within a factor of two).
const LONGER: u64 = 2;
/// What is so many times longer than a rest waits no longer for it to matter.
const SHORT: u64 = 8;

/// Cells that could be taken from an attempt.
pub(super) struct Split {
    pub(super) from: AttemptId,
    pub(super) cells: BTreeSet<CellKey>,
    /// All that it has not started.
    pub(super) work: u64,
    /// The best of the sweeps that want the cells.
    pub(super) claim: Claim,
}

impl Schedule {
    /// So much work of one worker may last longer than all that is left shared among all workers.
    pub(super) fn is_late(&self, work: u64) -> bool {
        MARGIN.saturating_mul(work) > self.left_each()
    }

    /// So much work of one worker is most of what is left for it, if all that is left is shared among all workers: what is begun first
    /// matters now.
    pub(super) fn is_near_end(&self, work: u64) -> bool {
        work.saturating_mul(2) > self.left_each()
    }

    /// All that is left, shared among all workers.
    fn left_each(&self) -> u64 {
        let left: u64 = self.going.iter().map(|no| self.sum(*no).left).sum();
        left / self.workers.len().max(1) as u64
    }

    /// Half of the unstarted work of the attempt that has most of it; its worker keeps at least one cell.
    pub(super) fn largest_split(&self, by: &WorkerId) -> Option<Split> {
        let worker = &self.workers[by];
        let mut best: Option<(u64, AttemptId, Vec<CellKey>)> = None;
        for (class, splits) in &self.index.splits {
            if !self.index.fits(worker.kind, *class) && !planted!(self, Misfit) {
                continue;
            }
            for (work, Reverse((epoch, n))) in splits.iter().rev() {
                if best.as_ref().is_some_and(|(most, _, _)| work <= most) {
                    break;
                }
                let id = AttemptId { instance: self.instance.clone(), epoch: *epoch, n: *n };
                let attempt = &self.attempts[&id];
                let variant = &self.variants[&attempt.variant];
                let mut unstarted = self.unstarted(variant, attempt);
                unstarted.retain(|c| self.may_try(by, attempt.variant, &variant.cells[c].trouble));
                if !unstarted.is_empty() {
                    best = Some((*work, id, unstarted));
                    break;
                }
            }
        }
        let (_, from, unstarted) = best?;
        let variant = self.attempts[&from].variant;
        let costs = &self.variants[&variant].cells;
        let work: u64 = unstarted.iter().map(|c| costs[c].cost.max(1)).sum();
        let mut taken = 0;
        let mut cells = BTreeSet::new();
        for cell in unstarted.into_iter().rev() {
            if !cells.is_empty() && taken * 2 >= work {
                break;
            }
            taken += costs[&cell].cost.max(1);
            cells.insert(cell);
        }
        let wanting = self.wanting(variant, &cells);
        let claim = wanting.map(|sweep| self.claim(sweep)).max().unwrap_or((i32::MIN, Reverse(0), false));
        Some(Split { from, cells, work, claim })
    }

    /// Sweeps that go on and want one of the variant's cells.
    fn wanting<'a>(
        &'a self,
        variant: VariantKey,
        cells: &'a BTreeSet<CellKey>,
    ) -> impl Iterator<Item = &'a Sweep> {
        let known = &self.variants[&variant];
        let wants = move |sweep: &Sweep| cells.iter().any(|c| known.cells[c].wants.contains(&sweep.no));
        self.sweeps.values().filter(move |sweep| self.wants_now(known, sweep.no) && wants(sweep))
    }

    /// Takes from a worker that called what it has not begun, if it would be given something longer instead, and that may last longer than all
    /// that is left shared among all workers.
    pub(super) fn give_back(&mut self, now: Millis, id: &WorkerId) {
        self.refresh(now);
        if self.draining || !self.reconciled(now) {
            return;
        }
        let Some(worker) = self.workers.get(id).filter(|worker| self.is_connected(worker)) else { return };
        let worth = |no: &AttemptId| self.worth_giving_back(now, id, no).map(|cells| (no.clone(), cells));
        if let Some((no, cells)) = worker.attempts.iter().find_map(worth) {
            let attempt = self.attempts.get_mut(&no).expect("it was just looked at");
            attempt.cells.retain(|c| !cells.contains(c));
            let variant = attempt.variant;
            self.index.mark(variant);
        }
    }

    fn worth_giving_back(&self, now: Millis, id: &WorkerId, no: &AttemptId) -> Option<BTreeSet<CellKey>> {
        let attempt: &Attempt = &self.attempts[no];
        let variant = &self.variants[&attempt.variant];
        let (_, rest) = variant.entry.splits.iter().find(|(n, _)| *n == (no.epoch, no.n))?;
        // Most calls of a sweep end here. A rest that may be late itself is begun by who has it, or by the next idle worker.
        if !self.is_near_end(rest.saturating_mul(SHORT)) || self.is_late(*rest) {
            return None;
        }
        let (work, claim) = self.choice(now, id)?.length();
        let cells: BTreeSet<CellKey> = self.unstarted(variant, attempt).into_iter().collect();
        let own: Option<Claim> = self.wanting(attempt.variant, &cells).map(|sweep| self.claim(sweep)).max();
        let times = LONGER * rest + 1..=rest.saturating_mul(SHORT);
        let longer = times.contains(&work) && self.is_near_end(work);
        (longer && own.is_none_or(|own| claim >= own)).then_some(cells)
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::*;
    use crate::schedule::Phase;

    #[test]
    fn near_the_end_what_is_not_begun_is_given_back_for_something_longer_that_waits() {
        // Far from the end, and where the rest is long itself, it stays with its worker.
        for (cells, kept) in [(&[4, 1][..], 1), (&[4, 1, 1, 1, 1], 4), (&[8, 1], 8)] {
            let mut story = Story::of(grid(cells));
            let order = story.given(1);
            let begun = [cell(0, 0)];
            let orders = story.sync(1, vec![evaluating(&order, &[], &begun)]).unwrap();
            assert_eq!(orders[0].cells.len(), kept, "{cells:?}");
            assert!(orders[0].cells.contains(&begun[0]), "what is begun is finished");
        }
        let mut story = Story::of(grid(&[4, 1]));
        let order = story.given(1);
        story.sync(1, vec![evaluating(&order, &[], &[cell(0, 0)])]);
        let mut report = evaluating(&order, &[cell(0, 0)], &[]);
        report.phase = Phase::Finished;
        let next = story.sync(1, vec![report]).unwrap();
        assert_eq!(next[0].variant, variant(1), "the longer one");
        assert_eq!(story.given(2).cells, [cell(0, 1), cell(0, 2), cell(0, 3)]);
    }

    #[test]
    fn what_is_given_back_and_has_begun_meanwhile_stays_with_who_began_it() {
        let mut story = Story::of(grid(&[4, 1]));
        let order = story.given(1);
        story.sync(1, vec![evaluating(&order, &[], &[cell(0, 0)])]);
        let orders = story.sync(1, vec![evaluating(&order, &[cell(0, 0)], &[cell(0, 1)])]).unwrap();
        assert_eq!(orders[0].attempt, order.attempt);
        assert!(orders[0].cells.contains(&cell(0, 1)));
    }
}
