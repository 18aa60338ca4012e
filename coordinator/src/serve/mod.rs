//! The coordinator's life: events in → [`crate::schedule`] → commands out.
//!
//! * [`driver`]: owns the one schedule, and has `errands` under way at the bucket; `handle` speaks to it. * [`worker_api`]: gRPC ↔ events, on a thread (`calls`) and over `wire`s; [`convert`]: messages ↔ the schedule's words.
//! * [`epoch`], [`log`], [`fold`]: who works on what, in the bucket; `order`: whose turn it is to write it. * [`grid`]: a resolved sweep → what the schedule is told.
//! * [`daemon`]: a coordinator that serves workers and users; [`sweep_api`]: gRPC of users; `control`: what they tell it of a sweep; [`sweeps`]: what it has, by `names`; `take_up`: from the bucket to the schedule, by `restore` after a start; `recall`: why things were given up before; `notice`: what others did to it in the bucket; [`ending`]: reports, exports;
//!   [`submit`], [`uploads`]: how sweeps come in; `shard_logs`: what workers logged; [`refuse`]: why a call is refused.
//! * [`local`]: a whole sweep in this process, with a `fleet` of [`workers`] as children. * [`status`]: read-only view,
//!   made at a `pace`. * [`metrics`], `watched`: what scrapers and probes are told.

mod calls;
pub mod canary;
mod control;
pub mod convert;
pub mod daemon;
pub mod driver;
pub mod ending;
pub mod epoch;
mod errands;
mod explain;
mod fleet;
pub mod fold;
pub mod grid;
pub mod guard;
mod handle;
pub mod local;
pub mod log;
pub mod machine;
pub mod metrics;
mod names;
mod notice;
mod order;
pub mod outcome;
mod pace;
pub mod process;
pub mod progress;
mod recall;
pub mod refuse;
mod restore;
pub mod shard_logs;
pub mod status;
mod steer;
pub mod submit;
pub mod sweep_api;
pub mod sweep_logs;
pub mod sweeps;
mod take_up;
pub mod uploads;
mod watched;
pub mod worker_api;
pub mod workers;

pub use local::{LocalError, LocalRun, Outcome};
pub use machine::Devices;
pub use progress::Progress;
pub use status::Status;
