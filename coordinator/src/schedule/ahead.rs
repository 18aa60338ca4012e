//! Shards of seconds are given ahead: a worker that will be done with what it holds before its next calls holds more of what waits for the
//! model that it has. It need not ask after every shard, and goes on for a while where nobody answers.
//!
//! A worker does what it holds in the order of the attempts, and says of what it has not begun that it waits: that goes to whoever has nothing
//! to do. Whose fault it is if the worker is lost need not be known: a first loss is nobody's, and what was lost once is not given ahead again,
//! nor is anything given behind it.

use super::event::{Millis, Phase, WorkerId};
use super::place::Waiting;
use super::state::{Attempt, Schedule, Variant, Worker};
use espalier_proto::ids::{AttemptId, VariantKey};
use espalier_proto::methods;

/// A worker holds at most so many shards.
const MOST: usize = 16;

impl Schedule {
    /// Gives more to workers that are about to be answered. Whoever has nothing was looked after before.
    pub(super) fn give_ahead(&mut self, now: Millis) {
        let able = self.to_answer.iter().filter(|id| self.workers.get(id).is_some_and(can_hold_more));
        for id in able.cloned().collect::<Vec<WorkerId>>() {
            let Some(mut held) = self.in_hand(&id) else { continue };
            let more = MOST.saturating_sub(self.workers[&id].attempts.len());
            for _ in 0..more {
                let Some((Waiting { variant, cells, .. }, work)) = self.next(now, &id, held) else { break };
                self.begin(now, &id, variant, cells);
                self.refresh(now);
                held += work;
            }
        }
    }

    /// Work that a worker holds; `None` where something of it is to be alone.
    fn in_hand(&self, id: &WorkerId) -> Option<u64> {
        let mut held = 0;
        for attempt in self.workers[id].attempts.iter().map(|id| &self.attempts[id]) {
            let variant = &self.variants[&attempt.variant];
            if self.goes_alone(attempt.variant, variant) {
                return None;
            }
            held += self.work_of(variant, &attempt.cells);
        }
        Some(held)
    }

    /// Work of a variant with these cells.
    pub(super) fn work_of<'a>(
        &self,
        variant: &Variant,
        cells: impl IntoIterator<Item = &'a espalier_proto::ids::CellKey>,
    ) -> u64 {
        let pruning = if variant.done { 0 } else { variant.cost };
        pruning + cells.into_iter().map(|cell| variant.cells[cell].cost).sum::<u64>()
    }

    /// What waits and would be this worker's next, and its work: if it would have done what it holds before it calls twice, and that is short, of
    /// the model at hand and above suspicion, and what is left is enough for all.
    fn next(&self, now: Millis, id: &WorkerId, held: u64) -> Option<(Waiting, u64)> {
        let busy = self.timing.busy.0;
        self.pace.time(held).filter(|time| *time < 2 * busy)?;
        let next = self.longest_waiting(now, id)?;
        let variant = &self.variants[&next.variant];
        let work = self.work_of(variant, &next.cells);
        let short = self.pace.time(work).is_some_and(|time| time <= busy);
        let at_hand = self.workers[id].last_model == Some(variant.needs.model);
        let ours = at_hand && !self.goes_alone(next.variant, variant);
        (short && ours && !self.is_near_end(held + work)).then_some((next, work))
    }

    /// A canary, or what failed or was lost before: nothing is to wait behind it, nor it behind anything.
    fn goes_alone(&self, key: VariantKey, variant: &Variant) -> bool {
        let failed = variant.trouble.blamed + variant.trouble.excused > 0 || variant.trouble.is_picky();
        let cells = variant.cells.values().any(|c| c.trouble.blamed + c.trouble.excused > 0);
        let suspect = failed || cells || !variant.losses.is_empty();
        suspect && !planted!(self, SuspectAhead) || self.gated.contains_key(&key)
    }

    /// Gives what waits behind others to workers that have nothing, the newest first: it would have been begun last.
    pub(super) fn take_back(&mut self, now: Millis) {
        let somebody = self.index.idle.values().any(|idle| !idle.is_empty());
        if !somebody || self.draining || !self.reconciled(now) || planted!(self, KeptAhead) {
            return;
        }
        let behind = self.attempts.iter().filter(|(id, attempt)| self.is_behind(id, attempt));
        let mut behind: Vec<AttemptId> = behind.map(|(id, _)| id.clone()).collect();
        behind.sort_unstable();
        for id in behind.into_iter().rev() {
            let variant = self.attempts[&id].variant;
            let Some(taker) = self.idle_for(variant) else { continue };
            self.end(&id);
            self.refresh(now);
            if let Some(cells) = self.takes(now, &taker, variant) {
                self.begin(now, &taker, variant, cells);
                self.refresh(now);
            }
        }
    }

    /// Its worker has said that it has not begun it, and holds another one that comes first.
    pub(super) fn is_behind(&self, id: &AttemptId, attempt: &Attempt) -> bool {
        let first = self.workers.get(&attempt.worker).and_then(|worker| worker.attempts.first());
        attempt.confirmed && attempt.phase == Phase::Waiting && first != Some(id)
    }

    /// A worker that has nothing and may try the variant.
    fn idle_for(&self, key: VariantKey) -> Option<WorkerId> {
        let variant = &self.variants[&key];
        let idle = self.index.idle.iter().filter(|(kind, _)| self.index.fits(**kind, variant.class));
        let mut workers = idle.flat_map(|(_, workers)| workers);
        let may = |id: &&WorkerId| {
            let cells = || variant.cells.values().all(|cell| self.may_try(id, key, &cell.trouble));
            self.may_try(id, key, &variant.trouble) && cells()
        };
        workers.find(may).cloned()
    }
}

