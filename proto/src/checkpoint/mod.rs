//! Compact checkpoints: what pruning kept, one bit a weight, beside the base model's digest. Byte work, no torch.
//!
//! * [`Mask`]: which weights of one linear are kept.
//! * [`Compact`]: the masks of a variant, written to and read from a safetensors file; the digest of the pruned weights.
//! * [`Partial`]: the masks of some finished blocks, for whoever goes on with a pruning that was broken off.
//! * [`export`]: base model + compact checkpoint → a Hugging Face folder.

mod compact;
mod export;
mod mask;
mod partial;

pub use compact::{Compact, CompactError, FILE_NAME, dense_weights};
pub use export::{ExportError, export};
pub use mask::Mask;
pub use partial::{Partial, PartialError};
