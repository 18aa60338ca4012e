//! Decides when a worker leaves although nobody has drained it: on a signal, when its time is over, when there has been nothing to
//! do for long enough, or when the coordinator has been away for too long.
//!
//! In: the limits, the board, since when the coordinator is silent. Out: one [`Ended`]. Leaving itself is the session's: the cell
//! that has begun is finished and the rest goes back.

use crate::board::Shared;
use crate::clock;
use crate::watched::Watch;
use std::time::Duration;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(250);

/// When to leave unasked.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// After so long without work from a coordinator that answers, and holds none back.
    pub idle_exit: Option<Duration>,
    /// After so long, whatever there is to do.
    pub time_limit: Option<Duration>,
    /// With nothing left to do, so long after the first call of many that nobody answered.
    pub orphan_timeout: Duration,
    /// Without a bucket that was ever reached, so long after the first answer. This one ends badly.
    pub bucket_timeout: Duration,
}

/// Why a worker ended in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The coordinator wants none any more.
    Drained,
    /// Nothing to do for `--idle-exit`.
    Idle,
    /// A signal: work may be left.
    Signalled,
    /// `--time-limit`: work may be left.
    TimeOver,
    /// Nobody has answered for `--orphan-timeout`.
    Orphaned,
}

/// Completes when the worker should leave. `signal` completes on the first SIGTERM or SIGINT.
pub(crate) async fn reason(
    limits: Limits,
    shared: &Shared,
    watch: &Watch,
    signal: impl Future<Output = ()>,
) -> Ended {
    let began = clock::now();
    let mut idle_since = began;
    let look = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let silent = watch.silent_for();
            let busy = shared.with(|board| !board.idle());
            // Without its bucket it could be given nothing; and what waits for a canary is still to be done.
            if busy || silent.is_some() || !watch.has_bucket() || watch.is_held_back() {
                idle_since = clock::now();
            }
            let over = |limit: Option<Duration>, since: std::time::Instant| {
                limit.is_some_and(|limit| since.elapsed() >= limit)
            };
            if over(limits.time_limit, began) {
                return Ended::TimeOver;
            }
            if over(limits.idle_exit, idle_since) {
                return Ended::Idle;
            }
            if !busy && silent.is_some_and(|silent| silent >= limits.orphan_timeout) {
                return Ended::Orphaned;
            }
        }
    };
    tokio::select! {
        () = signal => Ended::Signalled,
        ended = look => ended,
    }
}
