//! A sweep, resolved: what `sweeps/<sweep>/specs/<digest>.json` holds, and the entries of the sweep's log.

use crate::ids::{CellKey, Digest, InputsDigest, ModelDigest, Name, VariantKey};
use crate::recipe::{Dtype, VariantSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Format of log entries. Of the first one `written_by` and a submission's `only` are absent.
pub const LOG_FORMAT: u32 = 3;
/// Format of the resolved sweep. Of the first one `written_by`, `data` and `revisions` are absent.
pub const SWEEP_FORMAT: u32 = 2;

/// A sweep file after resolving: sources pinned, data read, inputs written, grid expanded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResolvedSweep {
    /// [`SWEEP_FORMAT`], or an earlier one.
    pub format: u32,
    /// The version that wrote it; empty if none said so.
    #[serde(default)]
    pub written_by: String,
    /// The sweep's identity.
    pub name: Name,
    /// Models in the file's order.
    pub models: Vec<ModelEntry>,
    /// Tasks in the file's order, one entry a (task, style, seqlen, …).
    pub tasks: Vec<TaskEntry>,
    /// Variants: for each model its dense one first, then in the recipes' order. No key twice.
    pub variants: Vec<VariantEntry>,
    /// Cells in table order: for each variant its tasks. No (key, task) twice.
    pub cells: Vec<CellEntry>,
    /// Where the data came from; in no key, which have its content.
    #[serde(default)]
    pub data: DataSources,
    /// What of the hub may move, as it is asked for, and the commit that it was when the sweep first read it:
    /// `hf://org/name@main`, `hf://datasets/org/name[/configuration][@revision]`. It stays so until it is resolved anew.
    #[serde(default)]
    pub revisions: BTreeMap<String, String>,
    /// What happens to checkpoints; in no key.
    pub checkpoints: Checkpoints,
    /// When to give up.
    pub limits: Limits,
}

/// Sources of data, as a user may write them, pinned to a revision where they have one: `hf://datasets/org/name@commit`, `s3://…`, a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSources {
    /// Of tasks, by `TaskEntry::label`.
    pub tasks: BTreeMap<String, String>,
    /// Of calibrations that some variant reads, by name.
    pub calibrations: BTreeMap<String, String>,
}

/// A model of the sweep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelEntry {
    /// As tables show it.
    pub id: String,
    /// The source as the user wrote it, pinned to a revision where it has one.
    pub source: String,
    /// Content.
    pub digest: ModelDigest,
    /// The folder of its files on the resolving host.
    pub folder: String,
    /// The `model_type` of its config.json.
    pub family: String,
    /// Number format of its weights on disk.
    pub stored: Dtype,
    /// Number format it is pruned and evaluated in.
    pub dtype: Dtype,
    /// Whether the tokenizer's BOS rule put a BOS before texts.
    pub adds_bos: bool,
    /// Vocabulary, for telling a collapsed perplexity.
    pub vocab: u64,
    /// Parameters, and those of them in linears that can be pruned.
    pub parameters: u64,
    /// Weights in prunable linears.
    pub prunable: u64,
    /// Decoder blocks.
    pub blocks: u32,
}

/// The kind of reasoning that a task asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Reasoning {
    Commonsense,
    Logical,
    Analogical,
}

/// What a task is measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum TaskKind {
    Perplexity,
    MultipleChoice,
}

/// One column of the grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskEntry {
    /// As tables show it: `logiqa`, `logiqa/cloze`, `wikitext2@4096`. Unique in the sweep.
    pub label: String,
    /// Name in the catalog, or the stem of the user's task file.
    pub task: String,
    /// Prompt style; empty for perplexity.
    pub style: String,
    /// Perplexity or multiple choice.
    pub kind: TaskKind,
    /// Only of reasoning tasks.
    pub reasoning: Option<Reasoning>,
    /// The split that was read.
    pub split: String,
    /// Examples shown before each item.
    pub fewshot: u32,
    /// Tokens of a window; 0 for multiple choice.
    pub seqlen: u32,
    /// Metrics that this task and style report, in table order: `ppl_token@2048`, `acc`, `acc_norm`, `f1`, `f1_norm`.
    pub metrics: Vec<String>,
    /// Expected accuracy of a uniform guess, percent of 1; `None` for perplexity.
    pub chance: Option<f64>,
    /// `--limit` or `limit:` cut the data.
    pub limited: bool,
}

