//! Weights on a device, by what they do. Shapes: H = hidden, O = output features, I = input features, V = vocabulary.

use espalier_proto::arch::{Linear, LinearRole};
use tch::Tensor;

/// A norm's weights.
#[derive(Debug)]
pub struct NormWeights {
    /// `[H]`.
    pub weight_h: Tensor,
    /// `[H]`, layer norms only.
    pub bias_h: Option<Tensor>,
}

/// A linear's weights.
#[derive(Debug)]
pub struct LinearWeights {
    /// Which linear.
    pub linear: Linear,
    /// `[O, I]`.
    pub weight_oi: Tensor,
    /// `[O]`.
    pub bias_o: Option<Tensor>,
}

impl LinearWeights {
    /// `[…, I]` → `[…, O]`.
    pub fn apply(&self, x_i: &Tensor) -> Tensor {
        x_i.linear(&self.weight_oi, self.bias_o.as_ref())
    }
}

/// One block's weights.
#[derive(Debug)]
pub struct BlockWeights {
    /// Which block.
    pub index: usize,
    /// The norm before attention.
    pub norm1: NormWeights,
    /// The norm before the MLP; `None` in parallel blocks.
    pub norm2: Option<NormWeights>,
    /// Norms over each head of q and of k.
    pub qk_norms: Option<(NormWeights, NormWeights)>,
    /// The linears, in the family's order.
    pub linears: Vec<LinearWeights>,
}

impl BlockWeights {
    /// The linear of this role.
    ///
    /// # Panics
    /// If the family has none: a bug in its name map.
    pub fn linear(&self, role: LinearRole) -> &LinearWeights {
        self.linears
            .iter()
            .find(|l| l.linear.role == role)
            .expect("a family names the linears that its block layout uses")
    }
}

/// What turns the last hidden states into logits.
#[derive(Debug)]
pub struct HeadWeights {
    /// The last norm.
    pub norm: NormWeights,
    /// `[V, H]`; the embedding's where they are tied.
    pub weight_vh: Tensor,
    /// `[V]`.
    pub bias_v: Option<Tensor>,
}
