//! Decides which worker does which shard. Pure: no I/O, no clock, no randomness.
//!
//! In: an [`Event`] and the time at which it happened. Out: the [`Command`]s that the caller must carry out. The same events
//! in the same order always give the same commands. Nothing here is remembered anywhere: after a restart it is built again
//! from the bucket and from what workers say they hold.
//!
//! * [`step`]: one `match`, one handler an event. * [`event`], [`command`]: the words. * [`state`]: what is known.
//! * [`submit`]: a sweep is taken up. * [`grid`]: which cells are wanted and open. * [`adopt`]: running work that is not known. * [`blame`]: what a failure means.
//! * [`canary`]: what has to be shown before a model is fanned out. * [`control`]: cancel, pause, resume, retry, forget.
//! * [`explain`]: why a cell is not running.
//! * [`index`]: what is looked up instead of searched; [`refresh`] keeps it true. * [`census`]: how many of what.
//! * [`fit`]: who can run what. * [`place`]: who gets what; [`ahead`]: what is held before it can be begun; [`rest`]: what of it is not begun. * [`lease`]: how attempts begin and end. * [`pace`]: how fast cells are done; [`double`]: what is late is
//!   begun twice. * [`table`]: how it is kept. * [`invariants`]: what is always true.
//!
//! Imports go one way: words ([`event`], [`command`]) → [`fit`], [`pace`], [`table`] → [`index`] → [`state`] → all others.

/// Whether a fault is planted, for showing that the simulation finds it; never outside tests.
macro_rules! planted {
    ($schedule:expr, $bug:ident) => {{
        #[cfg(test)]
        let planted = $schedule.bug == Some(super::simulation::Bug::$bug);
        #[cfg(not(test))]
        let planted = false;
        planted
    }};
}

mod adopt;
mod ahead;
mod blame;
mod canary;
mod census;
pub mod command;
mod control;
mod double;
pub mod event;
mod explain;
mod fit;
mod grid;
mod index;
mod invariants;
mod lease;
mod pace;
mod place;
mod refresh;
mod rest;
#[cfg(test)]
mod simulation;
mod state;
mod step;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod story;
mod submit;
mod table;
mod view;

pub use census::{Census, SWEEPS, SweepCensus};
pub use command::{Command, Order};
pub use event::{
    Believed, CellPlan, Event, Fault, FaultKind, Millis, Needs, Phase, Records, Report, Submission, Sync,
    VariantPlan, WorkerFacts, WorkerId,
};
pub use explain::{Explanation, Wait};
pub use fit::Misfit;
pub use state::{Schedule, Timing};
pub use view::{AttemptView, GivenUp, SweepView, View, WorkerView};
