//! Adds up a bucket's bytes: by sweep, shared with others and its own, and by kind of object.
//!
//! In: an [`Inventory`]. Out: [`Usage`]. An object that several sweeps name counts as shared in each of them, once in the totals.

use super::Inventory;
use espalier_proto::ids::Name;
use espalier_proto::layout::Owner;
use serde::Serialize;
use std::collections::BTreeMap;

/// A bucket's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// All of them.
    pub bytes: u64,
    /// By sweep, in order of names.
    pub sweeps: Vec<SweepUsage>,
    /// By kind: models, inputs, variants, cells, exports, failures, logs, sweeps, coordinators, unknown.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Of things that no sweep names: `gc` removes them once they are old.
    pub unreferenced: u64,
}

/// What one sweep needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SweepUsage {
    /// Its name.
    pub sweep: Name,
    /// Specs, log, report, and what no other sweep names: `rm` frees so much.
    pub exclusive: u64,
    /// What other sweeps name as well.
    pub shared: u64,
    /// Of these, by kind, shared and exclusive together.
    pub kinds: BTreeMap<&'static str, u64>,
}

/// Adds up.
pub fn usage(inventory: &Inventory) -> Usage {
    let mut usage = Usage::default();
    let row =
        |name: &Name| SweepUsage { sweep: name.clone(), exclusive: 0, shared: 0, kinds: BTreeMap::new() };
    let mut rows: BTreeMap<&Name, SweepUsage> = inventory.sweeps.keys().map(|n| (n, row(n))).collect();
    for (meta, owner) in &inventory.objects {
        let kind = kind(owner);
        usage.bytes += meta.size;
        *usage.kinds.entry(kind).or_default() += meta.size;
        let needs = |(name, needs): &(&Name, &super::inventory::SweepNeeds)| {
            needs.current.has(owner) || needs.earlier.has(owner) || *owner == Owner::Sweep((*name).clone())
        };
        let by: Vec<&Name> = inventory.sweeps.iter().filter(needs).map(|(name, _)| name).collect();
        for name in &by {
            let row = rows.get_mut(name).expect("every sweep has a row");
            let sum = if by.len() == 1 { &mut row.exclusive } else { &mut row.shared };
            *sum += meta.size;
            *row.kinds.entry(kind).or_default() += meta.size;
        }
        if by.is_empty() && !matches!(owner, Owner::Instance(_) | Owner::Unknown) {
            usage.unreferenced += meta.size;
        }
    }
    usage.sweeps = rows.into_values().collect();
    usage
}

/// What an object is, for people.
pub fn kind(owner: &Owner) -> &'static str {
    match owner {
        Owner::Model(_) => "models",
        Owner::Inputs(_) => "inputs",
        Owner::Variant(_) => "variants",
        Owner::Cell(_) => "cells",
        Owner::Export(_) => "exports",
        Owner::Failure(_) => "failures",
        Owner::Log(_) => "logs",
        Owner::Sweep(_) => "sweeps",
        Owner::Instance(_) => "coordinators",
        Owner::Unknown => "unknown",
    }
}
