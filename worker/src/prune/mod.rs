//! Pruning: the block walk, methods, and the choice of weights from scores.
//!
//! * [`prune`]: the walk, once for all methods.
//! * [`Method`] and [`methods`]: one file a method, and the registry.
//! * [`select`]: score → kept weights, on CPU in Rust, on CUDA on the device.

mod method;
pub mod methods;
mod result;
pub mod select;
mod walk;

pub use method::{Layer, Method, Pruned};
pub use result::{PruneResult, count_zeros};
pub use walk::{Control, Plan, Progress, Restored, prune};