/// It holds something, can be told of more now, does one after another and says which it has begun.
fn can_hold_more(worker: &Worker) -> bool {
    let several = worker.facts.stages.get(methods::AHEAD).is_some_and(|v| *v >= methods::AHEAD_VERSION);
    !worker.attempts.is_empty() && worker.call.is_some() && !worker.draining && worker.faults == 0 && several
}

#[cfg(test)]
mod tests {
    use super::super::story::*;
    use super::super::*;
    use espalier_proto::methods;

    /// Worker 1 has done a cell of variant 0 in `took` and is at the other one; of forty more variants it holds what it was given ahead. `able`: it
    /// says that it does several.
    fn ahead(took: u64, able: bool, sweep: Submission) -> (Story, Vec<Order>) {
        let mut story = Story::of(sweep);
        if able {
            let stages = [(methods::AHEAD.to_owned(), methods::AHEAD_VERSION)].into();
            story.facts.insert(1, WorkerFacts { stages, ..facts() });
        }
        let order = story.given(1);
        story.sync(1, vec![evaluating(&order, &[], &order.cells[..1])]);
        story.now += took;
        let orders = story.sync(1, vec![evaluating(&order, &order.cells[..1], &order.cells[1..])]).unwrap();
        (story, orders)
    }

    fn many() -> Submission {
        let mut sweep = grid(&[vec![2], vec![1; 40]].concat());
        sweep.variants.iter_mut().skip(1).for_each(|plan| plan.cost = 1);
        sweep
    }

    #[test]
    fn short_shards_are_given_ahead_to_who_says_that_it_does_several_and_long_ones_to_nobody() {
        // A cell's work is 10, a small variant's 1: at 200 ms a cell, two seconds hold ten of them.
        let (_, orders) = ahead(200, true, many());
        assert_eq!(orders.len(), 10, "{orders:?}");
        for (took, able) in [(200, false), (30_000, true)] {
            assert_eq!(ahead(took, able, many()).1.len(), 1, "{took} {able}");
        }
        // What is left is to be enough for all.
        let mut few = many();
        few.variants.truncate(3);
        assert_eq!(ahead(200, true, few).1.len(), 1);
    }

    #[test]
    fn what_waits_behind_others_goes_to_whoever_has_nothing() {
        let (mut story, orders) = ahead(200, true, many());
        let mut reports: Vec<Report> = orders.iter().map(|order| report(order, Phase::Waiting)).collect();
        reports[0].phase = Phase::Evaluating;
        story.sync(1, reports.clone());
        // Others take all that waits at nobody.
        for w in 2..50 {
            story.sync(w, vec![]);
        }
        let news = story.later(200);
        let taken: Vec<_> =
            (2..50).filter_map(|w| answer_to(&news, w)).flatten().map(|o| o.variant).collect();
        assert_eq!(taken.len(), orders.len() - 1);
        assert!(orders[1..].iter().all(|order| taken.contains(&order.variant)));
        let kept = story.sync(1, reports).unwrap();
        assert_eq!(kept.iter().map(|o| &o.attempt).collect::<Vec<_>>(), [&orders[0].attempt]);
    }

    #[test]
    fn what_was_lost_with_its_worker_is_blamed_on_nobody_and_not_given_ahead_again() {
        let (mut story, orders) = ahead(200, true, many());
        let reports: Vec<Report> = orders.iter().map(|order| report(order, Phase::Waiting)).collect();
        story.sync(1, reports);
        story.event(Event::WorkerLost(WorkerId("w1".into())));
        assert!(!story.commands.iter().any(|c| matches!(c, Command::KeepFailure { .. })));
        assert!(orders.iter().all(|order| story.schedule.variants[&order.variant].losses.len() == 1));
        let lost = |order: &Order| orders.iter().any(|o| o.variant == order.variant);
        story.facts.insert(2, story.facts[&1].clone());
        let first = story.given(2);
        let mut report = evaluating(&first, &[], &[]);
        report.cells_done = first.cells.iter().copied().collect();
        let next = story.sync(2, vec![report]).unwrap();
        assert!(next.len() == 1 || !next.iter().any(lost), "{next:?}");
    }
}
