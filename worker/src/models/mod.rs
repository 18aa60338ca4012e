//! The one decoder, built from an [`Arch`](espalier_proto::arch::Arch): every choice is data, never a test on a model's name.
//!
//! * [`Decoder`]: blocks and logits. It holds no weights: they come block by block.
//! * [`RowShape`]: positions and who sees whom, of a micro-batch.
//! * [`Tap`]: sees what each linear is given.

mod attention;
mod block;
mod decoder;
mod mlp;
mod norm;
mod rope;
mod rows;
mod tap;
mod weights;

pub use decoder::{Decoder, Frame, HEAD_POSITIONS};
pub use rows::{Mask, RowShape};
pub use tap::Tap;
pub use weights::{BlockWeights, HeadWeights, LinearWeights, NormWeights};
