//! The coordinator's life: events in → [`crate::schedule`] → commands out.
//!
//! * [`driver`]: owns the one schedule. * [`worker_api`]: gRPC ↔ events; [`convert`]: messages ↔ the schedule's words.
//! * [`epoch`], [`log`]: who works on what, in the bucket. * [`grid`]: a resolved sweep → what the schedule is told.
//! * [`local`]: a whole sweep in this process, with a `fleet` of [`workers`] as children. * [`status`]: read-only view.

pub mod convert;
pub mod driver;
pub mod epoch;
mod fleet;
pub mod grid;
pub mod local;
pub mod log;
pub mod machine;
pub mod outcome;
pub mod process;
pub mod progress;
pub mod status;
pub mod worker_api;
pub mod workers;

pub use local::{LocalError, LocalRun, Outcome};
pub use machine::Devices;
pub use progress::Progress;
pub use status::Status;
