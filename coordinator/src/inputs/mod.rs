//! Sweep → resolved inputs: sources pinned, datasets read, prompts rendered, texts tokenised, micro-batches composed.

pub mod error;
mod mt19937;
pub mod read;

pub use error::InputsError;
