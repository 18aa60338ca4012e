//! Norms over the last dimension, as transformers computes them. Shapes: H = hidden, or a head's width.

use super::weights::NormWeights;
use espalier_proto::arch::Norm;
use tch::{Kind, Tensor};

/// `[…, H]` → `[…, H]` in the kind of `x_h`.
pub(super) fn apply(norm: Norm, weights: &NormWeights, x_h: &Tensor) -> Tensor {
    match norm {
        Norm::Layer { eps } => layer(eps, weights, x_h),
        Norm::Rms { eps } => {
            // The mean square and the division are in f32; the weight multiplies in the forward's kind.
            let wide = x_h.to_kind(Kind::Float);
            let mean_square = wide.square().mean_dim(&[-1i64][..], true, Kind::Float);
            let scaled = wide * (mean_square + eps).rsqrt();
            &weights.weight_h * scaled.to_kind(x_h.kind())
        }
    }
}

/// Layer norm, also for the heads of q and k.
pub(super) fn layer(eps: f64, weights: &NormWeights, x_h: &Tensor) -> Tensor {
    let width = weights.weight_h.size();
    x_h.layer_norm(width, Some(&weights.weight_h), weights.bias_h.as_ref(), eps, false)
}
