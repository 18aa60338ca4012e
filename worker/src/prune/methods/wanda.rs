//! Wanda: the smallest |W| · ‖X‖₂ of each output row go (Sun et al. 2023, arXiv:2306.11695, eq. 1), with the counts and the
//! order of the published code. Shapes: O = output features, I = input features.

use crate::calibrate::InputStats;
use crate::error::EngineError;
use crate::prune::select;
use crate::prune::{Layer, Method, Pruned};
use espalier_proto::recipe::Pattern;
use tch::{Kind, Tensor};

/// The method.
#[derive(Debug)]
pub(super) struct Wanda;

impl Method for Wanda {
    fn name(&self) -> &'static str {
        "wanda"
    }

    fn prune(&self, layer: &Layer<'_>) -> Result<Pruned, EngineError> {
        let score_oi = score(layer.weight_oi, layer.stats()?);
        let kept_oi = match layer.pattern {
            Pattern::NOfM { prune, of } => {
                select::groups(&score_oi, prune, of).map_err(|why| layer.cannot(why))?
            }
            Pattern::Ratio(ratio) if layer.flag("use_variant", false)? => variant(&score_oi, ratio),
            Pattern::Ratio(ratio) => select::rows(&score_oi, ratio),
        };
        Ok(Pruned::zeroed(layer.weight_oi, kept_oi))
    }
}

/// The importance of every weight, `[O, I]` f32; smaller goes first.
fn score(weight_oi: &Tensor, stats: &InputStats) -> Tensor {
    weight_oi.to_kind(Kind::Float).abs() * stats.mean_sum_sq_i().sqrt().unsqueeze(0)
}

/// The published `use_variant`: each row loses the weights that hold a share alpha of its score, alpha by bisection so that
/// the whole linear reaches the ratio to 0.001. Bool `[O, I]`, true = kept.
fn variant(score_oi: &Tensor, ratio: f64) -> Tensor {
    let (ascending_oi, _) = score_oi.sort_stable(true, -1, false);
    let running_oi = ascending_oi.cumsum(1, Kind::Float);
    let total_o = score_oi.sum_dim_intlist(&[1i64][..], false, Kind::Float);
    let (mut low, mut alpha, mut high) = (0.0f64, 0.4f64, 0.8f64);
    loop {
        let inside_oi = running_oi.le_tensor(&(&total_o * alpha).unsqueeze(1));
        let count_o1 = inside_oi.sum_dim_intlist(&[1i64][..], true, Kind::Int64);
        // A row whose least score already passes its share loses nothing.
        let threshold_o1 = ascending_oi.gather(1, &(&count_o1 - 1).clamp_min(0), false);
        let pruned_oi = score_oi.le_tensor(&threshold_o1).logical_and(&count_o1.gt(0));
        let pruned = pruned_oi.sum(Kind::Int64).int64_value(&[]) as f32;
        let sparsity = pruned / score_oi.numel() as f32;
        let apart = f64::from((sparsity - ratio as f32).abs());
        if apart <= 0.001 || high - low < 0.001 {
            return pruned_oi.logical_not();
        }
        (low, alpha, high) = match f64::from(sparsity) > ratio {
            true => (low, (alpha + low) / 2.0, alpha),
            false => (alpha, (alpha + high) / 2.0, high),
        };
    }
}
