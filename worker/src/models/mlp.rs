//! The MLP of a block. Shapes: B = rows, T = positions, H = hidden, M = inside the MLP.

use super::tap::Tap;
use super::weights::BlockWeights;
use espalier_proto::arch::{Activation, LinearRole, Mlp, MlpKind};
use tch::Tensor;

/// `[B, T, H]` → `[B, T, H]`.
pub(super) fn forward(
    mlp: Mlp,
    weights: &BlockWeights,
    x_bth: &Tensor,
    tap: &mut Option<&mut dyn Tap>,
) -> Tensor {
    weights.linear(LinearRole::Down).apply(&inner(mlp, weights, x_bth, tap))
}

/// What the last linear is given, after the tap has seen it: `[B, T, H]` → `[B, T, M]`.
pub(super) fn inner(
    mlp: Mlp,
    weights: &BlockWeights,
    x_bth: &Tensor,
    tap: &mut Option<&mut dyn Tap>,
) -> Tensor {
    let see = |tap: &mut Option<&mut dyn Tap>, roles: &[LinearRole], x: &Tensor| {
        if let Some(tap) = tap {
            let names: Vec<&str> = roles.iter().map(|r| weights.linear(*r).linear.name.as_str()).collect();
            tap.input(&names, x);
        }
    };
    let inner_btm = match mlp.kind {
        MlpKind::Plain => {
            see(tap, &[LinearRole::Up], x_bth);
            activate(mlp.activation, weights.linear(LinearRole::Up).apply(x_bth))
        }
        MlpKind::Gated => {
            see(tap, &[LinearRole::Gate, LinearRole::Up], x_bth);
            let gate_btm = activate(mlp.activation, weights.linear(LinearRole::Gate).apply(x_bth));
            gate_btm * weights.linear(LinearRole::Up).apply(x_bth)
        }
        MlpKind::GatedFused => {
            see(tap, &[LinearRole::GateUp], x_bth);
            let both = weights.linear(LinearRole::GateUp).apply(x_bth);
            let halves = both.chunk(2, -1);
            &halves[1] * activate(mlp.activation, halves[0].shallow_clone())
        }
    };
    see(tap, &[LinearRole::Down], &inner_btm);
    inner_btm
}

fn activate(activation: Activation, x: Tensor) -> Tensor {
    match activation {
        Activation::Silu => x.silu(),
        Activation::Gelu => x.gelu("none"),
        Activation::GeluTanh => x.gelu("tanh"),
        Activation::Relu => x.relu(),
    }
}
