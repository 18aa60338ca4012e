//! A resolved sweep and what is committed of it → what the schedule is told, and what workers are told about keys.
//!
//! Costs are only for order and for the estimate of time left: parameters times tokens, one unit for all.

use crate::records::Committed;
use crate::schedule::{CellPlan, Needs, Submission, VariantPlan};
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::ids::{CellKey, InputsDigest, VariantKey};
use espalier_proto::inputs::Inputs;
use espalier_proto::layout;
use espalier_proto::methods;
use espalier_proto::sweep::{ModelEntry, ResolvedSweep, VariantEntry};
use std::collections::{BTreeMap, BTreeSet};

/// Multiplications that are one unit of cost.
const UNIT: u64 = 1_000_000;

/// What workers are told about the keys that they are given.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// A variant's spec as JSON, and its model's folder.
    pub variants: BTreeMap<VariantKey, (String, String)>,
    /// A cell's inputs.
    pub cells: BTreeMap<CellKey, InputsDigest>,
}

impl Catalog {
    /// The catalog of a sweep.
    pub fn new(sweep: &ResolvedSweep) -> Self {
        let folders: BTreeMap<&str, &str> = sweep
            .models
            .iter()
            .map(|m| (m.id.as_str(), m.folder.as_str()))
            .collect();
        let variants = sweep.variants.iter().map(|v| {
            let json = serde_json::to_string(&v.spec).expect("a spec has string keys and finite numbers");
            (
                v.key,
                (
                    json,
                    folders
                        .get(v.model.as_str())
                        .copied()
                        .unwrap_or_default()
                        .to_owned(),
                ),
            )
        });
        Self {
            variants: variants.collect(),
            cells: sweep.cells.iter().map(|c| (c.key, c.inputs)).collect(),
        }
    }
}

/// Tokens that the decoder is fed for each inputs of the sweep.
pub async fn tokens(
    bucket: &Bucket,
    sweep: &ResolvedSweep,
) -> Result<BTreeMap<InputsDigest, u64>, BucketError> {
    let digests: BTreeSet<InputsDigest> = sweep
        .cells
        .iter()
        .map(|c| c.inputs)
        .chain(sweep.variants.iter().filter_map(|v| v.spec.calibration))
        .collect();
    let mut tokens = BTreeMap::new();
    for digest in digests {
        let path = layout::inputs(digest);
        let inputs: Inputs = bucket
            .read_json(&path)
            .await?
            .ok_or_else(|| BucketError::Corrupt {
                path: path.to_string(),
                why: "resolved inputs that the sweep names are not there".to_owned(),
            })?;
        tokens.insert(digest, inputs.fed_tokens());
    }
    Ok(tokens)
}

/// What the schedule is told. `only` limits what is run, not what the sweep is.
pub fn submission(
    sweep: &ResolvedSweep,
    committed: &Committed,
    tokens: &BTreeMap<InputsDigest, u64>,
    only: Option<&BTreeSet<CellKey>>,
) -> Submission {
    let models: BTreeMap<&str, &ModelEntry> = sweep.models.iter().map(|m| (m.id.as_str(), m)).collect();
    let work = |model: &ModelEntry, digest: InputsDigest| {
        model
            .parameters
            .saturating_mul(tokens.get(&digest).copied().unwrap_or(0))
            / UNIT
            + 1
    };
    let plans = sweep.variants.iter().map(|variant| {
        let model = models[variant.model.as_str()];
        // A block is run twice while pruning: dense with taps, then pruned.
        let pruning = variant.spec.calibration.map_or(1, |c| 2 * work(model, c));
        let reading = model.parameters / UNIT + 1;
        let cells = sweep
            .cells
            .iter()
            .filter(|c| c.variant == variant.key && only.is_none_or(|only| only.contains(&c.key)))
            .map(|c| CellPlan {
                key: c.key,
                cost: work(model, c.inputs),
            });
        VariantPlan {
            key: variant.key,
            needs: needs(variant),
            cost: pruning + reading,
            wanted_alone: sweep.cells.is_empty(),
            cells: cells.collect(),
        }
    });
    Submission {
        sweep: sweep.name.clone(),
        limits: sweep.limits,
        variants: plans.filter(|p| p.wanted_alone || !p.cells.is_empty()).collect(),
        variants_done: committed.variants.keys().copied().collect(),
        cells_done: committed.cells.keys().copied().collect(),
    }
}

fn needs(variant: &VariantEntry) -> Needs {
    let spec = &variant.spec;
    let prune = format!("prune.{}", spec.method);
    let stages = methods::stage_versions()
        .into_iter()
        .filter(|(s, _)| s == "forward" || s == "score" || *s == prune)
        .collect();
    Needs {
        model: spec.model,
        backend: spec.backend,
        threads: spec.threads,
        device_kind: spec.device_kind.clone(),
        memory: 0,
        stages,
    }
}
