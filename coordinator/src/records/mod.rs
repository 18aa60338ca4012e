//! Which variants and cells of a sweep are in the bucket. Nothing else remembers: what is missing is computed at every start.
//!
//! * [`list`]: reads records by key, many at once. * [`index`]: what they add up to.

pub mod index;
pub mod list;

pub use index::Committed;
pub use list::{RecordsError, committed, committed_without_stale, failures};
