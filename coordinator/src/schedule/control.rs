//! What people tell a schedule about a sweep that it has: cancel, pause, resume, retry, forget. Nothing here is remembered over a
//! restart; whoever starts a schedule tells it again.

use super::state::{Schedule, Trouble};
use espalier_proto::ids::{Digest, Name, VariantKey};

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

    /// Forgets failures, so that the keys are tried again. Attempts whose failure was counted are still known: what they say
    /// again is still not a second failure. So is the memory that did not suffice.
    pub(super) fn retry(&mut self, name: &Name, keys: &[Digest]) {
        let Some(sweep) = self.sweeps.get_mut(name) else {
            return;
        };
        if std::mem::take(&mut sweep.doomed) {
            sweep.halted = false;
        }
        sweep.told = false;
        let no = sweep.no;
        self.note_going(name);
        let variants = self.variants_of(&self.sweeps[name]);
        // Whoever asks for a variant asks for the canary that it waits for.
        let asked = |key: &VariantKey| {
            let variant = &self.variants[key];
            let by_key = |key: Digest| keys.contains(&key);
            by_key(key.0) || variant.cells.keys().any(|c| by_key(c.0))
        };
        let gates = variants.iter().filter(|key| asked(key)).filter_map(|key| self.variants[key].after);
        let keys: Vec<Digest> = keys.iter().copied().chain(gates.map(|canary| canary.0)).collect();
        let meant = |key: Digest, trouble: &Trouble| {
            if keys.is_empty() { trouble.quarantined.is_some() } else { keys.contains(&key) }
        };
        for key in variants {
            let variant = self.variants.get_mut(&key).expect("a sweep wants known variants");
            if meant(key.0, &variant.trouble) {
                variant.trouble.forgive();
                variant.lost_at = None;
                for loss in std::mem::take(&mut variant.losses) {
                    variant.trouble.seen.remove(&loss.attempt);
                }
            }
            for (cell, state) in variant.cells.iter_mut().filter(|(_, c)| c.wants.contains(&no)) {
                if meant(cell.0, &state.trouble) {
                    state.trouble.forgive();
                }
            }
        }
        // Sweeps that share what was retried are not over either.
        self.reopen();
        self.extend_running();
    }

    /// The sweep's wants vanish; what other sweeps want stays.
    pub(super) fn forget(&mut self, sweep: &Name) {
        self.unwant(sweep);
        self.trim_running();
    }
}

impl Trouble {
    fn forgive(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        *self = Self { seen, too_small: self.too_small, ..Self::default() };
    }
}
