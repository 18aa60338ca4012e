//! `espalier plan`: the grid before anything runs.

use super::sweep_args::SweepArgs;
use super::work::WorkArgs;
use super::{BucketArg, Output, PriceArg, prepare, print};
use crate::exit::{Exit, Failure};
use crate::inputs::resolve::Prepared;
use crate::plan::speed::Speed;
use crate::plan::summary::{self, Plan as Summary};
use crate::records;
use crate::serve::machine;
use crate::serve::progress::spoken;
use crate::serve::workers::find_binary;
use crate::spec::expand::size::at_most;
use crate::spec::file::SweepFile;
use espalier_proto::bucket::Bucket;
use std::ops::Add;
use std::time::Duration;

/// Show the grid before anything runs: cells, tokens, FLOPs, time, memory, and what the bucket has already
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  espalier plan examples/demo.yaml\n  espalier plan sweep.yaml --only model=phi-2 --output json\n  \
                  espalier plan sweep.yaml --gpu-hour-price 2.49"
)]
pub struct Plan {
    /// The sweep.
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// The bucket.
    #[command(flatten)]
    pub bucket: BucketArg,
    /// A worker's speed in GFLOP/s [default: of this sweep's finished cells, else measured shortly on this machine]
    #[arg(long, value_name = "GFLOPS")]
    pub gflops: Option<f64>,
    /// What an hour costs.
    #[command(flatten)]
    pub price: PriceArg,
    /// The machine.
    #[command(flatten)]
    pub work: WorkArgs,
}

/// Prints the plan.
pub async fn run(plan: &Plan, output: Output) -> Result<Exit, Failure> {
    if plan.gflops.is_some_and(|speed| !(speed.is_finite() && speed > 0.0)) {
        return Err(Failure::Usage { message: "--gflops: expected a number above 0".to_owned() });
    }
    let file = plan.sweep.load()?;
    let bucket = Bucket::open(&plan.bucket.bucket)?;
    let prepared = match prepare::prepare(&file, &bucket, &plan.work).await {
        Err(failure @ Failure::Wanted { .. }) => {
            if output == Output::Text {
                print::text(&outline(&file));
            }
            return Err(failure);
        }
        prepared => prepared?,
    };
    let committed = records::committed(&bucket, &prepared.sweep).await?;
    let only = plan.sweep.only();
    let summary_at = |speed| summary::plan(&prepared, &committed, &only, speed);
    let mut summary = summary_at(plan.gflops.map(Speed::stated));
    if summary.seconds.is_none() && summary.done < summary.cells {
        // Nothing of this sweep is finished: a moment on this machine's device.
        match measured(plan, &prepared) {
            Ok(gflops) => summary = summary_at(Some(Speed::short(gflops))),
            Err(why) => summary.seconds_lack = Some(why),
        }
    }
    summary.price = summary.seconds.zip(plan.price.gpu_hour_price).map(|(s, price)| s / 3600.0 * price);
    super::sweep_args::not_empty((!only.is_all()).then_some(summary.shards.len()))?;
    match output {
        Output::Json => print::json(&summary),
        Output::Text => print::text(&text(&summary, bucket.url())),
    }
    Ok(Exit::Whole)
}

/// The speed of this machine's device on blocks as wide as the sweep's widest model, GFLOP/s; or why it is not known.
fn measured(plan: &Plan, prepared: &Prepared) -> Result<f64, String> {
    let spec = prepared.sweep.variants.first().map(|v| &v.spec).ok_or("the sweep has no variant")?;
    let worker = find_binary(plan.work.worker_bin.as_deref()).map_err(|looked| {
        let looked: Vec<String> = looked.iter().map(|p| p.display().to_string()).collect();
        format!("no espalier-worker to measure with; looked for {}", looked.join(", "))
    })?;
    machine::speed(
        &worker,
        &plan.work.devices,
        machine::Measured {
            backend: spec.backend,
            threads: spec.threads,
            dtype: spec.dtype,
            width: prepared.models.iter().map(|m| m.arch.hidden).max().unwrap_or(0),
        },
    )
}

/// What the file alone says.
fn outline(file: &SweepFile) -> String {
    let mut text = format!("sweep {}, as far as its file says\n\n", file.name);
    let mut cells = 0u64;
    let rows: Vec<Vec<String>> = file
        .models
        .iter()
        .map(|model| {
            let ours =
                |models: &Option<Vec<String>>| models.as_ref().is_none_or(|ids| ids.contains(&model.id));
            let tasks = file.tasks.iter().filter(|task| ours(&task.models)).count() as u64;
            let variants = at_most(file, &model.id);
            cells += variants * tasks;
            vec![model.id.clone(), model.source.clone(), variants.to_string(), tasks.to_string()]
        })
        .collect();
    text += &print::table(&["model", "source", "variants", "tasks"], &rows);
    text + &format!(
        "\n{cells} cells at most; tokens, FLOPs and memory follow once every source is on this machine\n"
    )
}

