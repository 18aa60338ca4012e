//! What pruning leaves: masks, counts, and what it cost.

use crate::error::EngineError;
use crate::load::Weights;
use espalier_proto::checkpoint::Mask;
use espalier_proto::recipe::Dtype;
use espalier_proto::records::LinearRecord;
use std::collections::BTreeMap;
use tch::{Device, Tensor};

/// A pruned model.
#[derive(Debug, Default)]
pub struct PruneResult {
    /// Masks by linear, of every linear with a target.
    pub masks: BTreeMap<String, Mask>,
    /// Counts by linear, of every linear of the model.
    pub linears: BTreeMap<String, LinearRecord>,
    /// Seconds by stage: `load`, `calibrate`, `prune`.
    pub seconds: BTreeMap<String, f64>,
}

/// Weights in all and weights that are zero by value, `[O, I]`.
pub(super) fn count(weight_oi: &Tensor) -> LinearRecord {
    let weights = weight_oi.numel() as u64;
    let nonzero = weight_oi.count_nonzero(None::<i64>).int64_value(&[]) as u64;
    LinearRecord { weights, zeros: weights - nonzero }
}

/// Counts of every linear of a model as it is: what a dense variant's record holds.
pub fn count_zeros(
    weights: &Weights,
    device: Device,
    dtype: Dtype,
) -> Result<BTreeMap<String, LinearRecord>, EngineError> {
    let arch = weights.base().arch();
    let mut counts = BTreeMap::new();
    for linear in (0..arch.blocks).flat_map(|i| arch.linears(i)) {
        let name = linear.name.clone();
        counts.insert(name, count(&weights.linear(linear, device, dtype)?.weight_oi));
    }
    Ok(counts)
}
