//! A sweep file as its user meant it: parsed and checked, nothing resolved yet. Every declaration knows where it stands.

use espalier_proto::ids::Name;
use espalier_proto::recipe::{ParamValue, Pattern};
use espalier_proto::sweep::{Checkpoints, Limits};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A place in the sweep file, both counted from 1; 0:0 for what came from the command line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Pos {
    pub line: usize,
    pub column: usize,
}

/// A whole sweep file.
#[derive(Clone, Debug)]
pub struct SweepFile {
    /// The file, for messages; relative paths in it are relative to its folder.
    pub path: PathBuf,
    /// The sweep's identity.
    pub name: Name,
    /// Which kind of device computes.
    pub backend: BackendChoice,
    /// CPU threads of one compute process.
    pub threads: u32,
    /// A pinned fingerprint.
    pub device_kind: Option<String>,
    /// Products of float32 matrices in TF32, where the device is a GPU.
    pub tf32: bool,
    /// Number format of pruning and evaluation.
    pub dtype: DtypeChoice,
    /// At least one; ids are unique.
    pub models: Vec<ModelDecl>,
    /// By name; the default one is called `default`.
    pub calibrations: BTreeMap<String, CalibrationDecl>,
    /// As written; `dense` is implied.
    pub recipes: Vec<RecipeDecl>,
    /// At least one.
    pub tasks: Vec<TaskDecl>,
    /// What happens to checkpoints.
    pub checkpoints: Checkpoints,
    /// When to give up.
    pub limits: Limits,
}

/// `backend:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum BackendChoice {
    Auto,
    Cpu,
    Cuda,
}

/// `dtype:`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum DtypeChoice {
    /// float32 on CPU, the checkpoint's on CUDA.
    Auto,
    Float32,
    Float16,
    Bfloat16,
    /// The checkpoint's on every device.
    Checkpoint,
}

/// One entry of `models:`.
#[derive(Clone, Debug)]
pub struct ModelDecl {
    /// As tables show it.
    pub id: String,
    /// `hf://org/name[@rev]`, `org/name`, `s3://…` or a folder (already made absolute if it is a path).
    pub source: String,
    /// Overrides the tokenizer's own BOS rule; `None` is `auto`.
    pub add_bos: Option<bool>,
    /// Where it stands.
    pub at: Pos,
}

/// One entry of `calibrations:`, or `calibration:` itself.
#[derive(Clone, Debug)]
pub struct CalibrationDecl {
    /// A dataset's name or a file (already made absolute if it is a path).
    pub data: String,
    /// The split, of a dataset.
    pub split: Option<String>,
    /// The text field of records; `text` if nothing is said.
    pub field: Option<String>,
    /// How windows are drawn.
    pub sampler: Sampler,
    /// Windows.
    pub nsamples: u32,
    /// Tokens of a window; `None` is min(2048, the model's limit).
    pub seqlen: Option<u32>,
    /// Where it stands.
    pub at: Pos,
}

/// How calibration windows are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampler {
    /// All rows joined by one space, tokenised once, windows at random offsets (wanda's wikitext2 loader).
    Concat,
    /// A random row longer than the window, a random offset in it (wanda's C4 loader).
    Document,
    /// The first records, each cut to the window; nothing is drawn.
    Windows,
}

/// One entry of `recipes:`; every list is an axis.
#[derive(Clone, Debug)]
pub struct RecipeDecl {
    /// Shown instead of the derived name.
    pub name: Option<String>,
    /// Names of methods, `dense` allowed.
    pub methods: Vec<String>,
    /// `None` stands for ratio 0: dense.
    pub sparsity: Vec<Option<Pattern>>,
    /// Seeds of the calibration windows; `[0]` if nothing is said.
    pub seeds: Vec<u64>,
    /// Names of `calibrations`; an axis for methods that read windows.
    pub calibrations: Vec<String>,
    /// Globs on linear names that stay dense.
    pub exclude: Vec<String>,
    /// Target by layer.
    pub allocation: Allocation,
    /// Restricts the recipe to these models.
    pub models: Option<Vec<String>>,
    /// Method parameters as written; each an axis of the methods that have it.
    pub params: BTreeMap<String, Vec<ParamValue>>,
    /// Where it stands.
    pub at: Pos,
}

/// How a recipe's target is spread over layers.
#[derive(Clone, Debug, PartialEq)]
pub enum Allocation {
    /// The same everywhere.
    Uniform,
    /// One ratio a block, in block order; the recipe's own ratio is then only its name.
    PerBlock(Vec<f64>),
}

/// One entry of `tasks:`.
#[derive(Clone, Debug)]
pub struct TaskDecl {
    /// A name of the catalog (aliases resolved) or a task file (already made absolute).
    pub task: String,
    /// `None` is the task's default.
    pub style: Option<String>,
    /// Tokens of a window, of perplexity tasks; `None` is min(2048, the model's limit).
    pub seqlen: Option<u32>,
    /// Windows or items at most.
    pub limit: Option<u64>,
    /// A data file or folder (already made absolute) instead of the task's dataset.
    pub data: Option<String>,
    /// Examples before each item.
    pub num_fewshot: u32,
    /// Seed of their draw.
    pub fewshot_seed: u64,
    /// Restricts the task to these models.
    pub models: Option<Vec<String>>,
    /// Where it stands.
    pub at: Pos,
}