fn text(plan: &Summary, bucket: &str) -> String {
    let threads = plan.threads.map_or(String::new(), |n| format!(", {n} threads a worker"));
    let mut text = format!("sweep {} on {}{threads}; bucket {bucket}\n\n", plan.sweep, plan.backend);
    let tasks: Vec<Vec<String>> = plan
        .tasks
        .iter()
        .map(|t| {
            vec![t.task.clone(), t.model.clone(), t.split.clone(), t.count.to_string(), t.tokens.to_string()]
        })
        .collect();
    text += &print::table(&["task", "model", "split", "items", "tokens"], &tasks);
    text.push('\n');
    text += &print::table(&SHARDS, &plan.shards.iter().map(shard).collect::<Vec<_>>());
    text.push('\n');
    text += &sums(plan);
    text
}

const SHARDS: [&str; 9] =
    ["model", "variant", "cells", "missing", "tokens", "GFLOP", "memory, at least", "checkpoint", "time"];

fn shard(row: &summary::ShardRow) -> Vec<String> {
    let time = |seconds: f64| {
        if !row.is_to_do() { "-".to_owned() } else { spoken(Duration::from_secs_f64(seconds)) }
    };
    vec![
        row.model.clone(),
        row.variant.clone(),
        row.cells.to_string(),
        row.missing.to_string(),
        (2 * row.calibration_tokens + row.tokens).to_string(),
        format!("{:.1}", (row.prune_flops + row.evaluate_flops) / 1e9),
        if row.missing == 0 { "-".to_owned() } else { mib(row.device_bytes) },
        mib(row.checkpoint_bytes),
        row.seconds.map_or("?".to_owned(), time),
    ]
}

fn sums(plan: &Summary) -> String {
    let todo: Vec<_> = plan.shards.iter().filter(|s| s.is_to_do()).collect();
    let missing = plan.cells - plan.done;
    let mut text = format!(
        "{} variants, {} cells: {} in the bucket, {missing} to do in {} shards\n",
        plan.shards.len(),
        plan.cells,
        plan.done,
        todo.len()
    );
    if todo.is_empty() {
        return text + "nothing is left to do\n";
    }
    let again = todo.iter().filter(|s| s.missing == 0).count();
    if again > 0 {
        text += &format!(
            "{again} variants are pruned again: their checkpoints were dropped, and are asked for\n"
        );
    }
    let tokens: u64 = todo.iter().map(|s| 2 * s.calibration_tokens + s.tokens).sum();
    let flops: f64 = todo.iter().map(|s| s.prune_flops + s.evaluate_flops).fold(0.0, Add::add);
    let memory = todo.iter().map(|s| s.device_bytes).max().unwrap_or(0);
    let bytes: u64 = todo.iter().filter(|s| !s.pruned).map(|s| s.checkpoint_bytes).sum();
    text += &format!(
        "tokens: {tokens} through the decoder (calibration twice: before and after each block is pruned)\n"
    );
    text += &format!("FLOPs: {:.3e}\n", flops);
    let resident = todo.iter().map(|s| s.resident_bytes).max().unwrap_or(0);
    text += &format!(
        "device memory: {} where all weights stay on the device, at least {} (estimates)\n",
        mib(resident),
        mib(memory)
    );
    text += &format!("checkpoints: {} more in the bucket\n", mib(bytes));
    text += &match (plan.seconds, &plan.seconds_from) {
        (Some(seconds), Some(source)) => {
            format!(
                "time: {} on one worker, an estimate from {source}\n",
                spoken(Duration::from_secs_f64(seconds))
            )
        }
        _ => {
            let why = plan.seconds_lack.as_deref().map_or(String::new(), |why| format!(" ({why})"));
            format!("time: unknown until a cell of this sweep is finished{why}; --gflops states a speed\n")
        }
    };
    if let Some(price) = plan.price {
        // Two digits of what is less than a hundredth of the currency.
        let digits =
            if price > 0.0 && price < 0.01 { (1.0 - price.log10().floor()).min(12.0) as usize } else { 2 };
        text += &format!(
            "price: {price:.digits$}, of that time; more workers take less time and cost the same\n"
        );
    }
    text
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
