//! What came of a run: what is there now, what failed and why. Pure.

use super::grid::is_remade;
use super::status::Status;
use crate::records::Present;
use crate::schedule::GivenUp;
use espalier_proto::ids::{CellKey, Digest, VariantKey};
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::{CellEntry, ResolvedSweep};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What is counted: `cell`, or `variant` of a sweep without tasks.
    pub unit: &'static str,
    /// Cells (variants) that the run was about.
    pub wanted: usize,
    /// Of those, in the bucket before.
    pub before: usize,
    /// Of those, in the bucket now.
    pub done: usize,
    /// Variants that were pruned again for their checkpoints, which had been dropped.
    pub remade: usize,
    /// Those whose checkpoints are still not there.
    pub unmade: usize,
    /// What was given up, in table order; a variant that failed stands for all its cells.
    pub failed: Vec<Failed>,
    /// The sweep was stopped by `limits.max_failed_cells`.
    pub halted: bool,
    /// The user stopped it.
    pub interrupted: bool,
    /// What the bucket refused since it last did as it was asked.
    pub trouble: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// A variant or a cell that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The model's id.
    pub model: String,
    /// The variant as tables show it.
    pub variant: String,
    /// The task's label; `None` if the variant itself failed.
    pub task: Option<String>,
    /// Why, as results show it.
    pub code: FailureCode,
    /// Why, for people.
    pub message: String,
    /// By the canary of its model: it was not tried itself, and why is why the canary failed.
    pub canary: bool,
}

impl Outcome {
    /// Everything that was wanted is there.
    pub fn whole(&self) -> bool {
        self.done == self.wanted && self.unmade == 0
    }

    pub(super) fn after(mut self, took: Duration) -> Self {
        self.took = took;
        self
    }
}

/// How much is to be done: wanted cells (variants, of a sweep without tasks) that have no record, and variants that are pruned again for their
/// checkpoints.
pub fn missing(sweep: &ResolvedSweep, there: &Present, only: Option<&BTreeSet<CellKey>>) -> usize {
    let (wanted, done) = counts(sweep, there, only);
    wanted - done + remade(sweep, there, only)
}

/// Variants with a wanted cell, of which nothing is missing but the checkpoint, which is asked for.
fn remade(sweep: &ResolvedSweep, there: &Present, only: Option<&BTreeSet<CellKey>>) -> usize {
    let variants = sweep.variants.iter().filter(|variant| is_remade(sweep, there, variant));
    let remade: BTreeSet<VariantKey> = variants.map(|variant| variant.key).collect();
    let cells = sweep.cells.iter().filter(|cell| only.is_none_or(|only| only.contains(&cell.key)));
    let (done, missing): (Vec<_>, Vec<_>) =
        cells.filter(|cell| remade.contains(&cell.variant)).partition(|cell| there.cells.contains(&cell.key));
    let missing: BTreeSet<VariantKey> = missing.iter().map(|cell| cell.variant).collect();
    let whole: BTreeSet<VariantKey> = done.iter().map(|cell| cell.variant).collect();
    whole.difference(&missing).count()
}

/// What came of a run, from the records before and after it and from what the schedule gave up.
pub fn outcome(
    sweep: &ResolvedSweep,
    only: Option<&BTreeSet<CellKey>>,
    before: &Present,
    after: &Present,
    status: &Status,
) -> Outcome {
    let (wanted, done) = counts(sweep, after, only);
    let view = status.view.sweeps.get(&sweep.name).cloned().unwrap_or_default();
    let mut failed = given_up(sweep, status);
    let label = |cell: &CellKey| {
        let entry = sweep.cells.iter().find(|c| c.key == *cell)?;
        let variant = sweep.variants.iter().find(|v| v.key == entry.variant)?;
        Some((variant.model.clone(), variant.name.clone(), Some(entry.task.clone())))
    };
    // Written by others since the schedule gave it up.
    let there: BTreeSet<_> = after.cells.iter().filter_map(label).collect();
    failed.retain(|f| !there.contains(&(f.model.clone(), f.variant.clone(), f.task.clone())));
    Outcome {
        unit: if sweep.cells.is_empty() { "variant" } else { "cell" },
        wanted,
        before: counts(sweep, before, only).1,
        done,
        remade: remade(sweep, before, only).saturating_sub(remade(sweep, after, only)),
        unmade: remade(sweep, after, only),
        failed,
        halted: view.halted,
        trouble: status.trouble(),
        ..Outcome::default()
    }
}

/// What the schedule has given up of a sweep, in table order; a variant that failed stands for all its cells.
pub fn given_up(sweep: &ResolvedSweep, status: &Status) -> Vec<Failed> {
    let Some(view) = status.view.sweeps.get(&sweep.name).filter(|v| !v.failed.is_empty()) else {
        return Vec::new();
    };
    let mut cells: BTreeMap<VariantKey, Vec<&CellEntry>> = BTreeMap::new();
    for cell in sweep.cells.iter().filter(|c| view.failed.contains_key(&c.key.0)) {
        cells.entry(cell.variant).or_default().push(cell);
    }
    let mut failed = Vec::new();
    for variant in &sweep.variants {
        let mut add = |task: Option<&str>, key: &Digest, why: &GivenUp| {
            failed.push(Failed {
                model: variant.model.clone(),
                variant: variant.name.clone(),
                task: task.map(str::to_owned),
                code: why.code,
                message: status.faults.get(key).map(|f| f.message.clone()).unwrap_or_default(),
                canary: why.by_canary,
            });
        };
        if let Some(why) = view.failed.get(&variant.key.0) {
            add(None, &variant.key.0, why);
            continue;
        }
        for cell in cells.get(&variant.key).into_iter().flatten() {
            add(Some(&cell.task), &cell.key.0, &view.failed[&cell.key.0]);
        }
    }
    failed
}

fn counts(sweep: &ResolvedSweep, there: &Present, only: Option<&BTreeSet<CellKey>>) -> (usize, usize) {
    if sweep.cells.is_empty() {
        let is_there = |key| there.variants.contains(key) && !there.dropped.contains(key);
        let done = sweep.variants.iter().filter(|v| is_there(&v.key)).count();
        return (sweep.variants.len(), done);
    }
    let cells = sweep.cells.iter().filter(|c| only.is_none_or(|only| only.contains(&c.key)));
    let (mut wanted, mut done) = (0, 0);
    for cell in cells {
        wanted += 1;
        done += usize::from(there.cells.contains(&cell.key));
    }
    (wanted, done)
}
