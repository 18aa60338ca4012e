//! Durations that worker and coordinator must agree on; the others follow from these.

use std::time::Duration;

/// A busy worker calls at least this often.
pub const BUSY: Duration = Duration::from_secs(2);
/// Longest pause of a worker between calls that fail.
pub const BACK_OFF: Duration = Duration::from_secs(5);
/// An idle worker's call is held open this long.
pub const HOLD: Duration = Duration::from_secs(25);
/// Silence after which a worker's shards may be given to others.
pub const LEASE: Duration = Duration::from_secs(60);
/// After a restart nothing new is given out for this long: every worker that lives has called once by then, its longest pause
/// and its longest busy interval over, and a second for the call itself.
pub const RECONCILE: Duration = Duration::from_secs(BUSY.as_secs() + BACK_OFF.as_secs() + 1);
