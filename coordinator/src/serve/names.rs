//! Which sweeps this instance has, which of its own it could not read, and which it had.

use super::sweeps::{Sweeps, SweepsError};
use espalier_proto::ids::Name;
use espalier_proto::sweep::ResolvedSweep;
use std::collections::BTreeMap;
use std::sync::{Arc, MutexGuard};

impl Sweeps {
    /// The names of all sweeps.
    pub fn names(&self) -> Vec<Name> {
        self.live().keys().cloned().collect()
    }

    /// A sweep of this instance.
    pub fn sweep(&self, name: &str) -> Result<Arc<ResolvedSweep>, SweepsError> {
        let live = self.live();
        let parsed = name.parse::<Name>().ok();
        let found = parsed.as_ref().and_then(|name| live.get(name)).map(|live| live.sweep.clone());
        let absent = || parsed.and_then(|name| self.why_absent(name));
        found.ok_or_else(|| {
            absent().unwrap_or_else(|| {
                let known: Vec<&str> = live.keys().map(Name::as_str).collect();
                SweepsError::Unknown {
                    instance: self.epoch().instance.clone(),
                    sweep: name.to_owned(),
                    known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
                }
            })
        })
    }

    /// Why a sweep of the bucket is not among this instance's, where it should be or was.
    fn why_absent(&self, sweep: Name) -> Option<SweepsError> {
        if let Some(why) = self.unreadable().get(&sweep).cloned() {
            return Some(SweepsError::Unreadable { sweep, why });
        }
        let owner = self.gone().get(&sweep).cloned()?;
        Some(match owner {
            Some(owner) => SweepsError::TakenOver { instance: self.epoch().instance.clone(), sweep, owner },
            None => SweepsError::Removed { sweep },
        })
    }

    /// Sweeps of the bucket that could not be taken up, with why.
    pub fn unreadable(&self) -> MutexGuard<'_, BTreeMap<Name, String>> {
        self.unreadable.lock().expect("nothing panics while it holds the sweeps that cannot be read")
    }

    /// Sweeps that were let go, with whose they are now; of those that were removed nobody's.
    pub(super) fn gone(&self) -> MutexGuard<'_, BTreeMap<Name, Option<String>>> {
        self.gone.lock().expect("nothing panics while it holds the sweeps that were let go")
    }
}
