//! Who is given what, held against what the world itself knows: W13, W15, W20 and W22, and what a canary holds up.

use super::coordinator::{Coordinator, Told};
use crate::schedule::state::{Variant, Worker};
use crate::schedule::{Order, WorkerId};
use espalier_proto::ids::{CellKey, Digest, VariantKey};

impl Coordinator {
    /// A new shard is of the highest priority that its worker could have been given, and not too large for it.
    pub(super) fn best_choice(&self, now: u64, worker: &WorkerId, order: &Order) {
        // What was given out in one step may have been split again in the same step.
        let given = self.schedule.variants[&order.variant].attempts.iter().filter(|id| self.is_fresh(id));
        let cells: Vec<CellKey> =
            given.flat_map(|id| self.schedule.attempts[id].cells.iter().copied()).collect();
        let chosen = self.priority(order.variant, &cells);
        for variant in self.schedule.variants.keys() {
            let cells = self.could_be_given(now, worker, *variant);
            let higher = cells.is_some_and(|c| self.priority(*variant, &c) > chosen);
            assert!(!higher, "W13 higher priority comes first: {}", order.attempt);
        }
        let memory = self.heard[worker].facts.memory;
        let tried = |key: Digest| self.counts.get(&key).map_or(0, |c| c.too_small);
        let larger = self.schedule.workers.values().any(|w| {
            w.facts.memory > tried(order.variant.0)
                && !w.draining
                && w.heard + self.timing.lease > self.time(now)
                && self.schedule.unfit(w, order.variant).is_none()
        });
        let too_large =
            !self.schedule.variants[&order.variant].done && memory <= tried(order.variant.0) && larger;
        assert!(!too_large, "W15 what did not fit goes to more memory: {}", order.attempt);
        self.elsewhere(now, worker, order);
    }

    /// What failed at a worker goes to another that could try it and has not failed at it (W22), what came out otherwise than before to one of
    /// another kind (W26).
    fn elsewhere(&self, now: u64, worker: &WorkerId, order: &Order) {
        let Some(count) = self.counts.get(&order.variant.0) else { return };
        let could = |id: &WorkerId, w: &Worker| {
            !count.failed_at.contains(id)
                && !w.draining
                && w.heard + self.timing.lease > self.time(now)
                && w.facts.memory > count.too_small
                && self.schedule.unfit(w, order.variant).is_none()
        };
        let unlike = |w: &Worker| count.unlike.contains(&w.facts.fingerprint);
        let any =
            |is: &dyn Fn(&Worker) -> bool| self.schedule.workers.iter().any(|(id, w)| could(id, w) && is(w));
        let again = !self.schedule.variants[&order.variant].done;
        let failed = again && count.failed_at.contains(worker) && any(&|_| true);
        assert!(!failed, "W22 what failed at a worker is tried by another: {}", order.attempt);
        let same = again && unlike(&self.schedule.workers[worker]) && any(&|w| !unlike(w));
        assert!(!same, "W26 what came out otherwise is tried on another kind of device: {}", order.attempt);
    }

    /// W20: what somebody else is at is given out only if he has been at it for a lease, and nothing else could be given.
    pub(super) fn late_enough(&self, now: u64, worker: &WorkerId, order: &Order) {
        let others =
            self.schedule.variants[&order.variant].attempts.iter().filter(|id| **id != order.attempt);
        let at = |id: &espalier_proto::ids::AttemptId, cell: &CellKey| {
            let begun = self.schedule.attempts[id].begun.contains(cell) && order.cells.contains(cell);
            begun.then(|| self.ever_begun[&(id.clone(), *cell)])
        };
        let since = others.flat_map(|id| order.cells.iter().filter_map(move |cell| at(id, cell))).min();
        let Some(since) = since else { return };
        let late = now >= since + self.timing.lease.0;
        assert!(late, "W20 only what is late is begun a second time: {}", order.attempt);
        let other =
            self.schedule.variants.keys().find(|key| self.could_be_given(now, worker, **key).is_some());
        assert!(
            other.is_none(),
            "W20 nothing is begun a second time while something waits: {}",
            order.attempt
        );
    }

    /// Every sweep that wants it now has a canary that holds it up.
    pub(super) fn is_held_up(
        &self,
        key: VariantKey,
        cells: &[CellKey],
        held_up: impl Fn(VariantKey) -> bool,
    ) -> bool {
        self.wanting(key, cells).all(|told| told.after.get(&key).is_some_and(|canary| held_up(*canary)))
    }

    /// It is not begun yet: its canary is to be waited for.
    pub(super) fn is_gated(&self, key: VariantKey, cells: &[CellKey]) -> bool {
        self.is_held_up(key, cells, |canary| self.holds_up(canary, key))
    }

    fn holds_up(&self, canary: VariantKey, key: VariantKey) -> bool {
        let variant = &self.schedule.variants[&key];
        let awaited = |known: &Variant| self.wants_alone(canary) || !known.attempts.is_empty();
        let known = self.schedule.variants.get(&canary);
        let begun = variant.done || !variant.attempts.is_empty();
        !begun && known.is_some_and(|known| !known.done && awaited(known))
    }

    fn wanting(&self, key: VariantKey, cells: &[CellKey]) -> impl Iterator<Item = &Told> {
        let wants = move |t: &&Told| t.alone.contains(&key) || cells.iter().any(|c| t.cells.contains(c));
        self.told.values().filter(wants).filter(move |t| self.goes_on(t, key))
    }

    /// Of those whom nothing holds up.
    fn priority(&self, key: VariantKey, cells: &[CellKey]) -> i32 {
        let free = |t: &&Told| !t.after.get(&key).is_some_and(|canary| self.holds_up(*canary, key));
        self.wanting(key, cells).filter(free).map(|t| t.priority).max().unwrap_or(i32::MIN)
    }
}
