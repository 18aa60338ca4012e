//! One model's part of the table as people think of it: the dense model, and settings (a recipe at a sparsity) whose seeds are
//! replicates. What tables and charts both ask.

use crate::merge::statistics::{Estimate, mean};
use crate::merge::table::{Row, Status, Table, is_dense};
use espalier_proto::methods::METHODS;
use espalier_proto::sweep::{ModelEntry, Reasoning, TaskKind};
use std::collections::BTreeSet;

/// Variants of one model that differ by seed only.
#[derive(Clone, Debug)]
pub struct Setting<'a> {
    /// What a curve goes through and a legend names.
    pub recipe: String,
    /// The method, for its colour.
    pub method: &'a str,
    /// `0.5`, `2:4`.
    pub sparsity: &'a str,
    /// True for N:M.
    pub structured: bool,
    /// Share of prunable weights that the recipe asks to prune.
    pub target: f64,
    /// Indices into the table's variants, one a seed.
    pub variants: Vec<usize>,
}

impl Setting<'_> {
    /// The sparsity as people read it: `20 %`, `2:4`.
    pub fn sparsity_label(&self) -> String {
        match self.sparsity.parse::<f64>() {
            Ok(ratio) => super::numbers::percent(ratio),
            Err(_) => self.sparsity.to_owned(),
        }
    }

    /// How sparse, in a sentence: `50 %`, `2:4`; where the recipe leaves layers out, with the share of all that it comes to.
    pub fn at(&self) -> String {
        let asked = match self.sparsity.split_once(':').map(|(n, m)| (n.parse::<f64>(), m.parse::<f64>())) {
            Some((Ok(n), Ok(m))) => n / m,
            _ => self.sparsity.parse().unwrap_or(self.target),
        };
        let label = self.sparsity_label();
        match (asked - self.target).abs() < 1e-9 {
            true => label,
            false => format!("{label} ({} of all)", super::numbers::percent(self.target)),
        }
    }

    /// `wanda 20 %`, `dense`.
    pub fn label(&self) -> String {
        if self.target == 0.0 {
            self.recipe.clone()
        } else {
            format!("{} {}", self.recipe, self.sparsity_label())
        }
    }
}

/// A column of numbers: one metric of one task.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// Index into the table's tasks.
    pub task: usize,
    /// The metric.
    pub metric: String,
}

/// A family of metrics that a section shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Family {
    Perplexity,
    Accuracy,
    F1,
}

impl Family {
    /// True if the metric belongs here.
    pub fn has(self, metric: &str) -> bool {
        match self {
            Self::Perplexity => !super::numbers::is_share(metric),
            Self::Accuracy => metric.starts_with("acc"),
            Self::F1 => metric.starts_with("f1"),
        }
    }
}

/// One model's part of the table.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The whole table.
    pub table: &'a Table,
    /// The model.
    pub model: &'a ModelEntry,
    /// The dense setting, if the spec has it.
    pub dense: Option<Setting<'a>>,
    /// Every other setting, in the spec's order.
    pub settings: Vec<Setting<'a>>,
}

impl<'a> View<'a> {
    /// The view of a model.
    pub fn new(table: &'a Table, model: &'a ModelEntry) -> Self {
        let own = || table.variants.iter().enumerate().filter(|(_, v)| v.model == model.id);
        let calibrations = |recipe: &str| -> BTreeSet<_> {
            own().filter(|(_, v)| v.recipe == recipe).filter_map(|(_, v)| v.calibration.as_deref()).collect()
        };
        let mut this = Self { table, model, dense: None, settings: Vec::new() };
        for (index, variant) in own() {
            let recipe = match &variant.calibration {
                Some(name) if calibrations(&variant.recipe).len() > 1 => {
                    format!("{} · {name}", variant.recipe)
                }
                _ => variant.recipe.clone(),
            };
            let known =
                this.settings.iter_mut().find(|s| s.recipe == recipe && s.sparsity == variant.sparsity);
            if let Some(setting) = known {
                setting.variants.push(index);
                continue;
            }
            let setting = Setting {
                recipe,
                method: variant.method.split('(').next().unwrap_or(&variant.method),
                sparsity: &variant.sparsity,
                structured: variant.structured,
                target: variant.target,
                variants: vec![index],
            };
            if is_dense(variant) {
                this.dense = Some(setting);
            } else {
                this.settings.push(setting);
            }
        }
        this
    }

