//! Sweep → resolved inputs: sources pinned, datasets read, prompts rendered, texts tokenised, micro-batches composed.
//!
//! In: a parsed sweep file and a bucket. Out: `inputs/<digest>/inputs.json` for everything that the grid reads, and the
//! resolved sweep. Never runs a model; what is not on this machine is fetched before, by [`obtain`] alone.

pub mod before;
pub mod calibration;
pub mod catalog;
pub mod choices;
pub mod error;
#[cfg(test)]
mod goldens;
pub mod grid;
#[cfg(test)]
mod hub_tests;
pub mod items;
pub mod lack;
pub mod model;
mod mt19937;
pub mod needed;
pub mod obtain;
pub mod pairs;
pub mod read;
pub mod render;
pub mod resolve;
#[cfg(test)]
mod resolve_tests;
pub mod revisions;
pub mod sources;
pub mod stored;
pub mod task;
pub mod task_file;
mod task_style;
pub mod tokenize;
pub mod wanted;
pub mod windows;

pub use before::Before;
pub use error::InputsError;
pub use resolve::{Prepared, ResolveOptions, prepare, resolve};
