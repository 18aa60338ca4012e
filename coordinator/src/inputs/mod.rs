//! Sweep → resolved inputs: sources pinned, datasets read, prompts rendered, texts tokenised, micro-batches composed.
//!
//! In: a parsed sweep file and a bucket. Out: `inputs/<digest>/inputs.json` for everything that the grid reads, and what the
//! grid is made of. Never trains, never runs a model, never fetches anything from a network.

pub mod catalog;
pub mod error;
mod mt19937;
pub mod pairs;
pub mod read;
pub mod render;
pub mod task;
pub mod tokenize;
pub mod windows;

pub use error::InputsError;
