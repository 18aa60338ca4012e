//! Records → one table, with what is missing and what failed named, and the uncertainty of every number.
//!
//! * [`collect`]: what the bucket holds of a sweep. The only part that reads.
//! * [`statistics`]: counts and window means → estimates with intervals.
//! * [`table`]: both together: one row a metric, in the order of the spec.

pub mod collect;
pub mod statistics;
pub mod table;
