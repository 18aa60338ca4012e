//! A resolved sweep and what is committed of it → what the schedule is told, and what workers are told about keys.
//!
//! Costs, by the plan's own count of operations, are only for order and for the estimate of time left; memory is the plan's
//! prediction.

use super::canary::{self, Canary};
use crate::plan::cost;
use crate::plan::load::{Load, load};
use crate::records::Present;
use crate::schedule::{CellPlan, Needs, Submission, VariantPlan};
use espalier_proto::arch::Arch;
use espalier_proto::bucket::{Bucket, BucketError, MOST_JSON};
use espalier_proto::families;
use espalier_proto::ids::{CellKey, Digest, InputsDigest, ModelDigest, VariantKey};
use espalier_proto::inputs::Inputs;
use espalier_proto::layout;
use espalier_proto::methods;
use espalier_proto::recipe::Backend;
use espalier_proto::records::FailureCode;
use espalier_proto::small_file::{self, MOST_WRITTEN};
use espalier_proto::sweep::{CellEntry, Checkpoints, ModelEntry, ResolvedSweep, VariantEntry};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Floating-point operations that are one unit of cost.
const UNIT: f64 = 1e6;
/// A million of them together are still a number.
const MOST_UNITS: u64 = 1 << 40;

/// What workers are told about the keys that they are given.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// A variant's spec as JSON, and its model's folder.
    pub variants: BTreeMap<VariantKey, (String, String)>,
    /// A cell's inputs.
    pub cells: BTreeMap<CellKey, InputsDigest>,
    /// Canaries.
    pub canaries: BTreeMap<VariantKey, Canary>,
}

impl Catalog {
    /// Adds another sweep's. Keys that both have are of the same content.
    pub fn extend(&mut self, other: Self) {
        add(&mut self.variants, other.variants);
        add(&mut self.cells, other.cells);
        for (key, canary) in other.canaries {
            // The first one's work stays, and more variants wait for it.
            let known = self.canaries.entry(key).or_insert_with(|| canary.clone());
            known.variants.extend(canary.variants);
        }
    }

    /// The catalog of a sweep.
    pub fn new(sweep: &ResolvedSweep) -> Self {
        let folders: BTreeMap<&str, &str> =
            sweep.models.iter().map(|m| (m.id.as_str(), m.folder.as_str())).collect();
        let variants = sweep.variants.iter().map(|v| {
            let json = serde_json::to_string(&v.spec).expect("a spec has string keys and finite numbers");
            (v.key, (json, folders.get(v.model.as_str()).copied().unwrap_or_default().to_owned()))
        });
        let cells = sweep.cells.iter().map(|c| (c.key, c.inputs)).collect();
        Self { variants: variants.collect(), cells, canaries: canary::canaries(sweep) }
    }
}

/// Adds the smaller to the larger; what both have is the same. A start adds a million cells to none.
fn add<K: Ord, V>(to: &mut BTreeMap<K, V>, mut more: BTreeMap<K, V>) {
    if to.len() < more.len() {
        std::mem::swap(to, &mut more);
    }
    to.extend(more);
}

/// What the plan predicts of a sweep's work.
#[derive(Clone, Debug, Default)]
pub struct Costs {
    loads: BTreeMap<InputsDigest, Load>,
    archs: BTreeMap<ModelDigest, Arch>,
}

impl Costs {
    /// Reads the sweep's inputs from the bucket and its models' configurations from their folders. A model whose configuration
    /// cannot be read has no prediction of memory; its worker will say what is wrong with it.
    pub async fn read(bucket: &Bucket, sweep: &ResolvedSweep) -> Result<Self, BucketError> {
        let calibrations = sweep.variants.iter().filter_map(|v| v.spec.calibration);
        let digests: BTreeSet<InputsDigest> =
            sweep.cells.iter().map(|c| c.inputs).chain(calibrations).collect();
        let mut costs = Self::default();
        for digest in digests {
            let path = layout::inputs(digest);
            let corrupt = |why: String| BucketError::Corrupt { path: path.to_string(), why };
            let bytes = bucket.read_at_most(&path, MOST_JSON).await?;
            let bytes = bytes
                .ok_or_else(|| corrupt("resolved inputs that the sweep names are not there".to_owned()))?;
            let inputs = Inputs::parse(&bytes).map_err(|e| corrupt(e.to_string()))?;
            costs.loads.insert(digest, load(&inputs));
        }
        for model in &sweep.models {
            let config =
                match small_file::read_text(&Path::new(&model.folder).join("config.json"), MOST_WRITTEN) {
                    Ok(config) => config,
                    // Submitted from elsewhere: the bucket has it.
                    Err(_) => {
                        let mirrored = bucket
                            .read_at_most(&layout::model_file(model.digest, "config.json"), MOST_WRITTEN)
                            .await?;
                        mirrored.map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
                    }
                };
            if let Ok(arch) = families::arch(&config) {
                costs.archs.insert(model.digest, arch);
            }
        }
        Ok(costs)
    }

    fn load(&self, digest: InputsDigest) -> Load {
        self.loads.get(&digest).copied().unwrap_or_default()
    }

    /// Work of scoring these inputs.
    fn evaluating(&self, model: &ModelEntry, digest: InputsDigest) -> u64 {
        let load = self.load(digest);
        let flops = match self.archs.get(&model.digest) {
            Some(arch) => cost::evaluate_flops(arch, &load),
            None => 2.0 * model.parameters as f64 * load.tokens as f64,
        };
        units(flops)
    }

