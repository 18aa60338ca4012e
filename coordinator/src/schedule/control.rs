//! What people tell a schedule about a sweep that it has: pause, resume, retry, forget. Nothing here is remembered over a
//! restart; whoever starts a schedule tells it again.

use super::state::{Schedule, Trouble};
use espalier_proto::ids::{Digest, Name};

impl Schedule {
    /// What no other sweep wants is taken from running attempts, except cells already begun.
    pub(super) fn pause(&mut self, sweep: &Name) {
        if let Some(sweep) = self.sweeps.get_mut(sweep) {
            sweep.paused = true;
        }
        self.trim_running();
    }

    pub(super) fn resume(&mut self, sweep: &Name) {
        if let Some(sweep) = self.sweeps.get_mut(sweep) {
            sweep.paused = false;
        }
        self.unsettled = true;
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
        self.unsettled = true;
        let cells = sweep.cells.clone();
        let mut variants = sweep.alone.clone();
        variants.extend(cells.iter().map(|c| self.homes[c]));
        let meant = |key: Digest, trouble: &Trouble| {
            if keys.is_empty() { trouble.quarantined.is_some() } else { keys.contains(&key) }
        };
        for key in variants {
            let variant = self.variants.get_mut(&key).expect("a sweep wants known variants");
            if meant(key.0, &variant.trouble) {
                variant.trouble.forgive();
                variant.lost_at = None;
            }
            for (cell, state) in variant.cells.iter_mut().filter(|(c, _)| cells.contains(*c)) {
                if meant(cell.0, &state.trouble) {
                    state.trouble.forgive();
                }
            }
        }
        self.extend_running();
    }

    /// The sweep's wants vanish; what other sweeps want stays.
    pub(super) fn forget(&mut self, sweep: &Name) {
        self.sweeps.remove(sweep);
        self.unsettled = true;
        self.trim_running();
    }
}

impl Trouble {
    fn forgive(&mut self) {
        let seen = std::mem::take(&mut self.seen);
        *self = Self { seen, too_small: self.too_small, ..Self::default() };
    }
}
