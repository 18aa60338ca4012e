//! Stragglers near the end: where a worker is idle and nothing is left to give it, a cell that another has been at for far longer than
//! cells take is begun a second time. Whoever finishes first counts; the other's record is dropped by the bucket.
//!
//! Only cells are doubled, each once, and only while their variant's checkpoint is in the bucket.

use super::event::{Millis, WorkerId};
use super::state::Schedule;
use espalier_proto::ids::{AttemptId, CellKey};

/// A cell is late after so many times the time that its work has taken others.
const LATE: u64 = 3;

impl Schedule {
    /// A cell was reported done. When the attempt was not known to be at it, it took no longer than from what was last heard; of several that
    /// are reported at once, all together took that long.
    pub(super) fn note_pace(&mut self, now: Millis, attempt: &AttemptId, cell: &CellKey) {
        let Some(attempt) = self.attempts.get(attempt).filter(|a| a.has(cell)) else { return };
        let cost = self.variants[&attempt.variant].cells.get(cell).map_or(1, |state| state.cost);
        let Some(worker) = self.workers.get_mut(&attempt.worker) else { return };
        let since = attempt.begun_since.max(std::mem::replace(&mut worker.done_at, now));
        self.pace.add(cost, now.0.saturating_sub(since.0));
    }

    /// Gives idle workers for whom there is nothing else the cells that are late. Placement comes before.
    pub(super) fn double_stragglers(&mut self, now: Millis) {
        let somebody = self.index.idle.values().any(|idle| !idle.is_empty());
        if !somebody || self.draining || !self.reconciled(now) {
            return;
        }
        for (_, id, cell) in self.stragglers(now) {
            let variant = self.attempts[&id].variant;
            let Some(worker) = self.second(&id, &cell) else { continue };
            let state = self.variants.get_mut(&variant).expect("attempts are of known variants");
            state.cells.get_mut(&cell).expect("attempts have known cells").doubled = true;
            self.begin_second(now, &worker, variant, cell);
        }
    }

    /// Cells that are late, those that began first before others.
    fn stragglers(&self, now: Millis) -> Vec<(Millis, AttemptId, CellKey)> {
        let mut late = Vec::new();
        for (id, attempt) in self.attempts.iter() {
            let variant = &self.variants[&attempt.variant];
            let took = now.0.saturating_sub(attempt.begun_since.0);
            // A worker that is silent loses its lease anyway.
            let early = took < self.timing.lease.0 && !planted!(self, DoubledEarly);
            if !variant.done || variant.trouble.quarantined.is_some() || early {
                continue;
            }
            for cell in attempt.begun.intersection(&attempt.cells) {
                let state = &variant.cells[cell];
                let again = state.doubled && !planted!(self, DoubledAgain);
                let expected = self.pace.time(state.cost);
                let late_now =
                    expected.is_some_and(|time| took > LATE * time) || planted!(self, DoubledEarly);
                if !again && self.is_open(variant, state) && late_now {
                    late.push((attempt.begun_since, id.clone(), *cell));
                }
            }
        }
        late.sort_unstable();
        late
    }

    /// An idle worker that can do the cell as well, on another node if there is one.
    fn second(&self, id: &AttemptId, cell: &CellKey) -> Option<WorkerId> {
        let attempt = &self.attempts[id];
        let variant = &self.variants[&attempt.variant];
        let trouble = &variant.cells[cell].trouble;
        let host = self.workers.get(&attempt.worker).map(|w| w.facts.host.as_str());
        let idle = self.index.idle.iter().filter(|(kind, _)| self.index.fits(**kind, variant.class));
        let able = idle
            .flat_map(|(_, workers)| workers)
            .filter(|id| self.workers[*id].attempts.is_empty() && self.may_try(id, attempt.variant, trouble));
        able.min_by_key(|id| host == Some(self.workers[*id].facts.host.as_str())).cloned()
    }
}

#[cfg(test)]
mod tests {
    use crate::schedule::story::*;
    use crate::schedule::{Command, Order};
    use espalier_proto::ids::AttemptId;

    /// Worker 1 has done the first cell in five seconds, and is at the second for `seconds`; `others` are idle and call as idle workers do.
    /// What each of them is given.
    fn after(seconds: u64, others: &[u8]) -> (Story, Order, Vec<Vec<Order>>) {
        let mut story = Story::of(grid(&[2]));
        let order = story.given(1);
        story.sync(1, vec![evaluating(&order, &[], &[cell(0, 0)])]);
        story.later(5_000);
        story.sync(1, vec![evaluating(&order, &[cell(0, 0)], &[cell(0, 1)])]);
        let mut given = vec![Vec::new(); others.len()];
        for second in 0..seconds {
            for (orders, w) in given.iter_mut().zip(others) {
                if second % 20 == 0 && orders.is_empty() {
                    assert_eq!(story.sync(*w, vec![]), None, "nothing waits");
                }
            }
            let news = story.later(1_000);
            given
                .iter_mut()
                .zip(others)
                .for_each(|(orders, w)| orders.extend(answer_to(&news, *w).unwrap_or_default()));
            story.sync(1, vec![evaluating(&order, &[cell(0, 0)], &[cell(0, 1)])]);
        }
        (story, order, given)
    }

    #[test]
    fn a_cell_that_is_late_is_given_to_one_idle_worker_and_to_no_other() {
        let (_, _, given) = after(29, &[2]);
        assert_eq!(given, [vec![]], "it is late after a lease at the earliest");
        let (_, first, given) = after(75, &[2, 3]);
        let second: Vec<&Order> = given.iter().flatten().collect();
        let [second] = second[..] else { panic!("{given:?}") };
        assert_eq!((second.variant, &second.cells[..]), (first.variant, &[cell(0, 1)][..]));
        assert_ne!(second.attempt, first.attempt);
    }

    #[test]
    fn whoever_of_the_two_finishes_first_ends_the_sweep() {
        for by_the_second in [true, false] {
            let (mut story, first, given) = after(40, &[2]);
            let second = given[0][0].clone();
            let (w, order) = if by_the_second { (2, &second) } else { (1, &first) };
            let done = [cell(0, 0), cell(0, 1)];
            let done = if by_the_second { &done[1..] } else { &done[..] };
            story.sync(w, vec![evaluating(order, done, &[])]);
            assert!(story.commands.iter().any(|c| matches!(c, Command::SweepDone { halted: false, .. })));
            let live: Vec<&AttemptId> = story.schedule.attempts.keys().collect();
            assert!(live.is_empty(), "{live:?}");
        }
    }

    #[test]
    fn the_one_that_is_left_goes_on_when_the_other_worker_is_lost() {
        let (mut story, _, given) = after(40, &[2]);
        let second = given[0][0].clone();
        story.sync(2, vec![evaluating(&second, &[], &[cell(0, 1)])]);
        story.event(crate::schedule::Event::WorkerLost(crate::schedule::WorkerId("w1".into())));
        assert_eq!(story.sync(3, vec![]), None, "the second is at it");
        let answer = story.sync(2, vec![evaluating(&second, &[], &[cell(0, 1)])]).unwrap();
        assert_eq!(answer[0].cells, [cell(0, 1)]);
    }
}