    /// Views of all models.
    pub fn all(table: &'a Table) -> Vec<Self> {
        table.models.iter().map(|model| Self::new(table, model)).collect()
    }

    /// The dense setting, then the others.
    pub fn every(&self) -> impl Iterator<Item = &Setting<'a>> {
        self.dense.iter().chain(&self.settings)
    }

    /// Names of recipes in the spec's order.
    pub fn recipes(&self) -> Vec<&str> {
        let mut recipes: Vec<&str> = Vec::new();
        for setting in &self.settings {
            if !recipes.contains(&setting.recipe.as_str()) {
                recipes.push(&setting.recipe);
            }
        }
        recipes
    }

    /// Which recipe of its method this is in the whole report: a recipe looks the same in every model's figures.
    pub fn nth_of_method(&self, recipe: &str, method: &str) -> usize {
        let mut known: Vec<String> = Vec::new();
        for view in Self::all(self.table) {
            for setting in view.settings.into_iter().filter(|s| s.method == method) {
                if !known.contains(&setting.recipe) {
                    known.push(setting.recipe);
                }
            }
        }
        known.iter().position(|r| r == recipe).unwrap_or(0)
    }

    /// The columns of a family that this model has cells in.
    pub fn columns(&self, family: Family) -> Vec<Column> {
        let mut columns = Vec::new();
        for (index, task) in self.table.tasks.iter().enumerate() {
            for metric in task.metrics.iter().filter(|m| family.has(m)) {
                let has = self
                    .every()
                    .any(|s| s.variants.iter().any(|&v| self.table.row(v, index, metric).is_some()));
                if has {
                    columns.push(Column { task: index, metric: metric.clone() });
                }
            }
        }
        columns
    }

    /// A column's heading: the task's label, and the metric where the label does not say it.
    pub fn heading(&self, column: &Column) -> String {
        let task = &self.table.tasks[column.task];
        let limited = if task.limited { " (limited)" } else { "" };
        match column.metric.as_str() {
            "acc" | "f1" => format!("{}{limited}", task.label),
            other => format!("{} {other}{limited}", task.label),
        }
    }

    /// The rows of a setting in a column, one a seed; `None` where the grid has no such cell.
    pub fn rows(&self, setting: &Setting, column: &Column) -> Vec<Option<&'a Row>> {
        setting.variants.iter().map(|&v| self.table.row(v, column.task, &column.metric)).collect()
    }

    /// The numbers of a setting in a column, one a seed that has one.
    pub fn estimates(&self, setting: &Setting, column: &Column) -> Vec<Estimate> {
        self.rows(setting, column).iter().filter_map(|row| row.and_then(|r| r.estimate)).collect()
    }

    /// The mean over seeds of a setting in a column; `None` if any seed lacks its number.
    pub fn mean_of(&self, setting: &Setting, column: &Column) -> Option<f64> {
        let found = self.estimates(setting, column);
        (!found.is_empty() && found.len() == setting.variants.len())
            .then(|| found.iter().map(|e| e.value).sum::<f64>() / found.len() as f64)
    }

    /// The columns whose mean is the accuracy of a kind of reasoning; of all kinds for `None`. By `acc`.
    pub fn reasoning_columns(&self, kind: Option<Reasoning>) -> Vec<Column> {
        let mut columns = self.columns(Family::Accuracy);
        columns.retain(|column| {
            let task = &self.table.tasks[column.task];
            column.metric == "acc"
                && task.kind == TaskKind::MultipleChoice
                && kind.is_none_or(|kind| task.reasoning == Some(kind))
        });
        columns
    }

    /// The mean accuracy of one variant over columns; `None` unless it has every one of them.
    pub fn mean_accuracy(&self, variant: usize, columns: &[Column]) -> Option<Estimate> {
        let found: Option<Vec<Estimate>> = columns
            .iter()
            .map(|c| self.table.row(variant, c.task, &c.metric).and_then(|row| row.estimate))
            .collect();
        mean(&found?)
    }

    /// The mean accuracy of a uniform guess over columns.
    pub fn mean_chance(&self, columns: &[Column]) -> Option<f64> {
        let chances: Option<Vec<f64>> = columns.iter().map(|c| self.table.tasks[c.task].chance).collect();
        chances.filter(|c| !c.is_empty()).map(|c| c.iter().sum::<f64>() / c.len() as f64)
    }

    /// True if a number of the setting in this column is above that of a uniform guess over the vocabulary.
    pub fn collapsed(&self, setting: &Setting, column: &Column) -> bool {
        self.rows(setting, column).iter().flatten().any(|row| row.status == Status::Collapsed)
    }

    /// N:M settings beside the recipe's unstructured settings of equal target; where there is none, beside the nearest below
    /// and above.
    pub fn structured_pairs(&self) -> Vec<Pair<'_, 'a>> {
        let mut pairs: Vec<Pair> = Vec::new();
        for setting in self.settings.iter().filter(|s| s.structured) {
            let same = |s: &Setting| (s.target - setting.target).abs() < 1e-9;
            if pairs.iter().any(|p| p.recipe() == setting.recipe && same(p.structured[0])) {
                continue;
            }
            let (structured, free): (Vec<_>, Vec<_>) =
                self.settings.iter().filter(|s| s.recipe == setting.recipe).partition(|s| s.structured);
            let by_target = |a: &&&Setting, b: &&&Setting| a.target.total_cmp(&b.target);
            let mut beside: Vec<&Setting> = free.iter().copied().filter(|s| same(s)).collect();
            if beside.is_empty() {
                let below = free.iter().filter(|s| s.target < setting.target).max_by(by_target);
                let above = free.iter().filter(|s| s.target > setting.target).min_by(by_target);
                beside = below.into_iter().chain(above).copied().collect();
            }
            if !beside.is_empty() {
                let structured = structured.into_iter().filter(|s| same(s)).collect();
                pairs.push(Pair { beside, structured });
            }
        }
        pairs
    }
}

