//! `espalier report`: what a bucket holds of a sweep, finished or not, as tables and figures.

use super::prepare::prepare;
use super::remote::CoordinatorArg;
use super::sweep_args::not_empty;
use super::work::WorkArgs;
use super::{BucketArg, Output, PriceArg, print};
use crate::exit::{Exit, Failure};
use crate::merge::collect::{CollectError, Found, collect, collect_grid};
use crate::plan::cells::part;
use crate::report::terminal;
use crate::report::write::{Report as Rendered, WriteError, write_files, write_report, write_to_folder};
use crate::spec::only::Only;
use crate::spec::parse::{Changes, load};
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::Name;
use espalier_proto::messages::ReportRequest;
use espalier_proto::remote::Reach;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Write the report of a sweep, finished or not, and say where it is
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit code: 0 if every cell of it is measured, 4 if some are not; the report is written either way.\n\n\
                        Examples:\n  espalier report phi-demo\n  espalier report sweep.yaml --to report/\n  \
                        espalier report phi-demo --only model=phi-2,task=logiqa\n  \
                        espalier report phi-demo --bucket s3://results/pruning --output json"
)]
pub struct Report {
    /// The sweep's name, or its file
    #[arg(value_name = "SWEEP")]
    pub sweep: String,
    /// Only these cells, such as `model=phi-2,sparsity=0.5`; such a part is shown, and written only with --to
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub only: Vec<Only>,
    /// Of a sweep file: what the bucket holds of it with a value changed, as `plan` has it; may be repeated
    #[arg(long, value_name = "PATH=VALUE")]
    pub set: Vec<String>,
    /// Of a sweep file: what the bucket holds of it with at most N windows or items of every task
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Where results are.
    #[command(flatten)]
    pub bucket: BucketArg,
    /// Ask this coordinator instead of a bucket; where no bucket is named, ESPALIER_COORDINATOR says it too
    #[arg(long, value_name = "URL", conflicts_with_all = ["set", "limit"])]
    pub coordinator: Option<String>,
    /// How it is believed.
    #[command(flatten)]
    pub reach: Reach,
    /// What an hour costs.
    #[command(flatten)]
    pub price: PriceArg,
    /// Write the files into this folder instead of the bucket
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// The machine, where a changed file is resolved.
    #[command(flatten)]
    pub work: WorkArgs,
}

/// Collects, merges, writes.
pub async fn run(command: &Report, output: Output) -> Result<Exit, Failure> {
    if let Some(coordinator) = asked(command) {
        return ask(command, &coordinator, output).await;
    }
    let bucket = Bucket::open(&command.bucket.bucket)?;
    let (mut found, changed) = found(command, &bucket).await?;
    let only = command.only.iter().fold(Only::default(), |all, one| all.and(one));
    if !only.is_all() {
        found.sweep = part(&found.sweep, &only);
        not_empty(Some(found.sweep.cells.len()))?;
    }
    let name = found.sweep.name.clone();
    let rendered = Rendered::new(&found, command.price.gpu_hour_price);
    let index = match &command.to {
        Some(folder) => Some(write_to_folder(folder, &rendered)?.display().to_string()),
        // The sweep's report in the bucket is of all that was submitted.
        None if changed || !only.is_all() => None,
        None => Some(write_report(&bucket, &name, &rendered).await?),
    };
    let table = &rendered.table;
    match output {
        Output::Text => {
            print::text(&terminal::table(table));
            let place = index.as_deref().unwrap_or("a part: --to DIR writes its report");
            print::text(&format!("{} of {} cells measured\n{place}\n", table.measured, table.cells));
        }
        Output::Json => print::json(&json!({
            "sweep": name.as_str(),
            "index": index,
            "files": rendered.files.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            "measured": table.measured,
            "cells": table.cells,
        })),
    }
    Ok(if table.measured == table.cells { Exit::Whole } else { Exit::Holes })
}

/// The coordinator that is asked, if one is.
fn asked(command: &Report) -> Option<String> {
    let here = command.bucket.is_named() || !command.set.is_empty() || command.limit.is_some();
    let meant = || std::env::var("ESPALIER_COORDINATOR").ok().filter(|url| !url.is_empty() && !here);
    command.coordinator.clone().or_else(meant)
}

/// The report as a coordinator makes it.
async fn ask(command: &Report, coordinator: &str, output: Output) -> Result<Exit, Failure> {
    let Some(folder) = &command.to else {
        let message =
            "--coordinator, or ESPALIER_COORDINATOR: expected --to DIR, where the report's files are written"
                .to_owned();
        return Err(Failure::Usage { message });
    };
    let only = command.only.iter().map(ToString::to_string).collect();
    let request =
        ReportRequest { sweep: command.sweep.clone(), only, gpu_hour_price: command.price.gpu_hour_price };
    let remote = CoordinatorArg { coordinator: coordinator.to_owned(), reach: command.reach.clone() };
    let report = remote.connect().await?.report(request).await?.into_inner();
    let files: Vec<(&str, &[u8])> =
        report.files.iter().map(|f| (f.name.as_str(), f.content.as_slice())).collect();
    let index = write_files(folder, &files)?.display().to_string();
    match output {
        Output::Text => {
            print::text(&format!("{} of {} cells measured\n{index}\n", report.measured, report.cells));
        }
        Output::Json => print::json(&json!({
            "sweep": command.sweep, "index": index, "files": files.iter().map(|(name, _)| *name).collect::<Vec<_>>(),
            "measured": report.measured, "cells": report.cells,
        })),
    }
    Ok(if report.measured == report.cells { Exit::Whole } else { Exit::Holes })
}

/// The report of what the bucket holds of a submitted sweep, or of a part of it.
pub async fn render(
    bucket: &Bucket,
    name: &Name,
    only: &Only,
    gpu_hour_price: Option<f64>,
) -> Result<Rendered, CollectError> {
    let mut found = collect(bucket, name).await?;
    if !only.is_all() {
        found.sweep = part(&found.sweep, only);
    }
    Ok(Rendered::new(&found, gpu_hour_price))
}

/// What the bucket holds of the sweep, and whether the command changes what the sweep is.
async fn found(command: &Report, bucket: &Bucket) -> Result<(Found, bool), Failure> {
    let path = Path::new(&command.sweep);
    let is_file = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
    let changed = !command.set.is_empty() || command.limit.is_some();
    if is_file {
        let file = load(path, &Changes { set: command.set.clone(), limit: command.limit })?;
        if !changed {
            return Ok((collect(bucket, &file.name).await?, false));
        }
        let prepared = prepare(&file, bucket, &command.work).await?;
        return Ok((collect_grid(bucket, prepared.sweep).await?, true));
    }
    if changed {
        let message = format!("--set, --limit: found {}, expected the sweep's file to change", command.sweep);
        return Err(Failure::Usage { message });
    }
    let name: Name = command.sweep.parse().map_err(|_| Failure::Usage {
        message: format!(
            "{:?} is neither a sweep's name ([a-z0-9-], 1 to 63 of them) nor a sweep file",
            command.sweep
        ),
    })?;
    Ok((collect(bucket, &name).await?, false))
}

impl From<CollectError> for Failure {
    fn from(error: CollectError) -> Self {
        match error {
            CollectError::Bucket(error) => Self::Bucket(error),
            error @ CollectError::UnknownSweep { .. } => Self::Collect(error),
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
