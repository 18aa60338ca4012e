//! Which variants and cells of a sweep are in the bucket. Nothing else remembers: what is missing is computed at every start.
//!
//! * [`list`]: reads records by key, many at once. * [`index`]: what they add up to. * [`mod@present`]: keys alone, of millions too.
//! * [`segment`]: many records in two objects; [`generation`]: whether it is to be believed; `loose`: what is in none.

pub mod generation;
pub mod index;
pub mod list;
mod loose;
pub mod present;
pub mod segment;

pub use index::Committed;
pub use list::{RecordsError, committed, failures};
pub use present::{Present, present, present_without_stale};
