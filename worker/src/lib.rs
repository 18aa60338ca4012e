//! The worker: prunes and evaluates for a coordinator. The only crate of Espalier that links libtorch.
//!
//! The engine, in the order of its data's way: [`models`] (the one decoder), [`load`] (weights from disk), [`calibrate`] (what
//! linears are given), [`prune`] (the block walk), [`evaluate`] (log-likelihoods); [`device`] chooses and names what computes,
//! [`error`] types what fails. Around it a supervisor ([`session`], [`execute`], [`board`], [`commit`]) that holds no tensor, and the
//! compute child ([`compute`]) that owns them all, replaced between models and after any error.

pub mod board;
pub mod calibrate;
pub mod cli;
mod clock;
pub mod commit;
pub mod compute;
pub mod device;
pub mod error;
pub mod evaluate;
pub mod execute;
pub mod journal;
pub mod leave;
pub mod load;
pub mod models;
mod probing;
pub mod prune;
pub mod session;
mod telemetry;
mod watched;
