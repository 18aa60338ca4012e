//! What a coordinator is doing, for people and for local mode. Read-only.

use crate::schedule::{Fault, View, WorkerFacts, WorkerId};
use espalier_proto::ids::Digest;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A coordinator at one moment.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The schedule.
    pub view: View,
    /// The last failure of each key that failed since the start.
    pub faults: Arc<BTreeMap<Digest, Fault>>,
    /// A newer epoch of this instance.
    pub superseded: bool,
    /// What the bucket refused since it last did as it was asked.
    pub trouble: Vec<String>,
    /// Process ids of workers that have called, with their names.
    pub called: BTreeMap<u32, WorkerId>,
    /// What workers that have called are.
    pub workers: BTreeMap<WorkerId, Arc<WorkerFacts>>,
}

impl Status {
    /// Every sweep has nothing left to do.
    pub fn over(&self) -> bool {
        !self.view.sweeps.is_empty() && self.view.sweeps.values().all(|s| s.over)
    }
}
