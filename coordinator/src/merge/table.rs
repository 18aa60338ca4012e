//! Spec + records → one table: a row for each metric of each cell, in the spec's order, whatever is missing. Pure.
//!
//! In: [`Found`]. Out: [`Table`], which holds only what keys determine. What was measured about the doing never enters it.

use super::collect::Found;
use super::statistics::{Estimate, accuracy, macro_f1, perplexity};
use espalier_proto::ids::{CellKey, VariantKey};
use espalier_proto::methods::DENSE;
use espalier_proto::recipe::{ParamValue, Pattern};
use espalier_proto::records::{CellRecord, FailureCode, Outcome};
use espalier_proto::sweep::{CellEntry, DataSources, ModelEntry, TaskEntry, VariantEntry};
use std::collections::BTreeMap;
use std::ops::Range;

/// Whether a row has a number, and which kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Measured on all data.
    Ok,
    /// Not measured yet.
    Missing,
    /// Given up.
    Failed,
    /// A perplexity above that of a uniform guess over the vocabulary.
    Collapsed,
    /// Measured on data that a limit cut.
    Limited,
}

impl Status {
    /// The word as results show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Missing => "missing",
            Self::Failed => "failed",
            Self::Collapsed => "collapsed",
            Self::Limited => "limited",
        }
    }
}

/// Why a row is not `ok`: a closed list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Nobody has run it yet.
    NotRun,
    /// It was cancelled before, with its sweep or a part of it.
    Cancelled,
    /// Its record was measured on other weights than the variant's record names.
    OtherWeights,
    /// Its variant or the cell itself was given up, with the failure's code.
    Failed(FailureCode),
    /// The record lacks this metric: scores that are not finite, or no items.
    NoNumber,
    /// Perplexity above the vocabulary's size.
    AboveVocabulary,
    /// A limit cut the data.
    Limit,
}

impl Reason {
    /// The word as results show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotRun => "not_run",
            Self::Cancelled => "cancelled",
            Self::OtherWeights => "other_weights",
            Self::Failed(code) => code.as_str(),
            Self::NoNumber => "no_number",
            Self::AboveVocabulary => "above_vocabulary",
            Self::Limit => "limit",
        }
    }
}

/// The method of a model that `eval` measures as its folder has it.
pub const AS_GIVEN: &str = "as given";

/// One variant of the grid as tables show it.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Content key.
    pub key: VariantKey,
    /// `ModelEntry::id`.
    pub model: String,
    /// `wanda-0.5-s0`.
    pub name: String,
    /// The name without sparsity and seed: what a curve is drawn through.
    pub recipe: String,
    /// The method with its non-default parameters; `dense`.
    pub method: String,
    /// `0`, `0.5`, `2:4`, `mixed`.
    pub sparsity: String,
    /// True for N:M.
    pub structured: bool,
    /// Share of prunable weights that the recipe asks to prune.
    pub target: f64,
    /// Share of zeros that came out.
    pub measured: Option<f64>,
    /// The calibration's name.
    pub calibration: Option<String>,
    /// The seed.
    pub seed: Option<u64>,
}

/// One metric of one cell.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Index into [`Table::variants`].
    pub variant: usize,
    /// Index into [`Table::tasks`].
    pub task: usize,
    /// `ppl_token@2048`, `acc`, `acc_norm`, `f1`, `f1_norm`.
    pub metric: String,
    /// The number, if there is one.
    pub estimate: Option<Estimate>,
    /// Items, or windows of a perplexity.
    pub n: Option<u64>,
    /// Items with a truncated option; of multiple choice only.
    pub truncated: Option<u64>,
    /// Whether there is a number.
    pub status: Status,
    /// Why not, or what is special about it.
    pub reason: Option<Reason>,
    /// The cell.
    pub cell: CellKey,
}

/// All that is known of a sweep's numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The sweep; `None` for a single evaluation.
    pub sweep: Option<String>,
    /// Models in the spec's order.
    pub models: Vec<ModelEntry>,
    /// Tasks in the spec's order.
    pub tasks: Vec<TaskEntry>,
    /// Where the data came from.
    pub data: DataSources,
    /// Variants in the spec's order.
    pub variants: Vec<Variant>,
    /// Rows in the order of the spec's cells, then of the task's metrics.
    pub rows: Vec<Row>,
    /// Cells of the grid.
    pub cells: usize,
    /// Cells of the grid that have a record that counts.
    pub measured: usize,
    /// Where the rows of a variant's task are.
    index: BTreeMap<(usize, usize), Range<usize>>,
}

impl Table {
    /// Merges a spec with what was found of it.
    pub fn new(found: &Found) -> Self {
        let sweep = &found.sweep;
        let variants: Vec<Variant> = sweep.variants.iter().map(|v| variant(v, found)).collect();
        let mut rows: Vec<Row> = Vec::new();
        let mut index = BTreeMap::new();
        let (mut cells, mut measured) = (0, 0);
        for cell in &sweep.cells {
            let variant = variants.iter().position(|v| v.key == cell.variant);
            let task = sweep.tasks.iter().position(|t| t.label == cell.task);
            let (Some(variant), Some(task)) = (variant, task) else {
                continue;
            };
            let vocab = sweep.models.iter().find(|m| m.id == variants[variant].model).map(|m| m.vocab);
            let outcome = outcome(cell, found);
            cells += 1;
            measured += usize::from(outcome.is_ok());
            let metrics = &sweep.tasks[task].metrics;
            index.insert((variant, task), rows.len()..rows.len() + metrics.len());
            for metric in metrics {
                let mut row = Row {
                    variant,
                    task,
                    metric: metric.clone(),
                    estimate: None,
                    n: None,
                    truncated: None,
                    status: Status::Missing,
                    reason: None,
                    cell: cell.key,
                };
                match outcome {
                    Ok(record) => fill(&mut row, &record.outcome, &sweep.tasks[task], vocab),
                    Err((status, reason)) => (row.status, row.reason) = (status, Some(reason)),
                }
                rows.push(row);
            }
        }
        Self {
            sweep: Some(sweep.name.to_string()),
            models: sweep.models.clone(),
            tasks: sweep.tasks.clone(),
            data: sweep.data.clone(),
            variants,
            rows,
            cells,
            measured,
            index,
        }
    }

