//! What linears are given: statistics of their inputs, gathered while a block runs forward.
//!
//! * [`InputStats`]: what a method reads about one linear's inputs.
//! * [`SumOfSquares`]: the [`Tap`](crate::models::Tap) that gathers them.

mod statistics;

pub use statistics::{InputStats, SumOfSquares};
