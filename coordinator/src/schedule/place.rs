//! Who gets what: long shards first, to a worker that fits and preferably has the model; when nothing waits, what a running
//! shard has not begun.

use super::event::{Millis, WorkerFacts, WorkerId};
use super::fit::{Misfit, NODE_FAULTS, misfit};
use super::index::No;
use super::rest::Split;
use super::state::{Claim, Schedule, Sweep, Trouble, Worker};
use espalier_proto::ids::{CellKey, VariantKey};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Bound;

/// So many of the longest shards are a sweep's turn, where others of its priority wait.
const TURN: u64 = 4;

/// What waits and a worker could be given.
pub(super) struct Waiting {
    pub(super) variant: VariantKey,
    pub(super) cells: BTreeSet<CellKey>,
    /// Its length, by which what waits is in order.
    work: u64,
    /// Of the sweep that it is given for.
    claim: Claim,
}

/// What a worker is given.
pub(super) enum Choice {
    Waits(Waiting),
    Split(Split),
}

impl Choice {
    /// Its length, and the best claim of those who want it.
    pub(super) fn length(&self) -> (u64, Claim) {
        match self {
            Choice::Waits(waiting) => (waiting.work, waiting.claim),
            Choice::Split(split) => (split.work, split.claim),
        }
    }
}

impl Schedule {
    /// Workers that can be counted on.
    pub(super) fn connected(&self) -> impl Iterator<Item = (&WorkerId, &Worker)> {
        self.workers.iter().filter(|(_, worker)| self.is_connected(worker))
    }

    /// It was heard of within a lease, and is not about to leave.
    pub(super) fn is_connected(&self, worker: &Worker) -> bool {
        !worker.draining && !self.is_silent(worker)
    }

    /// It was not heard of for a lease.
    pub(super) fn is_silent(&self, worker: &Worker) -> bool {
        self.last_heard(worker) + self.timing.lease <= self.now
    }

    /// Since when it is silent. It is not while its call is held open: that one is answered when it is due.
    pub(super) fn last_heard(&self, worker: &Worker) -> Millis {
        if worker.call.is_some() { self.now } else { worker.heard.max(worker.answered) }
    }

    /// It said that it leaves, and was not heard of since.
    pub(super) fn has_left(&self, worker: &Worker) -> bool {
        worker.draining && worker.attempts.is_empty() && self.is_silent(worker)
    }

    /// Why a device of this kind cannot run the variant.
    pub(super) fn misfit(&self, facts: &WorkerFacts, variant: VariantKey) -> Option<Misfit> {
        misfit(facts, &self.variants[&variant].needs)
    }

    pub(super) fn unfit(&self, worker: &Worker, variant: VariantKey) -> Option<Misfit> {
        if worker.faults >= NODE_FAULTS {
            return Some(Misfit::Faulty { faults: worker.faults });
        }
        self.misfit(&worker.facts, variant)
    }

    /// Why a worker of which it is known is given nothing of the variant.
    pub(super) fn unable(&self, worker: &Worker, variant: VariantKey) -> Option<Misfit> {
        if !self.answers(worker) {
            let since = self.now.0.saturating_sub(self.last_heard(worker).0);
            return Some(Misfit::Silent { seconds: since / 1000 });
        }
        if worker.draining { Some(Misfit::Leaves) } else { self.unfit(worker, variant) }
    }

    /// It has called when it should have, or the next time: long before its shards are given to others.
    pub(super) fn answers(&self, worker: &Worker) -> bool {
        self.now <= self.last_heard(worker) + Millis(4 * self.timing.busy.0)
    }

    /// Running workers have had time to announce what they hold.
    pub(super) fn reconciled(&self, now: Millis) -> bool {
        self.started.is_some_and(|s| now >= s + self.timing.reconcile) || planted!(self, NoReconcile)
    }

    /// Gives every idle worker whose call is open something to do, if there is anything for it. Workers for which nothing was
    /// found are looked at again only when there is news.
    pub(super) fn place(&mut self, now: Millis) {
        self.refresh(now);
        if self.draining || !self.reconciled(now) {
            return;
        }
        let mut picky = !self.index.picky.is_empty();
        while std::mem::take(&mut self.index.news) || std::mem::take(&mut picky) {
            self.index.fresh.clear();
            for kind in self.index.idle.keys().copied().collect::<Vec<_>>() {
                let mut next = self.idle_after(kind, Bound::Unbounded);
                while let Some(worker) = next {
                    // Workers of one kind are given the same: what one cannot have the others cannot either, unless it failed at that.
                    let on = self.give(now, &worker) || self.has_failed_at_any(&worker);
                    next = on.then(|| self.idle_after(kind, Bound::Excluded(&worker))).flatten();
                }
            }
        }
        while let Some(worker) = self.index.fresh.pop_first() {
            self.give(now, &worker);
        }
        self.give_ahead(now);
    }

