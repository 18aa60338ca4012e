//! The compute child and how to speak with it.
//!
//! * [`protocol`]: the messages. * [`child`]: the supervisor's end. * [`serve`]: the child's loop, the only place that holds
//!   tensors and the only `catch_unwind`.

mod canary;
pub mod child;
mod error;
mod faults;
pub mod protocol;
mod save;
pub mod serve;
mod watch;
pub mod workbench;

pub use error::WorkError;
