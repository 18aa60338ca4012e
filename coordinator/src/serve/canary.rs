//! Which models a canary goes ahead of, and what it does: one variant's first block is pruned, and one micro-batch of every task is scored.
//!
//! In: a resolved sweep and what is committed of it. Out: plans for the schedule, orders for workers. A model with few variants left needs
//! none: its first shards show the same. Nor does one of which something pruned is in the bucket, with a measured cell of every task.

use crate::records::Present;
use crate::schedule::{Needs, Order, VariantPlan};
use espalier_proto::ids::{CellKey, Digest, InputsDigest, VariantKey};
use espalier_proto::keys::{canary_key, variant_key};
use espalier_proto::messages as m;
use espalier_proto::methods::{CANARY_VERSION, DENSE};
use espalier_proto::recipe::VariantSpec;
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::{CellEntry, ResolvedSweep, VariantEntry};
use std::collections::{BTreeMap, BTreeSet};

/// So many variants of a model are to be done where a canary pays.
pub const LEAST_VARIANTS: usize = 8;

/// A model's canary.
#[derive(Clone, Debug)]
pub struct Canary {
    /// The variant of which a block is pruned.
    pub spec: VariantSpec,
    /// The model's folder.
    pub folder: String,
    /// What is scored.
    pub inputs: BTreeSet<InputsDigest>,
    /// The variants that wait for it.
    pub variants: BTreeSet<VariantKey>,
}

impl Canary {
    /// What a worker is told.
    pub fn order(&self, order: &Order, lease_s: u32) -> m::ShardOrder {
        m::ShardOrder {
            attempt: order.attempt.to_string(),
            variant_json: serde_json::to_string(&self.spec)
                .expect("a spec has string keys and finite numbers"),
            model_folder: self.folder.clone(),
            cells: Vec::new(),
            lease_s,
            variant_wanted: order.variant_wanted,
            canary: Some(m::CanaryOrder {
                inputs_digests: self.inputs.iter().map(ToString::to_string).collect(),
            }),
        }
    }
}

/// The canaries of a sweep's models, by their keys.
pub fn canaries(sweep: &ResolvedSweep) -> BTreeMap<VariantKey, Canary> {
    // What one device can run of a model is tried once.
    fn group(spec: &VariantSpec) -> impl Ord + Copy + use<'_> {
        (spec.model, spec.dtype.as_str(), spec.backend.as_str(), spec.threads, spec.device_kind.as_deref())
    }
    let mut found = BTreeMap::new();
    let mut of_variant = BTreeMap::new();
    for variant in &sweep.variants {
        let key = group(&variant.spec);
        of_variant.insert(variant.key, key);
        let folder = || sweep.models.iter().find(|m| m.id == variant.model).map(|m| m.folder.clone());
        let canary = found.entry(key).or_insert_with(|| Canary {
            spec: variant.spec.clone(),
            folder: folder().unwrap_or_default(),
            inputs: BTreeSet::new(),
            variants: BTreeSet::new(),
        });
        canary.variants.insert(variant.key);
        // One that reads calibration tries most.
        if canary.spec.method == DENSE
            || (canary.spec.calibration.is_none() && variant.spec.calibration.is_some())
        {
            canary.spec = variant.spec.clone();
        }
    }
    // They come in the order of their variants, and there may be a million.
    for cells in sweep.cells.chunk_by(|a, b| a.variant == b.variant) {
        if let Some(canary) = of_variant.get(&cells[0].variant).and_then(|key| found.get_mut(key)) {
            canary.inputs.extend(cells.iter().map(|c| c.inputs));
        }
    }
    found.into_values().map(|canary| (canary_key(&canary.spec, &canary.inputs), canary)).collect()
}

/// It was shown before that the model can be run on all of these inputs: something of it is pruned, and something measured on each.
fn is_proven(sweep: &ResolvedSweep, there: &Present, canary: &Canary) -> bool {
    let of_model = sweep.variants.iter().filter(|v| canary.variants.contains(&v.key));
    let mut pruned = of_model.filter(|v| v.spec.method != DENSE && there.variants.contains(&v.key));
    if pruned.next().is_none() {
        return false;
    }
    let mut unproven = canary.inputs.clone();
    for cell in &sweep.cells {
        if unproven.is_empty() {
            break;
        }
        if unproven.contains(&cell.inputs)
            && canary.variants.contains(&cell.variant)
            && there.cells.contains(&cell.key)
        {
            unproven.remove(&cell.inputs);
        }
    }
    unproven.is_empty()
}

