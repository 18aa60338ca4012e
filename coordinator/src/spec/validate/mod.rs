//! Tree → [`SweepFile`]: one file a part of the sweep file. Every complaint is kept; nothing outside the file is looked at, but whether a bare
//! `a/b` is a path that is there.

pub mod calibrations;
pub mod models;
pub mod recipes;
pub mod sparsity;
pub mod sweep;
pub mod tasks;

pub use calibrations::{
    DEFAULT as DEFAULT_CALIBRATION, MOST_TOKENS, MOST_WINDOWS, most_windows, windows_expected,
};
pub use models::short as short_model;
pub use sweep::{THREADS, sweep};
pub use tasks::{FEWSHOT_SEED, STYLES, canonical as canonical_task};