/// N:M settings of one recipe and target, with the unstructured settings of that recipe that they are held against.
#[derive(Clone, Debug)]
pub struct Pair<'v, 'a> {
    /// Unstructured; at least one.
    pub beside: Vec<&'v Setting<'a>>,
    /// N:M; at least one.
    pub structured: Vec<&'v Setting<'a>>,
}

impl<'v, 'a> Pair<'v, 'a> {
    /// Their recipe.
    pub fn recipe(&self) -> &'v str {
        &self.structured[0].recipe
    }

    /// Unstructured ones, then N:M.
    pub fn settings(&self) -> impl Iterator<Item = &'v Setting<'a>> {
        self.beside.iter().chain(&self.structured).copied()
    }

    /// `wanda: 2:4 beside unstructured 40 %, 60 %`.
    pub fn title(&self) -> String {
        let names = |of: &[&Setting]| of.iter().map(|s| s.sparsity_label()).collect::<Vec<_>>().join(", ");
        format!("{}: {} beside unstructured {}", self.recipe(), names(&self.structured), names(&self.beside))
    }
}

/// The kinds of reasoning with their names, in table order.
pub const KINDS: [(Reasoning, &str); 3] = [
    (Reasoning::Commonsense, "Commonsense"),
    (Reasoning::Logical, "Logical"),
    (Reasoning::Analogical, "Analogical"),
];

/// The colour of a method: its place in the list of methods, the same in every figure; `dense` has the ink's own.
pub fn colour(method: &str) -> String {
    match METHODS.iter().position(|m| m.name == method) {
        Some(place) => format!("c{}", place % 8),
        None => "ink".to_owned(),
    }
}
