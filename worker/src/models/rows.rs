//! Positions of a micro-batch's rows and who sees whom. Shapes: B = rows, T = positions fed, Q = seeing, K = seen.

use tch::{Device, Kind, Tensor};

/// Who sees whom.
#[derive(Debug)]
pub enum Mask {
    /// Every position sees itself and those before it. Padding on the right is seen by nobody but padding.
    Causal,
    /// Bool `[B, 1, Q, K]`, true = sees; the sliding window, if any, is applied on top. Everybody sees somebody, padding
    /// too: a softmax over nothing is NaN, and NaN times zero would reach the others.
    Explicit(Tensor),
}

/// What the decoder must know about a micro-batch besides its tokens.
#[derive(Debug)]
pub struct RowShape {
    /// i64 `[B, T]`, or `[1, T]` where all rows are alike.
    pub positions_bt: Tensor,
    /// Who sees whom.
    pub mask: Mask,
    /// Highest position of each row + 1, padding not counted: decides longrope's switch, row by row.
    pub lengths_b: Vec<usize>,
}

impl RowShape {
    /// Rows of these lengths from position 0, padded on the right to the longest.
    pub fn causal(lengths_b: Vec<usize>, device: Device) -> Self {
        let width = lengths_b.iter().copied().max().unwrap_or(0) as i64;
        let positions_bt = Tensor::arange(width, (Kind::Int64, device)).unsqueeze(0);
        Self { positions_bt, mask: Mask::Causal, lengths_b }
    }

    /// The mask that attention gets, `None` for plain causal. `window`: a position sees itself and the `window - 1`
    /// positions before it, counted in restarted positions.
    pub(super) fn attention_mask(&self, window: Option<usize>) -> Option<Tensor> {
        let width = self.positions_bt.size()[1];
        let window = window.filter(|&w| self.lengths_b.iter().any(|&length| length > w));
        let near = window.map(|w| {
            let distance_bqk = self.positions_bt.unsqueeze(2) - self.positions_bt.unsqueeze(1);
            distance_bqk.lt(w as i64).unsqueeze(1)
        });
        match (&self.mask, near) {
            (Mask::Causal, None) => None,
            (Mask::Causal, Some(near)) => {
                let before = Tensor::ones([width, width], (Kind::Bool, near.device())).tril(0);
                Some(near.logical_and(&before))
            }
            (Mask::Explicit(sees), None) => Some(sees.shallow_clone()),
            (Mask::Explicit(sees), Some(near)) => Some(sees.logical_and(&near)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mask as a drawing: a row a line, `x` = sees.
    fn drawing(mask: &Tensor, row: i64) -> Vec<String> {
        let one = mask.get(row).get(0);
        let width = one.size()[0];
        let line = |q| (0..width).map(|k| if one.int64_value(&[q, k]) == 1 { 'x' } else { '.' }).collect();
        (0..width).map(line).collect()
    }

    #[test]
    fn the_window_counts_restarted_positions() {
        // Context of 2, options of 2 and 1 that do not see each other.
        let sees = [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]];
        let sees: Vec<bool> = sees.iter().flatten().map(|&s| s == 1).collect();
        let shape = RowShape {
            positions_bt: Tensor::from_slice(&[0i64, 1, 2, 3, 2]).unsqueeze(0),
            mask: Mask::Explicit(Tensor::from_slice(&sees).view([1, 1, 5, 5])),
            lengths_b: vec![4],
        };
        assert_eq!(drawing(&shape.attention_mask(None).unwrap(), 0)[4], "xx..x");
        let near = shape.attention_mask(Some(2)).unwrap();
        assert_eq!(drawing(&near, 0), ["x....", "xx...", ".xx..", "..xx.", ".x..x"], "by hand");
    }

    #[test]
    fn a_window_as_long_as_the_rows_changes_nothing() {
        let shape = RowShape::causal(vec![3, 4], Device::Cpu);
        assert!(shape.attention_mask(Some(4)).is_none());
        let near = shape.attention_mask(Some(3)).unwrap();
        assert_eq!(drawing(&near, 0), ["x...", "xx..", "xxx.", ".xxx"]);
    }
}