/// One variant of the grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantEntry {
    /// Content key of `spec`.
    pub key: VariantKey,
    /// What is to be done.
    pub spec: VariantSpec,
    /// `ModelEntry::id`.
    pub model: String,
    /// As tables show it: `dense`, `wanda-0.5-s0`, `wanda-2:4-s0`, or the user's name with its axes.
    pub name: String,
    /// The sparsity as tables show it: `0`, `0.5`, `2:4`; `mixed` where an allocation differs by block.
    pub sparsity: String,
    /// Share of prunable weights that the recipe asks to prune.
    pub target_sparsity: f64,
    /// The calibration's name, only if the method reads it.
    pub calibration: Option<String>,
    /// The seed, only if the method reads calibration windows that were drawn with it.
    pub seed: Option<u64>,
}

/// One cell of the grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellEntry {
    /// Content key.
    pub key: CellKey,
    /// Its variant.
    pub variant: VariantKey,
    /// `TaskEntry::label`.
    pub task: String,
    /// The task's inputs for this model.
    pub inputs: InputsDigest,
}

/// What happens to checkpoints once cells are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Checkpoints {
    /// The compact one stays in the bucket.
    #[default]
    Compact,
    /// A Hugging Face folder of every pruned variant as well, under exports/.
    Dense,
    /// The compact one may be dropped once no cell lacks it.
    None,
}

/// When to give up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Tries at a shard that fails by its own fault.
    pub attempts: u32,
    /// Failed cells after which the sweep stops.
    pub max_failed_cells: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { attempts: 3, max_failed_cells: 10 }
    }
}

/// One entry of a sweep's log. The sweep's state is the fold of its log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogEntry {
    /// [`LOG_FORMAT`], or an earlier one.
    pub format: u32,
    /// The version that wrote it; empty if none said so.
    #[serde(default)]
    pub written_by: String,
    /// The instance that wrote it.
    pub instance: Name,
    /// That instance's epoch.
    pub epoch: u64,
    /// When, RFC 3339, UTC; for people only.
    pub at: String,
    /// What happened.
    pub event: LogEvent,
}

/// What a log entry says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case", deny_unknown_fields)]
pub enum LogEvent {
    /// A sweep file was submitted: the grid is now that of this spec.
    Submit {
        /// Names `specs/<digest>.json`.
        spec: Digest,
        /// The sweep's name passes to the entry's instance.
        take_over: bool,
        /// `--only`: the part of the grid that was asked for; absent for all of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<String>,
    },
    /// Nothing more of the sweep, or of a part of it, is to be run until that is submitted again.
    Cancel {
        /// `--only`: the part of the grid that is not wanted any more; absent for all of it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        only: Option<String>,
    },
    /// Nothing new of the sweep is to be begun until it is resumed or submitted again.
    Pause,
    /// What was paused goes on.
    Resume,
    /// The sweep's place among others; larger is first.
    Priority {
        /// 0 if nothing was ever said.
        priority: i32,
    },
    /// A shard or cell failed as often as the limits allow.
    Quarantine {
        /// Variant or cell key.
        key: Digest,
        /// The failure's code.
        code: crate::records::FailureCode,
    },
    /// A model's canary has passed, or was given up, and with it every variant of the model that was not begun.
    Canary {
        /// The canary's key.
        key: Digest,
        /// The model.
        model: ModelDigest,
        /// Why it was given up; `null` if it has passed.
        code: Option<crate::records::FailureCode>,
    },
    /// So many cells of the sweep failed that no more of it is run until something of it is to be tried again.
    Stop,
    /// Failures and quarantines of these keys count no more; all keys if empty.
    Retry {
        /// Variant or cell keys.
        keys: Vec<Digest>,
    },
}
