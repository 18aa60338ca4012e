//! `espalier du`: a bucket's bytes, by sweep and by kind.

use super::{BucketArg, Output, print};
use crate::exit::{Exit, Failure};
use crate::store::Inventory;
use crate::store::usage::{Usage, usage};
use espalier_proto::bucket::Bucket;

/// Show what fills a bucket: bytes by sweep, its own and shared with others, and by kind
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  espalier du --bucket s3://results/pruning --output json")]
pub struct Du {
    /// The bucket.
    #[command(flatten)]
    pub bucket: BucketArg,
}

/// Runs the command.
pub async fn run(command: &Du, output: Output) -> Result<Exit, Failure> {
    let bucket = Bucket::open_existing(&command.bucket.bucket)?;
    let usage = usage(&Inventory::read(&bucket).await?);
    match output {
        Output::Json => print::json(&usage),
        Output::Text => print::text(&text(&usage, bucket.url())),
    }
    Ok(Exit::Whole)
}

fn text(usage: &Usage, url: &str) -> String {
    let mut text = format!("bucket {url}: {}\n", print::size(usage.bytes));
    if !usage.sweeps.is_empty() {
        let rows: Vec<Vec<String>> = usage
            .sweeps
            .iter()
            .map(|s| vec![s.sweep.to_string(), print::size(s.exclusive), print::size(s.shared)])
            .collect();
        text += &format!("\n{}", print::table(&["sweep", "its own", "shared"], &rows));
    }
    let kinds = usage.kinds.iter().map(|(kind, bytes)| vec![(*kind).to_owned(), print::size(*bytes)]);
    let rows: Vec<Vec<String>> = kinds.collect();
    if !rows.is_empty() {
        text += &format!("\n{}", print::table(&["kind", "bytes"], &rows));
    }
    text + &format!("\nnamed by no sweep: {}\n", print::size(usage.unreferenced))
}
