//! The decoder: hidden states through blocks, and logits of chosen positions. It holds no weights.
//! Shapes: B = rows, T = positions, H = hidden, N = chosen positions, V = vocabulary.

use super::rope::Frequencies;
use super::rows::RowShape;
use super::tap::Tap;
use super::weights::{BlockWeights, HeadWeights};
use super::{block, norm};
use espalier_proto::arch::Arch;
use tch::{Device, Kind, Tensor};

/// Positions that the head is applied to at once: 1,024 rows of Phi-2's logits are 200 MiB. Never taken from a device, since
/// it changes last bits.
pub const HEAD_POSITIONS: i64 = 1024;

/// A decoder of one architecture on one device in one kind.
#[derive(Debug)]
pub struct Decoder {
    arch: Arch,
    kind: Kind,
    frequencies: Frequencies,
}

/// What all blocks share about a micro-batch, computed once.
#[derive(Debug)]
pub struct Frame {
    /// `[B or 1, 1, T, R]`.
    pub(super) cos: Tensor,
    /// `[B or 1, 1, T, R]`.
    pub(super) sin: Tensor,
    /// Bool `[B or 1, 1, T, T]`; `None` is causal.
    pub(super) mask: Option<Tensor>,
}

impl Decoder {
    /// `kind`: of weights and activations.
    pub fn new(arch: Arch, device: Device, kind: Kind) -> Self {
        let frequencies = Frequencies::new(&arch.rope, device);
        Self { arch, kind, frequencies }
    }

    /// The architecture.
    pub fn arch(&self) -> &Arch {
        &self.arch
    }

    /// The kind of weights and activations.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What the blocks must know about a micro-batch of this shape, on the shape's device.
    pub fn frame(&self, shape: &RowShape) -> Frame {
        let (cos, sin) = self.frequencies.cos_sin(&shape.positions_bt, &shape.lengths_b, self.kind);
        Frame { cos, sin, mask: shape.attention_mask(self.arch.sliding_window) }
    }

    /// One block: `[B, T, H]` → `[B, T, H]`.
    pub fn block(&self, weights: &BlockWeights, h_bth: &Tensor, frame: &Frame) -> Tensor {
        block::forward(&self.arch, weights, h_bth, frame)
    }

    /// Shows `tap` every linear's input of one block, without the work that only the block's output needs.
    pub fn see_inputs(&self, weights: &BlockWeights, h_bth: &Tensor, frame: &Frame, tap: &mut dyn Tap) {
        block::see_inputs(&self.arch, weights, h_bth, frame, tap);
    }

    /// Logits of chosen positions: `[N, H]` after the last block → `[N, V]` f32.
    pub fn logits(&self, head: &HeadWeights, h_nh: &Tensor) -> Tensor {
        let normed_nh = norm::apply(self.arch.norm, &head.norm, h_nh);
        normed_nh.linear(&head.weight_vh, head.bias_v.as_ref()).to_kind(Kind::Float)
    }

    /// Log-probabilities of chosen tokens: `[N, H]` after the last block and i64 `[N]` tokens → `[N]` f32, and whether
    /// each token is the most likely one, bool `[N]`. At least one position.
    pub fn token_log_probs(&self, head: &HeadWeights, h_nh: &Tensor, tokens_n: &Tensor) -> (Tensor, Tensor) {
        let positions = h_nh.size()[0];
        let (mut chosen, mut greedy) = (Vec::new(), Vec::new());
        for start in (0..positions).step_by(HEAD_POSITIONS as usize) {
            let count = HEAD_POSITIONS.min(positions - start);
            let tokens_n = tokens_n.narrow(0, start, count);
            let log_probs_nv = self.logits(head, &h_nh.narrow(0, start, count)).log_softmax(-1, Kind::Float);
            chosen.push(log_probs_nv.gather(1, &tokens_n.unsqueeze(1), false).squeeze_dim(1));
            greedy.push(log_probs_nv.argmax(1, false).eq_tensor(&tokens_n));
        }
        (Tensor::cat(&chosen, 0), Tensor::cat(&greedy, 0))
    }
}
