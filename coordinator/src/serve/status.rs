//! What a coordinator is doing, for people and for local mode. Read-only.

use super::progress::spoken;
use crate::clock::Stopwatch;
use crate::schedule::{View, WorkerFacts, WorkerId};
use espalier_proto::ids::Digest;
use espalier_proto::records::FailureCode;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an attempt at a key met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    /// The word that results show.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

/// A coordinator at one moment.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The schedule.
    pub view: View,
    /// The last failure of each key that failed since the start, or was given up before it.
    pub faults: Arc<BTreeMap<Digest, Met>>,
    /// A newer epoch of this instance.
    pub superseded: bool,
    /// What the bucket refused since it last did as it was asked.
    pub refused: Vec<String>,
    /// Since when it has not answered, where that is long.
    pub silent: Option<Stopwatch>,
    /// Process ids of workers that have called, with their names.
    pub called: BTreeMap<u32, WorkerId>,
    /// What workers that have called are.
    pub workers: BTreeMap<WorkerId, Arc<WorkerFacts>>,
}

impl Status {
    /// What is wrong with the bucket now, a line a kind.
    pub fn trouble(&self) -> Vec<String> {
        let silent =
            self.silent.map(|since| format!("the bucket has not answered for {}", spoken(since.elapsed())));
        self.refused.iter().cloned().chain(silent).collect()
    }

    /// Every sweep has nothing left to do.
    pub fn over(&self) -> bool {
        !self.view.sweeps.is_empty() && self.view.sweeps.values().all(|s| s.over)
    }
}
