//! Keeps the index true: every marked variant, and every one whose time has come, is looked at anew before anything is decided.

use super::canary::Gate;
use super::event::{Millis, WorkerId};
use super::fit::NODE_FAULTS;
use super::index::{Entry, No, Tally};
use super::state::{Attempt, Cell, Schedule, Variant, Worker};
use espalier_proto::ids::{CellKey, VariantKey};
use std::cmp::Reverse;
use std::collections::BTreeSet;

impl Schedule {
    /// Looks at every marked variant anew, and at those whose time has come.
    pub(super) fn refresh(&mut self, now: Millis) {
        while let Some((at, key)) = self.index.timers.first().copied().filter(|(at, _)| *at <= now) {
            self.index.timers.remove(&(at, key));
            self.index.marked.insert(key);
        }
        while let Some(key) = self.index.marked.pop_first() {
            // A canary waits for none: this ends.
            self.mark_gated(key);
            self.reindex(now, key);
        }
    }

    fn reindex(&mut self, now: Millis, key: VariantKey) {
        let new = self.entry(now, key);
        let variant = self.variants.get_mut(&key).expect("marked variants are known");
        let (class, order) = (variant.class, Reverse(variant.order));
        let old = std::mem::replace(&mut variant.entry, new);
        let new = &variant.entry;
        if old.tallies != new.tallies {
            self.unsettled = true;
            for (no, was) in &old.tallies {
                if let Some(sum) = self.sums.get_mut(no) {
                    sum.take(was);
                }
            }
            for (no, is) in &new.tallies {
                self.sums.entry(*no).or_default().add(is);
            }
        }
        let silent = planted!(self, LostWakeup);
        let index = &mut self.index;
        if old.waits != new.waits {
            for (no, work) in old.waits.iter().flat_map(|(work, nos)| nos.iter().map(move |no| (no, *work))) {
                let queues = index.queues.get_mut(no).expect("what waits is queued");
                let queue = queues.get_mut(&class).expect("what waits is queued");
                queue.remove(&(work, order, key));
                if queue.is_empty() {
                    queues.remove(&class);
                }
                if queues.is_empty() {
                    index.queues.remove(no);
                }
            }
            for (no, work) in new.waits.iter().flat_map(|(work, nos)| nos.iter().map(move |no| (no, *work))) {
                index.queues.entry(*no).or_default().entry(class).or_default().insert((work, order, key));
                index.news |= !silent;
            }
        }
        if old.splits != new.splits {
            let splits = index.splits.entry(class).or_default();
            for (id, work) in old.splits {
                splits.remove(&(work, Reverse(id)));
            }
            for (id, work) in &new.splits {
                splits.insert((*work, Reverse(*id)));
                index.news = true;
            }
        }
        if old.timer != new.timer {
            if let Some(at) = old.timer {
                index.timers.remove(&(at, key));
            }
            index.timers.extend(new.timer.map(|at| (at, key)));
        }
        if new.picky {
            index.picky.insert(key);
        } else if old.picky {
            // Who might not try it before may now.
            index.picky.remove(&key);
            index.news = true;
        }
    }

    /// A variant's place, worked out from nothing but the variant.
    pub(super) fn entry(&self, now: Millis, key: VariantKey) -> Entry {
        let variant = &self.variants[&key];
        let mut entry = Entry { tallies: self.tallies(variant), ..Entry::default() };
        let calm_at = variant.trouble.not_before;
        let alone = !variant.done && variant.attempts.is_empty() && self.wanted_alone(key);
        let closed = variant.trouble.quarantined.is_some()
            || !(variant.attempts.is_empty() || variant.done)
            || self.is_gated(variant);
        let open = |no: &No| self.wants_now(variant, *no) && self.gate_for(variant, *no) == Gate::Open;
        let free = if closed { Vec::new() } else { self.free(variant) };
        if !closed && (alone || !free.is_empty()) {
            let times = free.iter().map(|(_, c)| c.trouble.not_before).chain([calm_at]);
            entry.timer = times.filter(|at| *at > now).min();
            let ready = free.iter().map(|(_, c)| *c).filter(|c| c.trouble.not_before <= now);
            if calm_at <= now && (alone || ready.clone().next().is_some()) {
                let cells = ready;
                let pruning = if variant.done { 0 } else { variant.cost };
                let costs = || cells.clone().map(|c| c.cost);
                // What no other worker can take off it, the pruning and then one cell, counts half again: where it was
                // underestimated, that it was begun late cannot be mended.
                let in_a_row = pruning + costs().max().unwrap_or(0);
                let work = pruning + costs().sum::<u64>() + in_a_row / 2;
                // What a whole model waits for comes before all that waits with it.
                let work = if self.gated.contains_key(&key) { u64::MAX } else { work };
                let nos = cells.flat_map(|c| &c.wants).chain(&variant.wants_alone);
                entry.waits = Some((work, nos.filter(|no| open(no)).copied().collect()));
                entry.picky =
                    variant.trouble.is_picky() || variant.cells.values().any(|c| c.trouble.is_picky());
            }
        }
        if variant.done {
            for id in &variant.attempts {
                if let Some(work) = self.split_work(variant, &self.attempts[id]) {
                    entry.splits.push(((id.epoch, id.n), work));
                    entry.picky |= variant.cells.values().any(|c| c.trouble.is_picky());
                }
            }
        }
        entry
    }

