//! `espalier repair`: everything that a sweep is made of, held against what names it.

use super::{BucketArg, Output, print};
use crate::exit::{Exit, Failure};
use crate::store::repair::{Repaired, repair};
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::Name;
use serde_json::json;

/// Read and verify a sweep's models, inputs, records and all that they name; what is damaged becomes missing again, and the next run does it anew
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier repair phi-demo --dry-run\n  espalier repair phi-demo --bucket s3://results/pruning\n\n\
                  Ends with 4 where something was damaged: those cells are missing until the sweep is run again. A cell or variant without a \
                  record is not measured yet, or was lost: it says how many have one, to be held against `espalier list`."
)]
pub struct Repair {
    /// The sweep's name
    #[arg(value_name = "SWEEP")]
    pub sweep: Name,
    /// Only say what is damaged
    #[arg(long)]
    pub dry_run: bool,
    /// The bucket.
    #[command(flatten)]
    pub bucket: BucketArg,
}

/// Runs the command.
pub async fn run(command: &Repair, output: Output) -> Result<Exit, Failure> {
    let bucket = Bucket::open_existing(&command.bucket.bucket)?;
    let repaired = repair(&bucket, &command.sweep, command.dry_run).await?;
    match output {
        Output::Json => print::json(&json!({
            "sweep": command.sweep,
            "dry_run": command.dry_run,
            "cells": repaired.cells,
            "variants": repaired.variants,
            "objects": repaired.objects,
            "blobs": repaired.blobs,
            "bytes": repaired.bytes,
            "damaged": repaired.damaged,
            "stopped": repaired.stopped,
        })),
        Output::Text => print::text(&text(command, &repaired)),
    }
    Ok(if repaired.damaged.is_empty() { Exit::Whole } else { Exit::Holes })
}

fn text(command: &Repair, repaired: &Repaired) -> String {
    let Repaired { cells, variants, objects, blobs, bytes, damaged, owner, stopped } = repaired;
    let read = format!(
        "{} of {} cells, {} of {} variants have a record; {objects} records, inputs and models, {blobs} blobs, {} read",
        cells.recorded,
        cells.of,
        variants.recorded,
        variants.of,
        print::size(*bytes)
    );
    if damaged.is_empty() {
        return format!("sweep {}: {read}; nothing is damaged\n", command.sweep);
    }
    let mut text: String = damaged.iter().map(|d| format!("{} {}: {}\n", d.kind, d.name, d.why)).collect();
    let sweep = &command.sweep;
    // The name of a coordinator's sweep is not a local run's to take.
    let local = owner.as_ref().is_none_or(|owner| *owner == sweep.local_instance());
    let of = |kind: &str| damaged.iter().any(|d| d.kind == kind);
    let again = match () {
        () if local => "run the sweep again",
        () if of("model") => {
            "submit the sweep again from where its models' files are, which puts them there anew"
        }
        () if of("inputs") => "submit the sweep again, which writes its inputs anew",
        () if *stopped => "it was stopped, so submit the sweep again",
        () => "its coordinator does anew what is asked for; where none is at work, submit the sweep again",
    };
    let count = damaged.len();
    let now = if command.dry_run {
        format!("{count} are damaged; `espalier repair {sweep}` makes them missing, and then: {again}")
    } else {
        format!("{count} were damaged and are missing again: {again}")
    };
    text += &format!("sweep {sweep}: {read}; {now}\n");
    text
}
