//! `espalier run`: a sweep file → a report, on this machine: coordinator in this process, one worker process a device.

use super::bars::{Bars, say};
use super::failures::lines;
use super::prepare::fetch;
use super::sweep_args::{SweepArgs, not_empty};
use super::work::{WorkArgs, resolve_options};
use super::{BucketArg, Output, PriceArg, print};
use crate::exit::{Exit, Failure};
use crate::inputs::{resolve, wanted::wanted};
use crate::merge::collect::collect;
use crate::plan::cells::chosen;
use crate::report::write;
use crate::serve::progress::spoken;
use crate::serve::{Devices, LocalRun, Outcome, local, log};
use crate::store::checkpoints::{self, Settled};
use crate::store::inventory;
use espalier_proto::bucket::Bucket;
use espalier_proto::recipe::Backend;
use espalier_proto::sweep::ResolvedSweep;
use serde_json::json;
use std::collections::BTreeSet;

/// Run a sweep on this machine: prune, evaluate, report. What is in the bucket already is not run again
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier run sweep.yaml\n  espalier run sweep.yaml --bucket s3://results/llm \
                        --only model=phi-2,sparsity=0.5\n  espalier run sweep.yaml --limit 20 --devices cpu:1"
)]
pub struct Run {
    /// The sweep.
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// Where results go.
    #[command(flatten)]
    pub bucket: BucketArg,
    /// How the work is done.
    #[command(flatten)]
    pub work: WorkArgs,
    /// What an hour costs.
    #[command(flatten)]
    pub price: PriceArg,
    /// Take the sweep's name from another instance, or from a run that cannot be known to have ended
    #[arg(long)]
    pub take_over: bool,
    /// Resolve `backend: auto`, and what moves on the hub (`main`, branches, tags), anew instead of keeping what the first submission
    /// found
    #[arg(long)]
    pub update: bool,
}

/// Runs the command.
pub async fn run(command: &Run, output: Output) -> Result<Exit, Failure> {
    let file = command.sweep.load()?;
    let bucket = Bucket::connect(&command.bucket.bucket).await?;
    // An entry that is missing is told: the next one would be written in its place.
    inventory::fold(&bucket, &file.name).await?;
    let before = log::before(&bucket, &file.name, command.update).await?;
    let backend = match before.backend(file.backend) {
        Some(backend) => backend,
        None => command.work.backend(file.backend)?,
    };
    fits(&command.work.devices, backend)?;
    let options = resolve_options(&command.work, backend, command.sweep.limit, Some(&before));
    fetch(wanted(&file, &options.hub), &command.work).await?;
    let mut bars = Bars::new();
    let sweep = resolve(&file, &options, &bucket, &mut |what| bars.preparing(what)).await?;
    bars.clear();
    before.moved(&sweep).iter().for_each(|note| say(&format!("note: {note}")));
    let only = chosen(&sweep, &command.sweep.only());
    let cells = only.clone();
    not_empty(only.as_ref().map(|cells| cells.len()))?;
    let run = LocalRun {
        sweep: &sweep,
        bucket: &bucket,
        only,
        take_over: command.take_over,
        worker_bin: command.work.worker_bin.clone(),
        devices: command.work.devices.clone(),
    };
    let outcome = local::run(run, |progress| bars.show(progress)).await;
    bars.clear();
    let outcome = outcome?;
    tell(&outcome);
    let report = write_report(&bucket, &sweep, command.price).await?;
    if !outcome.interrupted {
        let given_up = inventory::fold(&bucket, &sweep.name).await?.given_up;
        let cells = if outcome.halted { Some(BTreeSet::new()) } else { cells };
        let asked = checkpoints::asked(&sweep, cells.as_ref(), &given_up);
        let Settled { exported, dropped } = checkpoints::settle(&bucket, &sweep, &asked).await?;
        if exported > 0 {
            say(&format!("checkpoints: {exported} exported as Hugging Face folders"));
        }
        if dropped > 0 {
            say(&format!("checkpoints: {dropped} dropped, which no sweep needs any more"));
        }
    }
    match output {
        Output::Text => print::text(&format!("report: {report}\n")),
        Output::Json => print::json(&as_json(&sweep, &outcome, &report)),
    }
    Ok(exit(&outcome))
}

/// Refuses devices of another kind than the sweep's.
fn fits(devices: &Devices, backend: Backend) -> Result<(), Failure> {
    let wrong = match (devices, backend) {
        (Devices::Cuda(_), Backend::Cpu) => "cuda",
        (Devices::Cpu(_), Backend::Cuda) => "cpu",
        (Devices::All | Devices::Cpu(_), Backend::Cpu) | (Devices::All | Devices::Cuda(_), Backend::Cuda) => {
            return Ok(());
        }
    };
    let message = format!(
        "--devices: found {wrong}, expected devices of the sweep's backend, {}; a sweep keeps the backend of its first \
         submission unless --update",
        backend.as_str()
    );
    Err(Failure::Usage { message })
}

/// The code of what came of a run.
pub fn exit(outcome: &Outcome) -> Exit {
    match () {
        () if outcome.interrupted => Exit::Interrupted,
        () if outcome.whole() => Exit::Whole,
        () => Exit::Holes,
    }
}

/// Says on stderr what came of a run.
pub fn tell(outcome: &Outcome) {
    let Outcome { wanted, before, done, remade, .. } = outcome;
    let units = if *wanted == 1 { outcome.unit.to_owned() } else { format!("{}s", outcome.unit) };
    let took = spoken(outcome.took);
    if before == wanted {
        let ran = match remade {
            0 => "nothing was run".to_owned(),
            n => format!("checkpoints that had been dropped were made again ({n}), in {took}"),
        };
        say(&format!("{done} of {wanted} {units} done, all of them before; {ran}"));
    } else {
        say(&format!("{done} of {wanted} {units} done, {} of them in this run, in {took}", done - before));
    }
    lines(&outcome.failed, "the report names each").iter().for_each(|line| say(line));
    if outcome.halted {
        say("stopped: as many cells failed as limits.max_failed_cells allows");
    }
    if outcome.interrupted {
        say("interrupted: what is finished is in the bucket, and the same command goes on from there");
    }
    for trouble in &outcome.trouble {
        say(&format!("bucket: {trouble}"));
    }
}

fn as_json(sweep: &ResolvedSweep, outcome: &Outcome, report: &str) -> serde_json::Value {
    let failed = outcome.failed.iter().map(|f| {
        json!({"model": f.model, "variant": f.variant, "task": f.task, "reason": f.code.as_str(), "message": f.message})
    });
    json!({
        "sweep": sweep.name,
        "cells": outcome.wanted,
        "done": outcome.done,
        "done_before": outcome.before,
        "failed": failed.collect::<Vec<_>>(),
        "halted": outcome.halted,
        "interrupted": outcome.interrupted,
        "seconds": outcome.took.as_secs_f64(),
        "report": report,
    })
}

/// Writes the sweep's report; gives where it is.
async fn write_report(bucket: &Bucket, sweep: &ResolvedSweep, price: PriceArg) -> Result<String, Failure> {
    let found = collect(bucket, &sweep.name).await?;
    let report = write::Report::new(&found, price.gpu_hour_price);
    Ok(write::write_report(bucket, &sweep.name, &report).await?)
}
