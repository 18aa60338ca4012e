//! One block: norms, attention, MLP and the residual stream. Shapes: B = rows, T = positions, H = hidden.

use super::decoder::Frame;
use super::tap::Tap;
use super::weights::{BlockWeights, NormWeights};
use super::{attention, mlp, norm};
use espalier_proto::arch::{Arch, BlockLayout, LinearRole};
use tch::Tensor;

/// `[B, T, H]` → `[B, T, H]`.
pub(super) fn forward(arch: &Arch, weights: &BlockWeights, h_bth: &Tensor, frame: &Frame) -> Tensor {
    let mut tap = None;
    let normed_bth = norm::apply(arch.norm, &weights.norm1, h_bth);
    let out = weights.linear(LinearRole::Out);
    let attended_bth = out.apply(&attention::joined(arch, weights, &normed_bth, frame, &mut tap));
    match arch.layout {
        BlockLayout::Parallel => {
            attended_bth + mlp::forward(arch.mlp, weights, &normed_bth, &mut tap) + h_bth
        }
        BlockLayout::Sequential => {
            let middle_bth = h_bth + attended_bth;
            let normed_bth = norm::apply(arch.norm, second_norm(weights), &middle_bth);
            &middle_bth + mlp::forward(arch.mlp, weights, &normed_bth, &mut tap)
        }
    }
}

/// Shows the tap what [`forward`] shows it, without the products that only the block's output needs: a third of a gated MLP,
/// half of a plain one.
pub(super) fn see_inputs(
    arch: &Arch,
    weights: &BlockWeights,
    h_bth: &Tensor,
    frame: &Frame,
    tap: &mut dyn Tap,
) {
    let mut tap = Some(tap);
    let normed_bth = norm::apply(arch.norm, &weights.norm1, h_bth);
    let joined = attention::joined(arch, weights, &normed_bth, frame, &mut tap);
    let given_bth = match arch.layout {
        BlockLayout::Parallel => normed_bth,
        BlockLayout::Sequential => {
            let middle_bth = h_bth + weights.linear(LinearRole::Out).apply(&joined);
            norm::apply(arch.norm, second_norm(weights), &middle_bth)
        }
    };
    drop(mlp::inner(arch.mlp, weights, &given_bth, &mut tap));
}

fn second_norm(weights: &BlockWeights) -> &NormWeights {
    weights.norm2.as_ref().expect("a sequential family names its second norm")
}
