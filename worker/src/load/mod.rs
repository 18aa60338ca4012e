//! A folder → tensors by name, memory-mapped; a variant from its base and masks.
//!
//! * [`BaseModel`]: an opened checkpoint.
//! * [`Weights`]: a base with optional masks; gives a block, the embedding of tokens, or the head, on a device in a kind.

mod base;
mod mask;
mod weights;

pub use base::{BaseModel, LoadError, kind_of};
pub use mask::{pack, unpack};
pub use weights::Weights;
