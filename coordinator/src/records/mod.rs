//! Which variants and cells of a sweep are in the bucket. Nothing else remembers: what is missing is computed at every start.
//!
//! * `read`: reads single records. * [`list`]: those of a sweep or of some keys. * [`index`]: what they add up to. * [`mod@present`]: keys alone, of millions too.
//! * [`scores`]: what a cell's record says, from its per-item scores.
//! * [`segment`]: many records in two objects; [`generation`]: whether it is to be believed; `loose`: what is in none.

pub mod generation;
pub mod index;
pub mod list;
mod loose;
pub mod present;
mod read;
pub mod scores;
pub mod segment;

pub use index::Committed;
pub use list::{committed, failures};
pub use present::{Kept, Present, kept, present, present_without_stale};
pub use read::RecordsError;
