//! What is always true of a schedule, by name. Tests check it after every event; so does every build with debug assertions.

use super::index::{No, Sum};
use super::state::Schedule;
use std::collections::BTreeMap;

/// With fewer variants and workers together everything is looked at always.
const SMALL: usize = 32;
/// Else at one event of so many.
const ONE_OF: u64 = 256;

impl Schedule {
    /// Every broken invariant, with what broke it.
    pub(super) fn broken(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut say = |ok: bool, name: &str, what: &dyn std::fmt::Display| {
            if !ok {
                broken.push(format!("{name}: {what}"));
            }
        };
        for (id, attempt) in self.attempts.iter() {
            let worker = self.workers.get(&attempt.worker);
            let variant = &self.variants[&attempt.variant];
            say(
                worker.is_some_and(|w| w.attempts.contains(id)) && variant.attempts.contains(id),
                "S1 an attempt is held by its worker and known to its variant",
                id,
            );
            for cell in &attempt.cells {
                say(!variant.cells[cell].done, "S2 no attempt is to do a cell that is done", id);
                say(
                    variant.cells[cell].trouble.quarantined.is_none(),
                    "S3 no attempt is to do a cell that was given up",
                    id,
                );
                let holders = || variant.attempts.iter().filter(|a| self.attempts[*a].cells.contains(cell));
                let first = holders().filter(|a| !self.attempts[*a].second).count();
                let one = first <= 1 && holders().count() <= 2;
                say(one, "S4 a cell is to be done by one attempt, and by one more if it was late", id);
            }
            say(
                !attempt.second || variant.done && attempt.cells.len() == 1,
                "S18 only a cell is done a second time",
                id,
            );
            say(variant.trouble.quarantined.is_none(), "S5 no attempt is at a variant that was given up", id);
            say(
                attempt.alone && !variant.done || !attempt.cells.is_empty(),
                "S6 a live attempt has something to do",
                id,
            );
            say(
                variant.done || variant.attempts.len() == 1,
                "S7 a variant is prepared by one attempt until its record is there",
                id,
            );
            say(
                id.epoch != self.epoch || id.n <= self.last_attempt,
                "S8 an attempt's number is never given twice",
                id,
            );
            say(
                worker.is_some_and(|w| self.misfit(&w.facts, attempt.variant).is_none()),
                "S9 an attempt is at a worker that fits",
                id,
            );
        }
        for (id, worker) in self.workers.iter() {
            say(
                worker.attempts.iter().all(|a| self.attempts.get(a).is_some_and(|a| a.worker == *id)),
                "S10 a worker holds live attempts only",
                id,
            );
        }
        for variant in self.variants.values() {
            for id in &variant.attempts {
                say(self.attempts.contains_key(id), "S11 a variant names live attempts only", id);
            }
        }
        let mut sums: BTreeMap<No, Sum> = BTreeMap::new();
        for (key, variant) in self.variants.iter() {
            say(variant.entry == self.entry(self.now, *key), "S13 a variant is indexed as it is", key);
            variant.entry.tallies.iter().for_each(|(no, t)| sums.entry(*no).or_default().add(t));
        }
        for sweep in self.sweeps.values() {
            let sum = sums.get(&sweep.no).copied().unwrap_or_default();
            say(sum == self.sum(sweep.no), "S14 a sweep's sums are those of its variants", &sweep.no);
            let going = self.going.contains(&sweep.no);
            say(going == sweep.goes_on(), "S15 a sweep goes on if nothing stops it", &sweep.no);
        }
        for (id, attempt) in self.attempts.iter() {
            let lost = self.variants[&attempt.variant].losses.iter().any(|l| l.attempt == *id);
            say(!lost, "S17 an attempt that lives is not among the lost", id);
        }
        for (id, worker) in self.workers.iter() {
            let idle = self.is_idle(worker).then_some(worker.kind);
            say(idle == worker.idle_as, "S16 a worker is idle if it is known as idle", id);
        }
        broken
    }

    /// Stops a build with debug assertions where an invariant is broken. To look at everything at every event would be all that
    /// such a build does with a large schedule: outside the scheduler's own tests, of many events one is looked at.
    pub(super) fn check(&mut self) {
        self.checks += 1;
        let small = self.variants.len() + self.workers.len() < SMALL;
        if cfg!(test) || small || self.checks.is_multiple_of(ONE_OF) {
            debug_assert!(self.broken().is_empty(), "{:#?}", self.broken());
        }
    }
}
