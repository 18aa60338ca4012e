//! `espalier prune`: one model, one recipe, no sweep file; the command line of wanda's `main.py`.

use super::one::{self, One};
use super::prepare::fetch;
use super::prune_tasks::{self, Measured};
use super::work::WorkArgs;
use super::{BucketArg, Output, bars::say, folders, print, prune_log};
use crate::exit::{Exit, Failure};
use crate::hub::HubError;
use crate::inputs::InputsError;
use crate::inputs::resolve::Prepared;
use crate::records;
use crate::spec::file::{
    Allocation, CalibrationDecl, DtypeChoice, ModelDecl, Pos, RecipeDecl, Sampler, TaskDecl,
};
use crate::spec::validate::sparsity;
use crate::spec::{paths, validate};
use crate::store::folder;
use espalier_proto::bucket::Bucket;
use espalier_proto::causes::chain;
use espalier_proto::inputs::Inputs;
use espalier_proto::methods::{DENSE, METHODS};
use espalier_proto::recipe::{ParamValue, Pattern};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Prune one model, with the flags of wanda's main.py: no sweep file
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier prune --model microsoft/phi-2 --sparsity-ratio 0.5 --save-model pruned/\n  \
                  espalier prune --model ./phi-demo --sparsity-type 2:4 --calibration ./text.txt --task wikitext2=./test.txt --save out/"
)]
pub struct Prune {
    /// A folder, or org/name on the Hugging Face hub
    #[arg(long)]
    pub model: String,
    /// The method
    #[arg(long, default_value = "wanda", value_parser = clap::builder::PossibleValuesParser::new(METHODS.iter().map(|m| m.name)))]
    pub prune_method: String,
    /// unstructured, or N:M such as 2:4: N of every M weights in a row become zero
    #[arg(long, default_value = "unstructured", value_name = "TYPE")]
    pub sparsity_type: String,
    /// Share of weights to prune, 0 to 1; with N:M it may be left out, or is N/M
    #[arg(long, value_name = "RATIO")]
    pub sparsity_ratio: Option<f64>,
    /// What the method is calibrated on: wikitext2, a file, or org/name on the Hugging Face hub
    #[arg(long, default_value = "wikitext2", value_name = "NAME|FILE|ORG/NAME")]
    pub calibration: String,
    /// Calibration windows
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    pub nsamples: u32,
    /// Tokens of a window [default: 2048, or the model's limit if that is less]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..))]
    pub seqlen: Option<u32>,
    /// Seed of the calibration windows
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Wanda's variant: each row's count by the share of its cumulated scores
    #[arg(long)]
    pub use_variant: bool,
    /// CPU threads of a worker
    #[arg(long, default_value_t = validate::THREADS, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
    /// Also measure a task on the pruned model, beside WikiText-2's perplexity, such as wikitext2 or reclor=val.json, as `eval --task` has it; may be repeated
    #[arg(long, value_name = "NAME[=DATA]")]
    pub task: Vec<String>,
    /// Also measure the five reasoning tasks, as many of them as can be had
    #[arg(long)]
    pub eval_zero_shot: bool,
    /// Write a log and the metrics to this folder
    #[arg(long, value_name = "DIR")]
    pub save: Option<PathBuf>,
    /// Write the pruned model to this folder, as Hugging Face has it
    #[arg(long, value_name = "DIR")]
    pub save_model: Option<PathBuf>,
    /// Go on where another process was at the same and cannot be known to have ended
    #[arg(long)]
    pub take_over: bool,
    /// Where records are kept.
    #[command(flatten)]
    pub bucket: BucketArg,
    /// How the work is done.
    #[command(flatten)]
    pub work: WorkArgs,
}

