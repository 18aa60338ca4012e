//! The user's command line and the coordinator of Espalier. Never links torch.
//!
//! Data goes one way: spec → hub → objects → inputs → records → plan → schedule → serve → store → merge → report → cli. A module imports
//! only modules to its left.

pub mod caught;
pub mod cli;
pub mod clock;
pub mod columnar;
pub mod exit;
pub mod hub;
pub mod inputs;
pub mod merge;
pub mod objects;
pub mod plan;
pub mod records;
pub mod report;
pub mod room;
pub mod schedule;
pub mod serve;
pub mod spec;
pub mod store;
pub mod telemetry;
