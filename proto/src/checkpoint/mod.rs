//! Compact checkpoints: what pruning kept, one bit a weight, beside the base model's digest. Byte work, no torch.
//!
//! * [`Mask`]: which weights of one linear are kept.
//! * [`Compact`]: the masks of a variant, written to and read from a safetensors file; the digest of the pruned weights.
//! * [`export`]: base model + compact checkpoint → a Hugging Face folder.

mod compact;
mod export;
mod mask;

pub use compact::{Compact, CompactError, FILE_NAME, dense_weights};
pub use export::{ExportError, export};
pub use mask::Mask;
