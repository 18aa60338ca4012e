//! One shard: load → calibrate → prune → (commit the variant) → evaluate each cell → commit. Runs in the supervisor, which
//! holds no tensor: a compute child does the work, and is replaced between models and after any error.
//!
//! While a variant is pruned the masks of its finished blocks go to the bucket every now and then; a later attempt goes on from there.
//!
//! A cell is measured on the weights that its variant's record names: if that record is there already, or another attempt
//! wins the race for it with other weights, its compact checkpoint is rebuilt and measured instead of our own.

mod cache;
mod canary;
mod error;
mod executor;
mod model;
mod partials;
mod score;
mod scratch;
mod shard;
mod variant;

pub use cache::ModelCache;
pub use error::ShardError;
pub use executor::{Executor, Options};