    /// The row of a variant, a task and a metric, all as the table names them.
    pub fn row(&self, variant: usize, task: usize, metric: &str) -> Option<&Row> {
        let range = self.index.get(&(variant, task))?;
        self.rows[range.clone()].iter().find(|r| r.metric == metric)
    }
}

fn variant(entry: &VariantEntry, found: &Found) -> Variant {
    let (mut weights, mut zeros) = (0, 0);
    let record = found.variants.get(&entry.key);
    for linear in record.into_iter().flat_map(|r| r.linears.values()) {
        weights += linear.weights;
        zeros += linear.zeros;
    }
    let mut recipe = entry.name.as_str();
    if let Some(seed) = entry.seed {
        recipe = recipe.strip_suffix(&format!("-s{seed}")).unwrap_or(recipe);
    }
    recipe = recipe.strip_suffix(&format!("-{}", entry.sparsity)).unwrap_or(recipe);
    let params: Vec<String> =
        entry.spec.params.iter().map(|(name, v)| format!("{name}={}", param(v))).collect();
    Variant {
        key: entry.key,
        model: entry.model.clone(),
        name: entry.name.clone(),
        recipe: recipe.to_owned(),
        method: match params.is_empty() {
            true => entry.spec.method.clone(),
            false => format!("{}({})", entry.spec.method, params.join(" ")),
        },
        sparsity: entry.sparsity.clone(),
        structured: entry.spec.targets.values().any(|p| matches!(p, Pattern::NOfM { .. })),
        target: entry.target_sparsity,
        measured: (weights > 0).then(|| zeros as f64 / weights as f64),
        calibration: entry.calibration.clone(),
        seed: entry.seed,
    }
}

fn param(value: &ParamValue) -> String {
    match value {
        ParamValue::Bool(b) => b.to_string(),
        ParamValue::Integer(i) => i.to_string(),
        ParamValue::Number(x) => x.to_string(),
        ParamValue::Text(t) => t.clone(),
    }
}

/// The record that counts for a cell, or why there is none.
fn outcome<'a>(cell: &CellEntry, found: &'a Found) -> Result<&'a CellRecord, (Status, Reason)> {
    let weights = found.variants.get(&cell.variant).map(|v| v.weights);
    let record = found.cells.get(&cell.key);
    if let Some(record) = record
        && weights == Some(record.weights)
    {
        return Ok(record);
    }
    let own = found.given_up.get(&cell.key.0).or_else(|| found.given_up.get(&cell.variant.0));
    let given_up = own.or_else(|| found.fallen.get(&cell.key));
    Err(match given_up {
        Some(&code) => (Status::Failed, Reason::Failed(code)),
        None if record.is_some() => (Status::Missing, Reason::OtherWeights),
        None if found.cancelled.contains(&cell.key) => (Status::Missing, Reason::Cancelled),
        None => (Status::Missing, Reason::NotRun),
    })
}

fn fill(row: &mut Row, outcome: &Outcome, task: &TaskEntry, vocab: Option<u64>) {
    match outcome {
        Outcome::Perplexity { windows, window_nll, .. } => {
            row.n = Some(*windows);
            row.estimate = row.metric.starts_with("ppl_token").then(|| perplexity(window_nll)).flatten();
            // A perplexity too large for a number is above every vocabulary.
            let above = match row.estimate {
                Some(e) => vocab.is_some_and(|v| e.value > v as f64),
                None => window_nll.iter().sum::<f64>() > 0.0,
            };
            if above {
                (row.status, row.reason) = (Status::Collapsed, Some(Reason::AboveVocabulary));
                return;
            }
        }
        Outcome::Choices { items, truncated, confusion, confusion_norm } => {
            (row.n, row.truncated) = (Some(*items), Some(*truncated));
            row.estimate = match row.metric.as_str() {
                "acc" => accuracy(confusion),
                "acc_norm" => accuracy(confusion_norm),
                "f1" => macro_f1(confusion),
                "f1_norm" => macro_f1(confusion_norm),
                _ => None,
            };
        }
    }
    (row.status, row.reason) = match row.estimate {
        None => (Status::Failed, Some(Reason::NoNumber)),
        Some(_) if task.limited => (Status::Limited, Some(Reason::Limit)),
        Some(_) => (Status::Ok, None),
    };
}

impl Variant {
    /// The same for a model that is measured as its folder has it: by what it was pruned is not known, only what is zero.
    pub fn as_given(&mut self) {
        self.recipe.clone_from(&self.model);
        self.method = AS_GIVEN.to_owned();
        self.sparsity = String::new();
    }
}

/// The name of the variant that nothing was pruned from.
pub fn is_dense(variant: &Variant) -> bool {
    variant.method == DENSE
}