    /// Of what could be run by workers of this kind something waits for a canary, for another try, or for what running workers announce.
    pub(super) fn holds_back(&self, kind: No) -> bool {
        let fits = |key: &VariantKey| self.index.fits(kind, self.variants[key].class);
        let pending =
            |key| self.variants.get(key).is_some_and(|c| !c.done && c.trouble.quarantined.is_none());
        let waits = |key: &VariantKey| fits(key) && self.is_gated(&self.variants[key]);
        let mut gated = self.gated.iter().filter(|(canary, _)| pending(canary));
        if !self.reconciled(self.now) {
            return self.variants.keys().any(fits);
        }
        self.index.timers.iter().any(|(_, key)| fits(key)) || gated.any(|(_, keys)| keys.iter().any(waits))
    }

    /// Answers idle workers that do not know yet that something is held back.
    pub(super) fn tell_held_back(&mut self) {
        for (kind, idle) in &self.index.idle {
            let mut unaware = idle.iter().filter(|id| !self.workers[*id].told_held_back).peekable();
            if unaware.peek().is_some() && self.holds_back(*kind) {
                self.to_answer.extend(unaware.cloned());
            }
        }
    }

    /// Something that waits, or could be split off, failed at this worker.
    fn has_failed_at_any(&self, id: &WorkerId) -> bool {
        self.index.picky.iter().any(|variant| self.has_failed_at(id, *variant))
    }

    /// The variant, or a cell of it, failed at this worker.
    pub(super) fn has_failed_at(&self, id: &WorkerId, variant: VariantKey) -> bool {
        let variant = &self.variants[&variant];
        let cells = variant.cells.values().map(|cell| &cell.trouble);
        cells.chain([&variant.trouble]).any(|trouble| trouble.failed_at.contains(id))
    }

    fn idle_after(&self, kind: No, after: Bound<&WorkerId>) -> Option<WorkerId> {
        self.index.idle.get(&kind)?.range((after, Bound::Unbounded)).next().cloned()
    }

    fn give(&mut self, now: Millis, worker: &WorkerId) -> bool {
        match self.choice(now, worker) {
            None => return false,
            Some(Choice::Waits(Waiting { variant, cells, .. })) => self.begin(now, worker, variant, cells),
            Some(Choice::Split(Split { from, cells, .. })) => {
                let planted = planted!(self, CellTwice);
                let attempt = self.attempts.get_mut(&from).expect("it was just chosen");
                let variant = attempt.variant;
                if !planted {
                    attempt.cells.retain(|c| !cells.contains(c));
                }
                self.begin(now, worker, variant, cells);
            }
        }
        self.refresh(now);
        true
    }

    /// What the worker is given if it has nothing to do.
    pub(super) fn choice(&self, now: Millis, worker: &WorkerId) -> Option<Choice> {
        let Some(waiting) = self.longest_waiting(now, worker) else {
            return self.largest_split(worker).map(Choice::Split);
        };
        let splits = self.index.splits.values();
        let most = splits.filter_map(|s| s.last()).map(|(work, _)| *work).max().unwrap_or(0);
        let split = if self.is_late(most) { self.largest_split(worker) } else { None };
        let first = |split: &Split| {
            split.claim.0 >= waiting.claim.0 && split.work > waiting.work && self.is_late(split.work)
        };
        Some(split.filter(first).map_or(Choice::Waits(waiting), Choice::Split))
    }

    /// Of the sweeps the one with the best claim; of its variants that are
    /// about the longest one whose model the worker has.
    pub(super) fn longest_waiting(&self, now: Millis, id: &WorkerId) -> Option<Waiting> {
        let worker = &self.workers[id];
        let mut best = None;
        for (name, sweep) in &self.sweeps {
            let Some(classes) = self.index.queues.get(&sweep.no) else {
                continue;
            };
            let claim = self.claim(sweep);
            for (class, queue) in classes {
                if !self.index.fits(worker.kind, *class) && !planted!(self, Misfit) {
                    continue;
                }
                let model = self.index.model(*class);
                let has_model = worker.last_model == Some(model) || worker.facts.models.contains(&model);
                for (work, order, key) in queue.iter().rev() {
                    // Within a factor of two the model at hand comes before the length, but near the end.
                    let exact = self.is_near_end(*work);
                    let length = if exact { *work } else { u64::from(work.max(&1).ilog2()) };
                    let rank = (claim, length, has_model && !exact, *work, *order, Reverse(name));
                    if best.as_ref().is_some_and(|(top, _, _)| rank <= *top) {
                        break;
                    }
                    // Of what it may try there may be nothing that this sweep wants.
                    let of_sweep = |cells: &BTreeSet<CellKey>| self.is_wanted_of(*key, cells, sweep.no);
                    if let Some(cells) = self.takes(now, id, *key).filter(of_sweep) {
                        best = Some((rank, *key, cells));
                        break;
                    }
                }
            }
        }
        best.map(|((claim, _, _, work, ..), variant, cells)| Waiting { variant, cells, work, claim })
    }