/// What the canary tries is asked for: its method, and every task.
fn is_asked(
    sweep: &ResolvedSweep,
    canary: &Canary,
    variants: &BTreeSet<VariantKey>,
    asked: impl Fn(&CellEntry) -> bool,
) -> bool {
    let mut unasked = canary.inputs.clone();
    for cell in &sweep.cells {
        if unasked.is_empty() {
            break;
        }
        if unasked.contains(&cell.inputs) && asked(cell) {
            unasked.remove(&cell.inputs);
        }
    }
    let same = |spec: &VariantSpec| {
        spec.method == canary.spec.method && spec.calibration.is_some() == canary.spec.calibration.is_some()
    };
    let of_canary = |v: &&VariantEntry| canary.variants.contains(&v.key) && variants.contains(&v.key);
    unasked.is_empty() && sweep.variants.iter().filter(of_canary).any(|v| same(&v.spec))
}

/// The cells that are not run since their model's canary was given up, with why. `wanted`: those that are asked for; `None`: all.
pub fn fallen<'a>(
    sweep: &'a ResolvedSweep,
    given_up: &BTreeMap<Digest, FailureCode>,
    wanted: Option<&BTreeSet<CellKey>>,
) -> Vec<(&'a CellEntry, FailureCode)> {
    // Of nearly every sweep nothing was given up, and there may be a million cells.
    if given_up.is_empty() {
        return Vec::new();
    }
    let asked = |cell: &CellEntry| wanted.is_none_or(|wanted| wanted.contains(&cell.key));
    let variants = sweep.cells.iter().filter(|c| asked(c)).map(|c| c.variant).collect();
    let mut fallen = Vec::new();
    for (key, canary) in canaries(sweep) {
        let Some(code) = given_up.get(&key.0) else { continue };
        if is_asked(sweep, &canary, &variants, asked) {
            let with_it = |c: &&CellEntry| asked(c) && canary.variants.contains(&c.variant);
            fallen.extend(sweep.cells.iter().filter(with_it).map(|c| (c, *code)));
        }
    }
    fallen
}

/// Adds canaries to the plans of a sweep: those of models that are worth one,
/// and those that were given up: their models are not begun by a restart. What is no longer asked for fells nothing else.
pub fn guard(
    sweep: &ResolvedSweep,
    there: &Present,
    given_up: &BTreeMap<Digest, FailureCode>,
    plans: &mut Vec<VariantPlan>,
) {
    for (key, canary) in canaries(sweep) {
        let fallen = given_up.contains_key(&key.0);
        // What fell with it is not run either where another sweep has pruned it.
        let left = |plan: &VariantPlan| {
            canary.variants.contains(&plan.key)
                && (plan.wanted_alone || plan.cells.iter().any(|c| !there.cells.contains(&c.key)))
        };
        let waiting: BTreeSet<VariantKey> = plans.iter().filter(|p| left(p)).map(|p| p.key).collect();
        let unmade = waiting.difference(&there.variants).count();
        if !fallen && (unmade < LEAST_VARIANTS || is_proven(sweep, there, &canary)) {
            continue;
        }
        let planned: BTreeMap<VariantKey, &VariantPlan> = plans.iter().map(|plan| (plan.key, plan)).collect();
        let asked = |cell: &CellEntry| {
            planned.get(&cell.variant).is_some_and(|plan| plan.cells.iter().any(|c| c.key == cell.key))
        };
        if !is_asked(sweep, &canary, &planned.keys().copied().collect(), asked) {
            continue;
        }
        let of_spec = variant_key(&canary.spec);
        let guarded = |plan: &&VariantPlan| waiting.contains(&plan.key);
        let model = plans.iter().filter(guarded);
        let Some(first) = model.clone().max_by_key(|plan| plan.key == of_spec) else { continue };
        let memory = model.clone().map(|plan| plan.needs.memory).max().unwrap_or(0);
        let mut needs = Needs { memory, ..first.needs.clone() };
        needs.stages.insert("canary".to_owned(), CANARY_VERSION);
        let cost = model.map(|plan| plan.cost).max().unwrap_or(0) / 10;
        plans.iter_mut().filter(|plan| waiting.contains(&plan.key)).for_each(|plan| plan.after = Some(key));
        plans.push(VariantPlan { key, needs, cost, wanted_alone: true, cells: Vec::new(), after: None });
    }
}
