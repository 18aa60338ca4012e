//! One block: norms, attention, MLP and the residual stream. Shapes: B = rows, T = positions, H = hidden.

use super::decoder::Frame;
use super::tap::Tap;
use super::weights::BlockWeights;
use super::{attention, mlp, norm};
use espalier_proto::arch::{Arch, BlockLayout};
use tch::Tensor;

/// `[B, T, H]` → `[B, T, H]`.
pub(super) fn forward(
    arch: &Arch,
    weights: &BlockWeights,
    h_bth: &Tensor,
    frame: &Frame,
    mut tap: Option<&mut dyn Tap>,
) -> Tensor {
    let normed_bth = norm::apply(arch.norm, &weights.norm1, h_bth);
    let attended_bth = attention::forward(arch, weights, &normed_bth, frame, &mut tap);
    match (arch.layout, &weights.norm2) {
        (BlockLayout::Parallel, _) => {
            attended_bth + mlp::forward(arch.mlp, weights, &normed_bth, &mut tap) + h_bth
        }
        (BlockLayout::Sequential, norm2) => {
            let norm2 = norm2.as_ref().expect("a sequential family names its second norm");
            let middle_bth = h_bth + attended_bth;
            let normed_bth = norm::apply(arch.norm, norm2, &middle_bth);
            &middle_bth + mlp::forward(arch.mlp, weights, &normed_bth, &mut tap)
        }
    }
}