    fn tallies(&self, variant: &Variant) -> Vec<(No, Tally)> {
        // Of one sweep, as a rule.
        let mut tallies: Vec<(No, Tally)> = Vec::with_capacity(1);
        let given_up = variant.trouble.quarantined.is_some();
        // It counts as one failure, the canary's, and not as one of every cell.
        let fell = |no: No| !given_up && self.why_given_up(variant, no).is_some();
        let fallen: BTreeSet<No> = variant.after.keys().copied().filter(|no| fell(*no)).collect();
        for state in variant.cells.values() {
            let failed = !state.done && (given_up || state.trouble.quarantined.is_some());
            for no in &state.wants {
                let (tally, fallen) = (tally_of(&mut tallies, *no), fallen.contains(no));
                tally.failed += u64::from(failed);
                tally.lost += u64::from(failed || fallen && !state.done);
                tally.given_up |= failed;
                tally.done += u64::from(state.done);
                tally.all.0 += state.cost;
                tally.all.1 += if state.done { state.cost } else { 0 };
                if !state.done && !failed && !fallen {
                    tally.open = true;
                    tally.left += state.cost;
                } else if !state.done {
                    tally.forgone += state.cost;
                }
            }
        }
        for no in &variant.wants_alone {
            tally_of(&mut tallies, *no).open |= !variant.done && !given_up && !fallen.contains(no);
        }
        for (no, tally) in &mut tallies {
            tally.given_up |= given_up || fallen.contains(no);
            tally.all.0 += variant.cost;
            tally.all.1 += if variant.done { variant.cost } else { 0 };
            tally.forgone += if variant.done || tally.open { 0 } else { variant.cost };
        }
        let pruning = if variant.done { 0 } else { variant.cost };
        tallies.iter_mut().filter(|(_, t)| t.open).for_each(|(_, t)| t.left += pruning);
        for id in &variant.attempts {
            let cells = &self.attempts[id].cells;
            let states = cells.iter().map(|c| &variant.cells[c]);
            let work = pruning + states.clone().map(|c| c.cost).sum::<u64>();
            for (no, tally) in &mut tallies {
                let has = states.clone().any(|c| c.wants.contains(no));
                tally.running |= has;
                if has || variant.wants_alone.contains(no) {
                    tally.work += work.max(1);
                }
            }
        }
        tallies
    }

    /// Cells of an attempt that nobody has begun.
    fn not_begun<'a>(&'a self, variant: &'a Variant, attempt: &'a Attempt) -> Vec<(&'a CellKey, &'a Cell)> {
        let begun: Vec<_> = variant.attempts.iter().map(|a| &self.attempts[a].begun).collect();
        let open = attempt
            .cells
            .iter()
            .filter(|c| !begun.iter().any(|b| b.contains(*c)) || planted!(self, BegunSplit));
        open.map(|c| (c, &variant.cells[c])).collect()
    }

    /// Cells of an attempt that could be taken from it, in order; it keeps at least one.
    pub(super) fn unstarted(&self, variant: &Variant, attempt: &Attempt) -> Vec<CellKey> {
        let mut unstarted = self.not_begun(variant, attempt);
        unstarted.sort_unstable_by_key(|(key, c)| (c.rank(), **key));
        let keep = usize::from(unstarted.len() == attempt.cells.len());
        unstarted.into_iter().skip(keep).map(|(key, _)| *key).collect()
    }

    /// The work of those cells.
    fn split_work(&self, variant: &Variant, attempt: &Attempt) -> Option<u64> {
        let costs: Vec<u64> = self.not_begun(variant, attempt).iter().map(|(_, c)| c.cost.max(1)).collect();
        let keep = costs.len() == attempt.cells.len();
        let kept = if keep { costs.iter().copied().max().unwrap_or(0) } else { 0 };
        (costs.len() > usize::from(keep)).then(|| costs.iter().sum::<u64>() - kept)
    }

    /// The worker changed: it may have become idle, or busy.
    pub(super) fn note_worker(&mut self, id: &WorkerId) {
        let Some(worker) = self.workers.get(id) else {
            return;
        };
        let idle = self.is_idle(worker).then_some(worker.kind);
        let worker = self.workers.get_mut(id).expect("it was just there");
        let was = std::mem::replace(&mut worker.idle_as, idle);
        if was == idle {
            return;
        }
        self.forget_idle(id, was);
        if let Some(kind) = idle {
            self.index.idle.entry(kind).or_default().insert(id.clone());
            self.index.fresh.insert(id.clone());
        }
    }

    /// The worker is not among the idle ones any more.
    pub(super) fn forget_idle(&mut self, id: &WorkerId, was: Option<No>) {
        let Some(kind) = was else { return };
        if let Some(idle) = self.index.idle.get_mut(&kind) {
            idle.remove(id);
        }
        self.index.fresh.remove(id);
    }

    /// It can be given a shard.
    pub(super) fn is_idle(&self, worker: &Worker) -> bool {
        worker.call.is_some()
            && (worker.attempts.is_empty() || (worker.reported.is_empty() && planted!(self, ShardPerCall)))
            && (!worker.draining || planted!(self, LeavingGiven))
            && worker.faults < NODE_FAULTS
    }
}

fn tally_of(tallies: &mut Vec<(No, Tally)>, no: No) -> &mut Tally {
    let at = tallies.iter().position(|(n, _)| *n == no).unwrap_or_else(|| {
        tallies.push((no, Tally::default()));
        tallies.len() - 1
    });
    &mut tallies[at].1
}
