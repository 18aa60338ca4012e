//! `espalier report`: what a bucket holds of a sweep, finished or not, as tables and figures.

use super::{BucketArg, Output, print};
use crate::exit::{Exit, Failure};
use crate::merge::collect::{CollectError, collect};
use crate::report::terminal;
use crate::report::write::{Report as Rendered, WriteError, write_report, write_to_folder};
use crate::spec::parse::{Changes, load};
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::Name;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Write the report of a sweep, finished or not, and say where it is
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier report phi-demo\n  espalier report sweep.yaml --to report/\n  \
                        espalier report phi-demo --bucket s3://results/pruning --output json"
)]
pub struct Report {
    /// The sweep's name, or its file
    #[arg(value_name = "SWEEP")]
    pub sweep: String,
    /// Where results are.
    #[command(flatten)]
    pub bucket: BucketArg,
    /// Write the files into this folder instead of the bucket
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
}

/// Collects, merges, writes.
pub async fn run(command: &Report, output: Output) -> Result<Exit, Failure> {
    let name = sweep_name(&command.sweep)?;
    let bucket = Bucket::open(&command.bucket.bucket)?;
    let found = collect(&bucket, &name).await?;
    let rendered = Rendered::new(&found);
    let index = match &command.to {
        Some(folder) => write_to_folder(folder, &rendered)?.display().to_string(),
        None => write_report(&bucket, &name, &rendered).await?,
    };
    let table = &rendered.table;
    match output {
        Output::Text => {
            print::text(&terminal::table(table));
            print::text(&format!("{} of {} cells measured\n{index}\n", table.measured, table.cells));
        }
        Output::Json => print::json(&json!({
            "sweep": name.as_str(),
            "index": index,
            "files": rendered.files.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            "measured": table.measured,
            "cells": table.cells,
        })),
    }
    Ok(Exit::Whole)
}

/// The name as given, or as the sweep file says it.
fn sweep_name(sweep: &str) -> Result<Name, Failure> {
    let path = Path::new(sweep);
    if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
        return Ok(load(path, &Changes { set: Vec::new(), limit: None })?.name);
    }
    sweep.parse().map_err(|_| Failure::Usage {
        message: format!("{sweep:?} is neither a sweep's name ([a-z0-9-], 1 to 63 of them) nor a sweep file"),
    })
}

impl From<CollectError> for Failure {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::Bucket(error) => Self::Bucket(error),
            error @ (CollectError::UnknownSweep { .. } | CollectError::Format { .. }) => Self::Collect(error),
        }
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Bucket(error) => Self::Bucket(error),
            WriteError::File { path, source } => Self::Write { path: path.display().to_string(), source },
        }
    }
}
