//! Sees what the linears of a block are given: tch has no hooks.

use tch::Tensor;

/// Something that wants to see every linear's input.
pub trait Tap {
    /// Called before linears are applied to `x_bti` (`[B, T, I]`, the forward's kind and device). All names share this one
    /// input, so that what follows from it alone is computed once: q, k and v do, gate and up do.
    fn input(&mut self, linears: &[&str], x_bti: &Tensor);
}
