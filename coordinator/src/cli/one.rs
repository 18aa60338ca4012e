//! One model without a sweep file: `prune` and `eval` make the sweep that their arguments mean, and run it as any other.

use super::bars::Bars;
use super::prepare::fetch;
use super::run::tell;
use super::work::{WorkArgs, resolve_options};
use crate::exit::{Exit, Failure};
use crate::inputs::resolve::{Prepared, prepare};
use crate::inputs::wanted::wanted;
use crate::serve::{LocalRun, Outcome, local};
use crate::spec::file::{
    BackendChoice, CalibrationDecl, DtypeChoice, ModelDecl, Pos, RecipeDecl, SweepFile, TaskDecl,
};
use crate::spec::validate::{DEFAULT_CALIBRATION, canonical_task, short_model};
use crate::spec::{paths, validate};
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::{Digest, Name};
use espalier_proto::sweep::{Checkpoints, Limits, VariantEntry};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a sweep of one model is made of.
pub struct One {
    /// `prune` or `eval`: how the sweep's name begins.
    pub what: &'static str,
    /// The model.
    pub model: ModelDecl,
    /// Number format.
    pub dtype: DtypeChoice,
    /// CPU threads of a worker.
    pub threads: u32,
    /// What prunes; none for the model as it is.
    pub recipe: Option<(RecipeDecl, CalibrationDecl)>,
    /// What is measured; may be empty.
    pub tasks: Vec<TaskDecl>,
}

impl One {
    /// The sweep file that the arguments mean. Its name follows from them, so that equal commands find their results again.
    pub fn file(self) -> SweepFile {
        let Self { what, model, dtype, threads, recipe, tasks } = self;
        let said = format!("{model:?} {dtype:?} {threads} {recipe:?} {tasks:?}");
        let name = format!("{what}-{}", Digest::of(said.as_bytes()).short());
        let (recipes, calibrations) = match recipe {
            None => (Vec::new(), BTreeMap::new()),
            Some((recipe, decl)) => (vec![recipe], BTreeMap::from([(DEFAULT_CALIBRATION.to_owned(), decl)])),
        };
        SweepFile {
            path: PathBuf::from("command line"),
            name: name.parse::<Name>().expect("a word, a dash and hexadecimal digits are a name"),
            backend: BackendChoice::Auto,
            threads,
            device_kind: None,
            tf32: false,
            dtype,
            models: vec![model],
            calibrations,
            recipes,
            tasks,
            checkpoints: Checkpoints::Compact,
            limits: Limits::default(),
        }
    }
}

/// `--model`: a folder of this machine, else what a sweep file would say.
pub fn model(text: &str) -> Result<ModelDecl, Failure> {
    let here = std::env::current_dir().unwrap_or_default();
    let as_folder = Path::new(text).is_dir().then(|| paths::absolute(&here, text));
    let said = as_folder.as_deref().unwrap_or(text);
    short_model(said, Pos::default(), &here)
        .map_err(|expected| Failure::Usage { message: format!("--model: found {text}, expected {expected}") })
}

/// `--task NAME[=DATA]`, `FILE.yaml=DATA`; data is a file, a folder or a dataset of the hub.
pub fn task(text: &str) -> Result<TaskDecl, Failure> {
    let here = std::env::current_dir().unwrap_or_default();
    let (name, data) = text.split_once('=').map_or((text, None), |(name, data)| (name, Some(data)));
    let task = match canonical_task(name) {
        Some(task) => task.to_owned(),
        None if paths::is_path(name) => paths::absolute(&here, name),
        None => {
            let words: Vec<&str> = espalier_proto::catalog::TASKS.iter().map(|t| t.name).collect();
            let near = crate::spec::complaint::did_you_mean(name, &words);
            let message =
                format!("--task: found {name}, expected one of {} or a task file{near}", words.join(", "));
            return Err(Failure::Usage { message });
        }
    };
    Ok(TaskDecl {
        task,
        style: None,
        seqlen: None,
        limit: None,
        data: data.map(|d| paths::data(&here, d)),
        num_fewshot: 0,
        fewshot_seed: validate::FEWSHOT_SEED,
        models: None,
        at: Pos::default(),
    })
}

/// Resolves the sweep, runs those of its variants that `keep` chooses (and may name), and says what came of it.
pub async fn run(
    file: &SweepFile,
    bucket: &Bucket,
    (work, take_over): (&WorkArgs, bool),
    keep: impl FnMut(&mut VariantEntry) -> bool,
    announce: impl FnOnce(&Prepared),
) -> Result<(Prepared, Outcome), Failure> {
    let options = resolve_options(work, work.backend(file.backend)?, None, None);
    fetch(wanted(file, &options.hub), work).await?;
    let mut bars = Bars::new();
    let mut prepared = prepare(file, &options, &mut |what| bars.preparing(what))?;
    prepared.sweep.variants.retain_mut(keep);
    let kept: Vec<_> = prepared.sweep.variants.iter().map(|v| v.key).collect();
    prepared.sweep.cells.retain(|cell| kept.contains(&cell.variant));
    prepared.write(bucket).await?;
    bars.clear();
    announce(&prepared);
    let run = LocalRun {
        sweep: &prepared.sweep,
        bucket,
        only: None,
        take_over,
        worker_bin: work.worker_bin.clone(),
        devices: work.devices.clone(),
    };
    let outcome = local::run(run, |progress| bars.show(progress)).await;
    bars.clear();
    let outcome = outcome?;
    tell(&outcome);
    Ok((prepared, outcome))
}

/// The code of what came of a run.
pub fn exit(outcome: &Outcome) -> Exit {
    super::run::exit(outcome)
}
