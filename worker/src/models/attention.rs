//! Attention of a block. Shapes: B = rows, T = positions, H = hidden, N = query heads, G = key heads, D = a head's width.

use super::decoder::Frame;
use super::tap::Tap;
use super::weights::BlockWeights;
use super::{norm, rope};
use espalier_proto::arch::{Arch, LinearRole};
use tch::Tensor;

/// What the output projection is given, after the tap has seen it: `[B, T, H]` → `[B, T, N·D]`.
pub(super) fn joined(
    arch: &Arch,
    weights: &BlockWeights,
    x_bth: &Tensor,
    frame: &Frame,
    tap: &mut Option<&mut dyn Tap>,
) -> Tensor {
    let [q, k, v] = project(arch, weights, x_bth, tap);
    let (mut q_bntd, mut k_bgtd) = (heads(arch, &q), heads(arch, &k));
    if let (Some(eps), Some((q_norm, k_norm))) = (arch.attention.qk_norm, &weights.qk_norms) {
        q_bntd = norm::layer(eps, q_norm, &q_bntd);
        k_bgtd = norm::layer(eps, k_norm, &k_bgtd);
    }
    let q_bntd = rope::rotate(&q_bntd, &frame.cos, &frame.sin);
    let k_bgtd = rope::rotate(&k_bgtd, &frame.cos, &frame.sin);
    let k_bntd = spread(arch, k_bgtd);
    let v_bntd = spread(arch, heads(arch, &v));
    let causal = frame.mask.is_none();
    let mixed_bntd = Tensor::scaled_dot_product_attention(
        &q_bntd,
        &k_bntd,
        &v_bntd,
        frame.mask.as_ref(),
        0.0,
        causal,
        None::<f64>,
        false,
    );
    let (rows, width) = (x_bth.size()[0], x_bth.size()[1]);
    let joined = mixed_bntd.transpose(1, 2).reshape([rows, width, (arch.heads * arch.head_dim) as i64]);
    if let Some(tap) = tap {
        tap.input(&[&weights.linear(LinearRole::Out).linear.name], &joined);
    }
    joined
}

/// Queries `[B, T, N·D]`, keys and values `[B, T, G·D]`.
fn project(
    arch: &Arch,
    weights: &BlockWeights,
    x_bth: &Tensor,
    tap: &mut Option<&mut dyn Tap>,
) -> [Tensor; 3] {
    let roles: &[LinearRole] = match arch.attention.fused_qkv {
        true => &[LinearRole::Qkv],
        false => &[LinearRole::Q, LinearRole::K, LinearRole::V],
    };
    if let Some(tap) = tap {
        let names: Vec<&str> = roles.iter().map(|r| weights.linear(*r).linear.name.as_str()).collect();
        tap.input(&names, x_bth);
    }
    if let [q, k, v] = roles {
        return [q, k, v].map(|role| weights.linear(*role).apply(x_bth));
    }
    let all = weights.linear(LinearRole::Qkv).apply(x_bth);
    let (q, g) = ((arch.heads * arch.head_dim) as i64, (arch.kv_heads * arch.head_dim) as i64);
    [all.narrow(-1, 0, q), all.narrow(-1, q, g), all.narrow(-1, q + g, g)]
}

/// `[B, T, n·D]` → `[B, n, T, D]`.
fn heads(arch: &Arch, x: &Tensor) -> Tensor {
    let size = x.size();
    x.reshape([size[0], size[1], -1, arch.head_dim as i64]).transpose(1, 2)
}

/// Gives every query head its key head: `[B, G, T, D]` → `[B, N, T, D]`. Done here and not by the attention kernel, some of
/// which refuse grouped heads together with a mask and then fall back to the slow one.
fn spread(arch: &Arch, x_bgtd: Tensor) -> Tensor {
    let groups = (arch.heads / arch.kv_heads) as i64;
    if groups == 1 {
        return x_bgtd;
    }
    let s = x_bgtd.size();
    let wide = x_bgtd.unsqueeze(2).expand([s[0], s[1], groups, s[2], s[3]], false);
    wide.reshape([s[0], s[1] * groups, s[2], s[3]])
}
