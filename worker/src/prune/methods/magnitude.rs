//! Magnitude: the smallest |W| go. By ratio, as in wanda's published code: over the whole linear, every weight not above the
//! `int(O · I · ratio)`-th smallest (counted from 0) goes: at least one more than the ratio says, and all ties with it.
//! N:M: per group, ties to the lowest column. Shapes: O = output features, I = input features.

use crate::error::EngineError;
use crate::prune::select;
use crate::prune::{Layer, Method, Pruned};
use espalier_proto::recipe::Pattern;
use tch::Kind;

/// The method.
#[derive(Debug)]
pub(super) struct Magnitude;

impl Method for Magnitude {
    fn name(&self) -> &'static str {
        "magnitude"
    }

    fn prune(&self, layer: &Layer<'_>) -> Result<Pruned, EngineError> {
        // 16-bit numbers widen exactly, so order and ties are those of the weight's own kind.
        let score_oi = layer.weight_oi.to_kind(Kind::Float).abs();
        let kept_oi = match layer.pattern {
            Pattern::Ratio(ratio) => {
                let index = (score_oi.numel() as f64 * ratio) as usize;
                if index >= score_oi.numel() {
                    return Err(layer.cannot("expected a ratio below 1"));
                }
                score_oi.gt_tensor(&select::kth_smallest(&score_oi, index))
            }
            Pattern::NOfM { prune, of } => {
                select::groups(&score_oi, prune, of).map_err(|why| layer.cannot(why))?
            }
        };
        Ok(Pruned::zeroed(layer.weight_oi, kept_oi))
    }
}
