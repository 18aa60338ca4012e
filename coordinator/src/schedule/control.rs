//! What people tell a schedule about a sweep that it has: cancel, pause, resume, retry, forget. Nothing here is remembered over a
//! restart; a submission says what of it still holds.

use super::command::Command;
use super::state::{Schedule, Trouble, Variant};
use espalier_proto::ids::{Digest, Name, VariantKey};
use std::collections::{BTreeMap, BTreeSet};

impl Schedule {
    /// Stops a sweep for good: forgetting its failures does not start it again, submitting it does.
    pub(super) fn cancel(&mut self, name: &Name) {
        if let Some(sweep) = self.sweeps.get_mut(name) {
            sweep.doomed = false;
        }
        self.halt(name);
    }

    /// What no other sweep wants is taken from running attempts, except cells already begun.
    pub(super) fn pause(&mut self, sweep: &Name) {
        let planted = planted!(self, PausedGoesOn);
        if let Some(sweep) = self.sweeps.get_mut(sweep) {
            sweep.paused = !planted;
        }
        self.note_going(sweep);
        self.trim_running();
    }

    pub(super) fn resume(&mut self, sweep: &Name) {
        if let Some(sweep) = self.sweeps.get_mut(sweep) {
            sweep.paused = false;
        }
        self.note_going(sweep);
        self.extend_running();
    }

    /// Forgets failures, so that the keys are tried again, and the canaries that their variants wait for in this sweep. Attempts
    /// whose failure was counted are still known: what they say again is still not a second failure. So is the memory that did not suffice.
    pub(super) fn retry(&mut self, name: &Name, keys: &[Digest], commands: &mut Vec<Command>) {
        let Some(sweep) = self.sweeps.get_mut(name) else {
            return;
        };
        if std::mem::take(&mut sweep.doomed) {
            sweep.halted = false;
        }
        sweep.was_doomed = false;
        sweep.told = false;
        let no = sweep.no;
        self.note_going(name);
        // There may be as many as cells.
        let keys: BTreeSet<Digest> = keys.iter().copied().collect();
        let mut variants = self.variants_of(&self.sweeps[name]);
        let asked = |key: &VariantKey| {
            let by_key = |key: Digest| keys.is_empty() || keys.contains(&key);
            by_key(key.0) || self.variants[key].cells.keys().any(|c| by_key(c.0))
        };
        let gates: BTreeSet<VariantKey> = variants
            .iter()
            .filter(|key| asked(key))
            .filter_map(|key| self.variants[key].after.get(&no).copied())
            .collect();
        for canary in gates.iter().filter(|canary| self.variants.contains_key(*canary)) {
            variants.insert(*canary);
            self.index.mark(*canary);
        }
        let meant = |key: Digest, trouble: &Trouble| {
            if keys.is_empty() {
                trouble.quarantined.is_some()
            } else {
                keys.contains(&key) || gates.contains(&VariantKey(key))
            }
        };
        let mut forgiven: Vec<(VariantKey, Digest)> = Vec::new();
        for home in variants {
            let variant = self.variants.get_mut(&home).expect("a sweep wants known variants");
            if meant(home.0, &variant.trouble) {
                forgiven.extend(variant.trouble.quarantined.map(|_| (home, home.0)));
                variant.forgive();
            }
            for (cell, state) in variant.cells.iter_mut().filter(|(_, c)| c.wants.contains(&no)) {
                if meant(cell.0, &state.trouble) {
                    forgiven.extend(state.trouble.quarantined.map(|_| (home, cell.0)));
                    state.trouble.forgive();
                }
            }
        }
        self.tell_others(name, &forgiven, commands);
        // Sweeps that share what was retried are not over either.
        self.reopen();
        self.extend_running();
    }

    /// Of what was forgiven the logs of others that want it are told; not of those that are stopped, which does not change that.
    pub(super) fn tell_others(
        &self,
        sweep: &Name,
        forgiven: &[(VariantKey, Digest)],
        commands: &mut Vec<Command>,
    ) {
        let mut others: BTreeMap<Name, Vec<Digest>> = BTreeMap::new();
        for (home, key) in forgiven {
            let wanting = self.sweeps_wanting(*home, *key).into_iter();
            for other in wanting.filter(|other| other != sweep && !self.sweeps[other].halted) {
                others.entry(other).or_default().push(*key);
            }
        }
        commands.extend(others.into_iter().map(|(sweep, keys)| Command::Forgive { sweep, keys }));
    }

    /// The sweep's wants vanish; what other sweeps want stays.
    pub(super) fn forget(&mut self, sweep: &Name) {
        self.unwant(sweep);
        self.trim_running();
    }
}

impl Variant {
    /// Forgets its own failures, and what was lost: of an attempt that was thought lost and lives nothing is left to be taken back.
    pub(super) fn forgive(&mut self) {
        self.trouble.forgive();
        self.lost_at = None;
        for loss in std::mem::take(&mut self.losses) {
            self.trouble.seen.remove(&loss.attempt);
        }
    }
}

impl Trouble {
    pub(super) fn forgive(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        *self = Self { seen, too_small: self.too_small, ..Self::default() };
    }
}
