//! `espalier rm`: a sweep and what only it names, out of a bucket.

use super::bars::say;
use super::{BucketArg, Output, print};
use crate::exit::{Exit, Failure};
use crate::store::Inventory;
use crate::store::remove::{Removal, carry_out, refuse_if_running, removal, unreadable};
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::Name;
use serde_json::json;
use std::io::{BufRead, IsTerminal};

/// Remove a sweep from a bucket, with every variant, cell, model and input that only it names
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier rm phi-demo --dry-run\n  espalier rm phi-demo --yes --bucket s3://results/pruning"
)]
pub struct Rm {
    /// The sweep's name
    #[arg(value_name = "SWEEP")]
    pub sweep: Name,
    /// Only say what would go
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
    /// Also a sweep that an instance may be working on; and one whose log or spec is damaged, but of that what it measured stays
    #[arg(long)]
    pub force: bool,
    /// The bucket.
    #[command(flatten)]
    pub bucket: BucketArg,
}

/// Runs the command.
pub async fn run(command: &Rm, output: Output) -> Result<Exit, Failure> {
    let bucket = Bucket::open_existing(&command.bucket.bucket)?;
    let damaged = if command.force { unreadable(&bucket, &command.sweep).await? } else { None };
    let (removal, damage) = match damaged {
        Some((removal, why)) => (removal, Some(why)),
        None => {
            let inventory = Inventory::read(&bucket).await?;
            let removal = removal(&bucket, &inventory, &command.sweep)?;
            if !command.force && !command.dry_run {
                refuse_if_running(&bucket, &inventory, &command.sweep).await?;
            }
            (removal, None)
        }
    };
    let objects = removal.objects().count();
    let what = format!("{objects} objects, {}", print::size(removal.bytes()));
    if !command.dry_run {
        if !command.yes {
            confirm(&format!("remove sweep {} from {}: {what}? [y/N] ", command.sweep, bucket.url()))?;
        }
        carry_out(&bucket, &removal).await?;
    }
    match output {
        Output::Json => print::json(&as_json(command, &removal, damage.as_deref())),
        Output::Text => {
            let done = if command.dry_run { "would remove" } else { "removed" };
            let stays = match damage {
                None => format!("{} stay, other sweeps name them", print::size(removal.shared)),
                Some(why) => format!(
                    "what it needs is not known ({why}), so all that it measured stays: submitting it again finds it, and \
                     `espalier gc` removes what is a week old and no other sweep names"
                ),
            };
            print::text(&format!("{done} {what} of sweep {}; {stays}\n", command.sweep));
        }
    }
    Ok(Exit::Whole)
}

fn as_json(command: &Rm, removal: &Removal, damage: Option<&str>) -> serde_json::Value {
    let objects = removal.objects().map(|meta| json!({"path": meta.location.as_ref(), "bytes": meta.size}));
    json!({
        "sweep": command.sweep,
        "dry_run": command.dry_run,
        "bytes": removal.bytes(),
        "shared_bytes": removal.shared,
        "damage": damage,
        "objects": objects.collect::<Vec<_>>(),
    })
}

/// Asks on a terminal; elsewhere nobody would answer.
fn confirm(question: &str) -> Result<(), Failure> {
    let no = |message: &str| Failure::Usage { message: message.to_owned() };
    if !std::io::stdin().is_terminal() {
        return Err(no("nobody can be asked here: say --yes, or --dry-run to see what would go"));
    }
    say(question);
    let mut answer = String::new();
    // An answer that cannot be read is none.
    let _ = std::io::stdin().lock().read_line(&mut answer);
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(no("nothing was removed")),
    }
}