/// Runs the command.
pub async fn run(command: &Prune, output: Output) -> Result<Exit, Failure> {
    let pattern = pattern(command)?;
    if let Some(folder) = &command.save_model {
        folders::is_free(folder)?;
    }
    if let Some(folder) = &command.save {
        folders::can_be_written(folder)?;
    }
    let hub = command.work.hub();
    for lack in prune_tasks::lacks(&command.task, command.eval_zero_shot, &hub) {
        // What cannot be had is left out, below; here is why.
        let Err(Failure::Wanted { wanted }) = fetch(lack.into(), &command.work).await else {
            continue;
        };
        wanted.iter().filter(|error| error.lack().is_none()).for_each(|error| say(&chain(error)));
        if wanted.iter().any(|error| matches!(error, InputsError::Hub(HubError::Unreachable { .. }))) {
            break;
        }
    }
    let Measured { tasks, no_ppl_test, left_out } =
        prune_tasks::tasks(&command.task, command.eval_zero_shot, command.seqlen, &hub)?;
    left_out.iter().for_each(|line| say(line));
    let file = sweep(command, one::model(&command.model)?, pattern, tasks).file();
    let bucket = Bucket::connect(&command.bucket.bucket).await?;
    let keep = |v: &mut espalier_proto::sweep::VariantEntry| (v.spec.method == DENSE) == pattern.is_none();
    let (prepared, outcome) =
        one::run(&file, &bucket, (&command.work, command.take_over), keep, announce).await?;
    let Some(variant) = prepared.sweep.variants.first() else {
        return Ok(one::exit(&outcome));
    };
    let committed = records::committed(&bucket, &prepared.sweep).await?;
    let Some(record) = committed.variants.get(&variant.key) else {
        return Ok(one::exit(&outcome));
    };
    let log = prune_log::PruneLog::new(command, &prepared, record, &committed).without_ppl_test(no_ppl_test);
    // The model first: its folder is written whole, and the log may go into it.
    if let Some(to) = &command.save_model {
        folder::write(&bucket, record, std::path::Path::new(&prepared.sweep.models[0].folder), to).await?;
        say(&format!("pruned model: {}", to.display()));
    }
    if let Some(folder) = &command.save {
        log.write(folder)?;
        say(&format!("log and metrics: {}", folder.display()));
    }
    match output {
        Output::Text => print::text(&log.text()),
        Output::Json => print::json(&log),
    }
    Ok(one::exit(&outcome))
}

/// `--sparsity-type` and `--sparsity-ratio` together; `None` is dense.
fn pattern(command: &Prune) -> Result<Option<Pattern>, Failure> {
    let wrong = |option: &str, found: &str, expected: String| Failure::Usage {
        message: format!("--{option}: found {found}, expected {expected}"),
    };
    if command.sparsity_type == "unstructured" {
        let Some(ratio) = command.sparsity_ratio else {
            return Err(wrong(
                "sparsity-ratio",
                "nothing",
                "a ratio such as 0.5, or --sparsity-type 2:4".to_owned(),
            ));
        };
        return sparsity::ratio(ratio)
            .map_err(|expected| wrong("sparsity-ratio", &ratio.to_string(), expected));
    }
    let pattern = sparsity::prune_n_of_m(&command.sparsity_type)
        .ok_or_else(|| wrong("sparsity-type", &command.sparsity_type, TYPES.to_owned()))?;
    match command.sparsity_ratio {
        Some(ratio) if (ratio - pattern.target_sparsity()).abs() > 1e-9 => {
            let expected =
                format!("nothing or {} beside {}", pattern.target_sparsity(), command.sparsity_type);
            Err(wrong("sparsity-ratio", &ratio.to_string(), expected))
        }
        _ => Ok(Some(pattern)),
    }
}

const TYPES: &str = "unstructured, or N:M with 0 < N < M such as 2:4: N of every M weights become zero";

fn sweep(command: &Prune, model: ModelDecl, pattern: Option<Pattern>, tasks: Vec<TaskDecl>) -> One {
    let here = std::env::current_dir().unwrap_or_default();
    let is_file = std::path::Path::new(&command.calibration).is_file();
    let calibration = CalibrationDecl {
        data: match is_file {
            true => paths::absolute(&here, &command.calibration),
            false => validate::calibrations::source(&here, &command.calibration),
        },
        split: None,
        field: None,
        sampler: Sampler::Concat,
        nsamples: command.nsamples,
        seqlen: command.seqlen,
        at: Pos::default(),
    };
    let params = if command.use_variant {
        BTreeMap::from([("use_variant".to_owned(), vec![ParamValue::Bool(true)])])
    } else {
        BTreeMap::new()
    };
    let recipe = RecipeDecl {
        name: None,
        methods: vec![command.prune_method.clone()],
        sparsity: vec![pattern],
        seeds: vec![command.seed],
        calibrations: vec![validate::DEFAULT_CALIBRATION.to_owned()],
        exclude: Vec::new(),
        allocation: Allocation::Uniform,
        models: None,
        params,
        at: Pos::default(),
    };
    let recipe = pattern.is_some().then_some((recipe, calibration));
    One { what: "prune", model, dtype: DtypeChoice::Auto, threads: command.threads, recipe, tasks }
}

/// Says what the defaults came to.
fn announce(prepared: &Prepared) {
    let Some(variant) = prepared.sweep.variants.first() else {
        return;
    };
    let backend = variant.spec.backend.as_str();
    say(&format!("{} of {} on {backend} in {}", variant.name, variant.model, variant.spec.dtype.as_str()));
    let windows = variant.spec.calibration.and_then(|digest| prepared.inputs.get(&digest));
    if let Some(Inputs::Calibration(windows)) = windows {
        say(&format!("calibration: {} windows of {} tokens", windows.windows.len(), windows.seqlen));
    }
}
