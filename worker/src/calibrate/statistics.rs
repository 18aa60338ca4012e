//! Sums of squares of every linear's input columns. Shapes: B = windows, T = positions, I = input features.
//!
//! Sums within a micro-batch are in f32 as in the published code, across micro-batches in f64, so that many of them lose
//! nothing. Linears that share an input share one sum.

use crate::models::Tap;
use std::collections::BTreeMap;
use tch::{Kind, Tensor};

/// What is known about one linear's inputs.
#[derive(Debug)]
pub struct InputStats {
    /// Sum over all calibration tokens of x², `[I]` f32, on the linear's device.
    pub sum_sq_i: Tensor,
    /// Windows that it was taken over.
    pub windows: u64,
}

impl InputStats {
    /// Mean over windows of the sum over their tokens of x², `[I]` f32: the published code's `scaler_row`.
    pub fn mean_sum_sq_i(&self) -> Tensor {
        match self.windows {
            1 => self.sum_sq_i.shallow_clone(),
            windows => &self.sum_sq_i / windows as f64,
        }
    }
}

/// Gathers sums of squares under a block.
#[derive(Debug, Default)]
pub struct SumOfSquares {
    /// f64 `[I]` and windows, by the first linear of those that share an input.
    sums: BTreeMap<String, (Tensor, u64)>,
    /// The first linear by each linear.
    shared: BTreeMap<String, String>,
}

impl Tap for SumOfSquares {
    fn input(&mut self, linears: &[&str], x_bti: &Tensor) {
        let sum_i = x_bti.to_kind(Kind::Float).square().sum_dim_intlist(&[0i64, 1][..], false, Kind::Float);
        let (sum_i, windows) = (sum_i.to_kind(Kind::Double), x_bti.size()[0] as u64);
        let first = linears[0].to_owned();
        for linear in linears {
            self.shared.insert((*linear).to_owned(), first.clone());
        }
        match self.sums.get_mut(&first) {
            Some((sum, count)) => {
                let _ = sum.g_add_(&sum_i);
                *count += windows;
            }
            None => drop(self.sums.insert(first, (sum_i, windows))),
        }
    }
}

impl SumOfSquares {
    /// The statistics of one linear; `None` if it saw no input.
    pub fn of(&self, linear: &str) -> Option<InputStats> {
        let (sum_i, windows) = self.sums.get(self.shared.get(linear)?)?;
        Some(InputStats { sum_sq_i: sum_i.to_kind(Kind::Float), windows: *windows })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_run_over_all_tokens_and_are_shared() {
        let mut tap = SumOfSquares::default();
        let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0]).view([1, 2, 2]);
        tap.input(&["q", "k"], &x);
        tap.input(&["q", "k"], &Tensor::ones([2, 1, 2], (Kind::Float, tch::Device::Cpu)));
        let stats = tap.of("k").unwrap();
        // By hand: 1 + 9 + 1 + 1 and 4 + 16 + 1 + 1.
        assert_eq!(Vec::<f32>::try_from(&stats.sum_sq_i).unwrap(), [12.0, 22.0]);
        assert_eq!(stats.windows, 3);
        assert_eq!(Vec::<f32>::try_from(&stats.mean_sum_sq_i()).unwrap(), [4.0, 22.0 / 3.0]);
        assert!(tap.of("v").is_none());
    }
}