    pub(super) fn claim(&self, sweep: &Sweep) -> Claim {
        let priority = if planted!(self, LowFirst) { -sweep.priority } else { sweep.priority };
        (priority, Reverse(self.sum(sweep.no).work), self.is_owed(sweep))
    }

    /// Another one of its priority was given more, by what a turn is: some of the longest shards that wait for them. So that a worker need not
    /// load another model for every shard.
    fn is_owed(&self, sweep: &Sweep) -> bool {
        let waits = |s: &&Sweep| s.priority == sweep.priority && self.index.queues.contains_key(&s.no);
        let most = self.sweeps.values().filter(waits).map(|s| s.served).max().unwrap_or(0);
        let ahead = most.saturating_sub(sweep.served);
        ahead > 0
            && ahead
                >= TURN * self.sweeps.values().filter(waits).map(|s| self.longest(s.no)).max().unwrap_or(0)
    }

    /// The longest shard that waits for a sweep; a canary is none.
    fn longest(&self, no: No) -> u64 {
        let queues = self.index.queues.get(&no).into_iter().flat_map(|classes| classes.values());
        let lengths = queues.filter_map(|queue| queue.iter().rev().find(|(work, ..)| *work < u64::MAX));
        lengths.map(|(work, ..)| *work).max().unwrap_or(0)
    }

    fn is_wanted_of(&self, key: VariantKey, cells: &BTreeSet<CellKey>, sweep: No) -> bool {
        let variant = &self.variants[&key];
        variant.wants_alone.contains(&sweep) || cells.iter().any(|c| variant.cells[c].wants.contains(&sweep))
    }

    /// The cells of a waiting variant that the worker can take up.
    pub(super) fn takes(&self, now: Millis, id: &WorkerId, key: VariantKey) -> Option<BTreeSet<CellKey>> {
        let variant = &self.variants[&key];
        if !variant.done && !self.may_try(id, key, &variant.trouble) {
            return None;
        }
        let ready = |c: &CellKey| {
            let trouble = &variant.cells[c].trouble;
            trouble.not_before <= now && self.may_try(id, key, trouble)
        };
        let cells: BTreeSet<CellKey> = self.free_cells(key).into_iter().filter(ready).collect();
        let alone = variant.attempts.is_empty() && self.wanted_alone(key);
        (alone || !cells.is_empty()).then_some(cells)
    }

    /// What did not fit once goes to more memory, while any worker has more; what failed at a worker, or on a kind of device, goes to another
    /// one that it did not fail at, while there is one.
    pub(super) fn may_try(&self, id: &WorkerId, key: VariantKey, trouble: &Trouble) -> bool {
        let more = |w: &Worker| w.facts.memory > trouble.too_small;
        let anyone = |is: &dyn Fn(&WorkerId, &Worker) -> bool| {
            self.connected().any(|(id, w)| is(id, w) && self.unfit(w, key).is_none())
        };
        let larger = trouble.too_small > 0 && !planted!(self, TooLargeAgain) && anyone(&|_, w| more(w));
        let failed = trouble.failed_at.contains(id) && !planted!(self, SameWorker);
        let other = |id: &WorkerId, w: &Worker| !trouble.failed_at.contains(id) && (!larger || more(w));
        let unlike = |w: &Worker| trouble.unlike.contains(&w.facts.fingerprint) && !planted!(self, SameKind);
        let like = |id: &WorkerId, w: &Worker| other(id, w) && !unlike(w);
        let here = &self.workers[id];
        let elsewhere = larger && !more(here) || failed && anyone(&other) || unlike(here) && anyone(&like);
        !elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::super::story::*;
    use crate::schedule::Event;

    #[test]
    fn one_worker_serves_two_sweeps_in_turn_whichever_has_the_longer_shards() {
        let mut long = grid(&[1; 30]);
        long.variants.iter_mut().for_each(|plan| plan.cost = 50);
        let mut story = Story::of(long);
        // What was given out before the other one came is not owed to it.
        let mut order = story.given(1);
        let mut short = grid(&[1; 90]);
        short.sweep = "short".parse().unwrap();
        short.variants.drain(..30);
        short.variants.iter_mut().for_each(|plan| plan.cost = 20);
        story.event(Event::Submit(Box::new(short)));
        let mut turns = Vec::new();
        for _ in 0..45 {
            let done = order.cells.clone();
            order = story.sync(1, vec![evaluating(&order, &done, &[])]).unwrap().remove(0);
            turns.push((0..30).any(|v| variant(v) == order.variant));
        }
        // A long one is 60, two short ones: of forty-five shards a third, and a turn more or less.
        let long = turns.iter().filter(|long| **long).count();
        assert!((9..=21).contains(&long), "{long} {turns:?}");
    }
}
