//! `espalier gc`: what nobody needs any more, out of a bucket.

use super::{BucketArg, Output, print};
use crate::exit::{Exit, Failure};
use crate::store::collect::{Garbage, Reason, carry_out, garbage};
use espalier_proto::bucket::Bucket;
use espalier_proto::layout::Owner;
use serde_json::json;
use std::collections::BTreeMap;

/// Remove what no sweep of any instance names, and blobs that no record names, once they are a week old
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  espalier gc --dry-run\n  espalier gc --bucket s3://results/pruning")]
pub struct Gc {
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
    /// The bucket.
    #[command(flatten)]
    pub bucket: BucketArg,
}

/// Runs the command.
pub async fn run(command: &Gc, output: Output) -> Result<Exit, Failure> {
    let bucket = Bucket::open_existing(&command.bucket.bucket)?;
    let mut garbage = garbage(&bucket).await?;
    if !command.dry_run {
        garbage = carry_out(&bucket, garbage).await?;
    }
    match output {
        Output::Json => print::json(&as_json(command, &garbage)),
        Output::Text => print::text(&text(command, &garbage)),
    }
    Ok(Exit::Whole)
}

fn text(command: &Gc, garbage: &Garbage) -> String {
    let mut sums: BTreeMap<(&str, Reason), (usize, u64)> = BTreeMap::new();
    for (owner, reason, objects) in &garbage.gone {
        let sum = sums.entry((kind(owner), *reason)).or_default();
        sum.0 += objects.len();
        sum.1 += objects.iter().map(|meta| meta.size).sum::<u64>();
    }
    let rows = sums.into_iter().map(|((kind, reason), (count, bytes))| {
        vec![kind.to_owned(), why(reason).to_owned(), count.to_string(), print::size(bytes)]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let mut text = String::new();
    if !rows.is_empty() {
        text += &format!("{}\n", print::table(&["kind", "why", "objects", "bytes"], &rows));
    }
    let done = if command.dry_run { "would remove" } else { "removed" };
    text += &format!(
        "{done} {}; {} more once a week old\n",
        print::size(garbage.bytes()),
        print::size(garbage.young)
    );
    text
}

fn as_json(command: &Gc, garbage: &Garbage) -> serde_json::Value {
    let objects = garbage.gone.iter().flat_map(|(owner, reason, objects)| {
        let (kind, why) = (kind(owner), why(*reason));
        objects
            .iter()
            .map(move |m| json!({"path": m.location.as_ref(), "bytes": m.size, "kind": kind, "why": why}))
    });
    json!({
        "dry_run": command.dry_run,
        "bytes": garbage.bytes(),
        "young_bytes": garbage.young,
        "objects": objects.collect::<Vec<_>>(),
    })
}

fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Unreferenced => "no sweep names it",
        Reason::Unnamed => "no record names it",
    }
}

fn kind(owner: &Owner) -> &'static str {
    crate::store::usage::kind(owner)
}
