//! `espalier eval`: one model as it is, no sweep file; the command line of the study's `test.py`.

use super::dataset::{self, recognise};
use super::one::{self, One};
use super::prepare::fetch;
use super::work::WorkArgs;
use super::{BucketArg, Output, bars::say, folders, print};
use crate::exit::{Exit, Failure};
use crate::inputs::catalog;
use crate::inputs::resolve::Prepared;
use crate::merge::collect::{Found, collect};
use crate::merge::table::{Table, Variant};
use crate::report::{data, samples, terminal};
use crate::spec::file::{DtypeChoice, TaskDecl};
use crate::spec::validate::{STYLES, THREADS};
use espalier_proto::bucket::Bucket;
use espalier_proto::layout;
use espalier_proto::sweep::{TaskKind, VariantEntry};
use std::path::PathBuf;

/// Evaluate one model: no sweep file
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier eval --model ./pruned --dataset ./logiqa\n  espalier eval --model ./pruned --dataset EleutherAI/logiqa\n  \
                  espalier eval --model microsoft/phi-2 --task wikitext2 --task reclor=val.json --style cloze --json out.json"
)]
pub struct Eval {
    /// A folder, or org/name on the Hugging Face hub
    #[arg(long)]
    pub model: String,
    /// A task of the catalog or a task file, with its data if that is not the task's own: a file, a folder, or org/name or
    /// hf://org/name[@revision] on the Hugging Face hub; may be repeated
    #[arg(long, value_name = "NAME[=DATA]")]
    pub task: Vec<String>,
    /// A folder, a file, or org/name on the Hugging Face hub, with one of the five reasoning sets: recognised by its records
    #[arg(long, value_name = "DIR|FILE|ORG/NAME", conflicts_with = "task")]
    pub dataset: Option<String>,
    /// Tokens of a window, of perplexity [default: 2048, or the model's limit if that is less]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..))]
    pub seqlen: Option<u32>,
    /// At most N windows or items of every task; results then say "limited"
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Prompt style of the reasoning tasks
    #[arg(long, value_parser = clap::builder::PossibleValuesParser::new(STYLES))]
    pub style: Option<String>,
    /// CPU threads of a worker
    #[arg(long, default_value_t = THREADS, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub threads: u32,
    /// Write the results to this file as JSON
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write what each item got to this file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub samples: Option<PathBuf>,
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
pub async fn run(command: &Eval, output: Output) -> Result<Exit, Failure> {
    for file in command.json.iter().chain(&command.samples) {
        let folder = file.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(std::path::Path::new("."));
        folders::can_be_written(folder)?;
    }
    let model = one::model(&command.model)?;
    let (tasks, threads) = (tasks(command).await?, command.threads);
    let file = One { what: "eval", model, dtype: DtypeChoice::Auto, threads, recipe: None, tasks }.file();
    let bucket = Bucket::connect(&command.bucket.bucket).await?;
    let (prepared, outcome) =
        one::run(&file, &bucket, (&command.work, command.take_over), as_given, announce).await?;
    let found = collect(&bucket, &prepared.sweep.name).await?;
    let mut table = Table::new(&found);
    // A single evaluation is no sweep of the user's.
    table.sweep = None;
    table.variants.iter_mut().for_each(Variant::as_given);
    let json = data::results_json(&table);
    if let Some(path) = &command.json {
        folders::write(path, json.as_bytes())?;
        say(&format!("results: {}", path.display()));
    }
    if let Some(path) = &command.samples {
        folders::write(path, lines(&bucket, &found).await?.as_bytes())?;
        say(&format!("items: {}", path.display()));
    }
    match output {
        Output::Text => print::text(&format!("{}{}", given(&table), terminal::table(&table))),
        Output::Json => print::text(&json),
    }
    Ok(one::exit(&outcome))
}

/// Names the variant after its folder: nothing is pruned here, but the folder may hold a pruned model.
fn as_given(variant: &mut VariantEntry) -> bool {
    variant.name.clone_from(&variant.model);
    true
}

/// What the weights themselves tell of the model.
fn given(table: &Table) -> String {
    let zeros = table.variants.iter().filter_map(|v| Some((&v.model, v.measured?)));
    let line = |(model, share): (&String, f64)| {
        format!("{model} as given: {:.2} % of its prunable weights are zero\n", share * 100.0)
    };
    zeros.map(line).collect()
}

async fn tasks(command: &Eval) -> Result<Vec<TaskDecl>, Failure> {
    let mut tasks = match &command.dataset {
        Some(said) => {
            let hub = command.work.hub();
            fetch(dataset::wanting(said, &hub), &command.work).await?;
            vec![one::task(&recognise(said, &hub)?)?]
        }
        None => command.task.iter().map(|t| one::task(t)).collect::<Result<_, _>>()?,
    };
    if tasks.is_empty() {
        let names: Vec<&str> = catalog::tasks().iter().map(|t| t.name.as_str()).collect();
        let message = format!(
            "--task or --dataset: found neither, expected --task with one of {}, or --dataset DIR|ORG/NAME",
            names.join(", ")
        );
        return Err(Failure::Usage { message });
    }
    for task in &mut tasks {
        let perplexity = catalog::task(&task.task).is_some_and(|t| t.kind == TaskKind::Perplexity);
        task.limit = command.limit;
        match perplexity {
            true => task.seqlen = command.seqlen,
            false => task.style = command.style.clone(),
        }
    }
    Ok(tasks)
}

/// What each item got, task after task.
async fn lines(bucket: &Bucket, found: &Found) -> Result<String, Failure> {
    let mut text = String::new();
    for cell in &found.sweep.cells {
        let Some(record) = found.cells.get(&cell.key) else {
            continue;
        };
        let Some(task) = found.sweep.tasks.iter().find(|t| t.label == cell.task) else {
            continue;
        };
        for blob in &record.blobs {
            let path = layout::cell_blob(record.key, &record.attempt, &blob.name);
            let bytes = bucket.read(&path).await?.ok_or_else(|| Failure::NotFound {
                message: format!("{path} is not in the bucket, though the cell's record names it"),
            })?;
            text += &samples::jsonl(task, bytes)?;
        }
    }
    Ok(text)
}

/// Says what the defaults came to.
fn announce(prepared: &Prepared) {
    let Some(variant) = prepared.sweep.variants.first() else {
        return;
    };
    say(&format!(
        "{} on {} in {}",
        variant.model,
        variant.spec.backend.as_str(),
        variant.spec.dtype.as_str()
    ));
    for cell in &prepared.sweep.cells {
        let Some(inputs) = prepared.inputs.get(&cell.inputs) else {
            continue;
        };
        let split = prepared.sweep.tasks.iter().find(|t| t.label == cell.task).map_or("", |t| &t.split);
        say(&format!("{}: {} of {split}, {} tokens", cell.task, inputs.count(), inputs.fed_tokens()));
    }
}