    /// Work of reading the model and of pruning it.
    fn preparing(&self, model: &ModelEntry, calibration: Option<InputsDigest>) -> u64 {
        let load = calibration.map(|c| self.load(c));
        let flops = match (self.archs.get(&model.digest), &load) {
            (Some(arch), load) => cost::prune_flops(arch, load.as_ref()),
            (None, Some(load)) => 4.0 * model.parameters as f64 * load.tokens as f64,
            (None, None) => 0.0,
        };
        // Reading a weight and deciding about it is not nothing.
        units(flops + model.parameters as f64)
    }

    /// What a worker takes at most where all of a model's weights stay at hand, over all models and inputs.
    pub fn resident(&self, sweep: &ResolvedSweep, backend: Backend) -> u64 {
        let all = sweep.models.iter().filter_map(|m| Some((self.archs.get(&m.digest)?, m.dtype)));
        let bytes = |(arch, dtype)| {
            self.loads.values().map(move |load| cost::resident_bytes(arch, dtype, backend, load))
        };
        all.flat_map(bytes).max().unwrap_or(0)
    }

    /// Least bytes that a device needs for any of these inputs; 0 if nothing is predicted.
    fn memory(
        &self,
        model: &ModelEntry,
        backend: Backend,
        inputs: impl Iterator<Item = InputsDigest>,
    ) -> u64 {
        let Some(arch) = self.archs.get(&model.digest) else {
            return 0;
        };
        inputs.map(|i| cost::device_bytes(arch, model.dtype, backend, &self.load(i))).max().unwrap_or(0)
    }
}

/// At most [`MOST_UNITS`]: what a config.json claims may be any size, and the schedule adds costs up.
fn units(flops: f64) -> u64 {
    ((flops / UNIT) as u64).min(MOST_UNITS - 1) + 1
}

/// What the schedule is told. `only` limits what is run, not what the sweep is; `given_up`: keys, with why.
pub fn submission(
    sweep: &ResolvedSweep,
    there: &Present,
    costs: &Costs,
    only: Option<&BTreeSet<CellKey>>,
    given_up: BTreeMap<Digest, FailureCode>,
) -> Submission {
    let models: BTreeMap<&str, &ModelEntry> = sweep.models.iter().map(|m| (m.id.as_str(), m)).collect();
    let mut cells: BTreeMap<VariantKey, Vec<&CellEntry>> = BTreeMap::new();
    // They come in the order of their variants.
    for of_one in sweep.cells.chunk_by(|a, b| a.variant == b.variant) {
        let wanted = of_one.iter().filter(|c| only.is_none_or(|only| only.contains(&c.key)));
        cells.entry(of_one[0].variant).or_default().extend(wanted);
    }
    let stages = methods::stage_versions();
    let plans = sweep.variants.iter().map(|variant| {
        let model = models[variant.model.as_str()];
        let calibration = variant.spec.calibration;
        let cells = cells.remove(&variant.key).unwrap_or_default();
        let memory =
            costs.memory(model, variant.spec.backend, cells.iter().map(|c| c.inputs).chain(calibration));
        VariantPlan {
            key: variant.key,
            needs: needs(variant, memory, &stages),
            cost: costs.preparing(model, calibration),
            wanted_alone: sweep.cells.is_empty() || is_remade(sweep, there, variant) && !cells.is_empty(),
            cells: cells
                .iter()
                .map(|c| CellPlan { key: c.key, cost: costs.evaluating(model, c.inputs) })
                .collect(),
            after: None,
        }
    });
    let mut plans: Vec<VariantPlan> = plans.filter(|p| p.wanted_alone || !p.cells.is_empty()).collect();
    canary::guard(sweep, there, &given_up, &mut plans);
    Submission {
        sweep: sweep.name.clone(),
        priority: 0,
        paused: false,
        cancelled: false,
        doomed: false,
        again: false,
        limits: sweep.limits,
        variants: plans,
        variants_done: there.variants.difference(&there.dropped).copied().collect(),
        cells_done: there.cells.clone(),
        gone: Default::default(),
        given_up,
    }
}

/// A folder of it is asked for, and its checkpoint was dropped: it is pruned again, whether or not a cell is missing.
pub fn is_remade(sweep: &ResolvedSweep, there: &Present, variant: &VariantEntry) -> bool {
    sweep.checkpoints == Checkpoints::Dense && there.dropped.contains(&variant.key)
}

fn needs(variant: &VariantEntry, memory: u64, stages: &BTreeMap<String, u32>) -> Needs {
    let spec = &variant.spec;
    let prune = format!("prune.{}", spec.method);
    let ours = stages.iter().filter(|(s, _)| *s == "forward" || *s == "score" || **s == prune);
    Needs {
        model: spec.model,
        backend: spec.backend,
        threads: spec.threads,
        device_kind: spec.device_kind.clone(),
        memory,
        stages: ours.map(|(stage, version)| (stage.clone(), *version)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_costs_of_any_claim_together_are_still_a_number() {
        assert_eq!((units(0.0), units(2.5e6)), (1, 3));
        for absurd in [1e300, f64::INFINITY] {
            assert_eq!(units(absurd).checked_mul(1_000_000), Some((1 << 40) * 1_000_000), "{absurd}");
        }
    }
}
