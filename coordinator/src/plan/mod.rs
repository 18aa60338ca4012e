//! The grid before anything runs: what there is to do, what the bucket has already, and what the rest will cost.
//!
//! * [`cells`]: variants → shards with their missing cells. * [`load`]: resolved inputs → how much they ask of a decoder.
//! * [`cost`]: FLOPs, memory, bytes. * [`speed`]: FLOPs → time, from what was measured. * [`order`]: what runs first.

pub mod cells;
pub mod cost;
pub mod load;
pub mod order;
pub mod speed;
pub mod summary;
