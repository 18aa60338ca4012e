//! Faults that are planted into the schedule, one at a time, to show that the random worlds find them. Outside tests there is
//! neither a switch nor a test of one.

use super::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Worlds within which each fault must be found.
const WORLDS: u64 = 10_000;

macro_rules! bugs {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// A planted fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(in crate::schedule) enum Bug { $($(#[doc = $doc])* $name,)* }
        const BUGS: &[Bug] = &[$(Bug::$name,)*];
    };
}

bugs! {
    /// A call that came late is taken for the newest.
    StaleCall,
    /// An attempt that ended by its failure is adopted again.
    StaleAttempt,
    /// A lease that has lapsed is renewed.
    LapsedLease,
    /// A second live attempt is adopted beside the first.
    DoubleAdoption,
    /// What was given up is tried again.
    ForgottenQuarantine,
    /// A cell that was split off stays with its first attempt too.
    CellTwice,
    /// A cancelled sweep goes on.
    CancelledGoesOn,
    /// A paused sweep goes on.
    PausedGoesOn,
    /// Cancelling stops cells that have begun.
    BegunStopped,
    /// Cells that have begun are split off.
    BegunSplit,
    /// A shard goes to a worker that does not fit.
    Misfit,
    /// What was too large goes to the same memory again.
    TooLargeAgain,
    /// What failed at a worker goes to it again at once.
    SameWorker,
    /// What came out otherwise than before goes to that kind of device again.
    SameKind,
    /// A failure said again is counted again.
    FailureTwice,
    /// Every lost worker is blamed on its shard.
    InnocentBlamed,
    /// What was lost with its worker is given ahead, and others behind it.
    SuspectAhead,
    /// What waits behind others is left there while somebody has nothing to do.
    KeptAhead,
    /// A lost attempt that lives stays blamed.
    BlameKept,
    /// After a restart shards are given out at once.
    NoReconcile,
    /// Attempts of every epoch are numbered as the first one's.
    NumberAgain,
    /// A leaving worker is given shards.
    LeavingGiven,
    /// A sweep is said done while a cell runs.
    DoneEarly,
    /// Lower priority comes first.
    LowFirst,
    /// A worker is given another shard with every call.
    ShardPerCall,
    /// A coordinator goes on after a newer one has started.
    NotSuperseded,
    /// A cell that became free is not given out.
    LostWakeup,
    /// A preempted shard is blamed.
    PreemptedBlamed,
    /// What is late is doubled again and again.
    DoubledAgain,
    /// A cell that somebody else has begun is given out though it is not late.
    DoubledEarly,
    /// A model's shards do not wait for its canary.
    NoCanary,
    /// A model whose canary was given up goes on.
    FallenGoesOn,
    /// A sweep that its failures stopped goes on after a restart.
    DoomForgotten,
    /// A sweep is stopped before as many of its cells failed as may.
    DoomedEarly,
    /// Of a variant whose checkpoint was dropped a sweep that needs nothing of it is believed that it is there.
    DroppedBelieved,
}

#[test]
fn every_planted_fault_is_found() {
    let mut hidden = Vec::new();
    for bug in BUGS {
        let found = (0..WORLDS).find_map(|seed| {
            let lived = catch_unwind(AssertUnwindSafe(|| World::new(seed, Some(*bug), false).live()));
            lived.err().map(|panic| (seed, panic))
        });
        match found {
            Some((seed, panic)) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or_default();
                let line: String =
                    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(90).collect();
                println!("{:<20} found in {:>5} worlds: {line}", format!("{bug:?}"), seed + 1);
            }
            None => hidden.push(*bug),
        }
    }
    assert!(hidden.is_empty(), "not found in {WORLDS} worlds: {hidden:?}");
}
