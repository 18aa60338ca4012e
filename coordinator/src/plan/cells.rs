//! Grid minus what the bucket has: one shard a variant, with those of its cells that have no record.

use crate::records::Committed;
use crate::spec::only::Only;
use espalier_proto::ids::CellKey;
use espalier_proto::sweep::{CellEntry, ResolvedSweep, VariantEntry};
use std::collections::BTreeSet;

/// A variant with its chosen cells.
#[derive(Clone, Debug)]
pub struct ShardPlan<'s> {
    /// The variant.
    pub variant: &'s VariantEntry,
    /// Its record is in the bucket: it is not pruned again.
    pub pruned: bool,
    /// Cells without a record.
    pub missing: Vec<&'s CellEntry>,
    /// Cells with one.
    pub done: Vec<&'s CellEntry>,
}

impl ShardPlan<'_> {
    /// True if a worker must prune it: before it evaluates, or for a checkpoint that was dropped and is asked for.
    pub fn prunes(&self) -> bool {
        !self.pruned && !self.variant.spec.targets.is_empty()
    }
}

/// Every variant with a chosen cell, in table order.
pub fn shards<'s>(sweep: &'s ResolvedSweep, committed: &Committed, only: &Only) -> Vec<ShardPlan<'s>> {
    let chosen = |cell: &&CellEntry| only.has_task(&cell.task);
    let plan = |variant: &'s VariantEntry| {
        let cells = sweep.cells.iter().filter(|cell| cell.variant == variant.key).filter(chosen);
        let (done, missing): (Vec<_>, Vec<_>) =
            cells.partition(|cell| committed.cells.contains_key(&cell.key));
        let pruned =
            committed.variants.contains_key(&variant.key) && !committed.dropped.contains(&variant.key);
        ShardPlan { variant, pruned, missing, done }
    };
    let variants = sweep.variants.iter().filter(|variant| only.has_variant(variant));
    variants.map(plan).filter(|shard| !shard.missing.is_empty() || !shard.done.is_empty()).collect()
}

/// The cells that `--only` chooses; `None` is all.
pub fn chosen(sweep: &ResolvedSweep, only: &Only) -> Option<BTreeSet<CellKey>> {
    if only.is_all() {
        return None;
    }
    let variants: BTreeSet<_> =
        sweep.variants.iter().filter(|v| only.has_variant(v)).map(|v| v.key).collect();
    let cells = sweep.cells.iter().filter(|c| variants.contains(&c.variant) && only.has_task(&c.task));
    Some(cells.map(|c| c.key).collect())
}

/// The same, all of them by name.
pub fn all_chosen(sweep: &ResolvedSweep, only: &Only) -> BTreeSet<CellKey> {
    chosen(sweep, only).unwrap_or_else(|| sweep.cells.iter().map(|cell| cell.key).collect())
}

/// The part of a grid that `--only` chooses: its cells with their variants, tasks and models.
pub fn part(sweep: &ResolvedSweep, only: &Only) -> ResolvedSweep {
    let mut part = sweep.clone();
    let Some(cells) = chosen(sweep, only) else { return part };
    part.cells.retain(|cell| cells.contains(&cell.key));
    part.variants.retain(|variant| part.cells.iter().any(|cell| cell.variant == variant.key));
    part.tasks.retain(|task| part.cells.iter().any(|cell| cell.task == task.label));
    part.models.retain(|model| part.variants.iter().any(|variant| variant.model == model.id));
    part
}
