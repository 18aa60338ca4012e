//! `espalier logs`: what happened to a sweep, and what workers logged at its shards.

use super::sweeps::Named;
use super::{Output, print};
use crate::exit::{Exit, Failure};
use espalier_proto::messages as m;
use serde_json::json;

/// Show what happened to a sweep: who asked for what, and why attempts failed; or what workers logged at its shards
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier logs phi-demo\n  espalier logs phi-demo --variant wanda-2:4-s0\n  \
                  espalier logs phi-demo --shard main-1-17\n  espalier logs phi-demo --follow"
)]
pub struct Logs {
    /// The sweep.
    #[command(flatten)]
    pub named: Named,
    /// What workers logged at shards of this variant, as tables show it, or by its key's beginning
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,
    /// What a worker logged in this attempt at a shard
    #[arg(long, value_name = "ATTEMPT")]
    pub shard: Option<String>,
    /// What workers log, also from now on, until the sweep is over
    #[arg(long)]
    pub follow: bool,
}

/// Shows it.
pub async fn run(command: &Logs, output: Output) -> Result<Exit, Failure> {
    if command.variant.is_some() || command.shard.is_some() || command.follow {
        return shards(command, output).await;
    }
    let request = m::LogsRequest { sweep: command.named.sweep.clone() };
    let logs = command.named.coordinator.connect().await?.logs(request).await?.into_inner();
    match output {
        Output::Json => {
            print::json(&logs.lines.iter().map(|l| json!({"at": l.at, "text": l.text})).collect::<Vec<_>>())
        }
        Output::Text => logs.lines.iter().for_each(|l| print::text(&format!("{} {}\n", l.at, l.text))),
    }
    Ok(Exit::Whole)
}

/// JSON: an object a line, since there may be no end.
async fn shards(command: &Logs, output: Output) -> Result<Exit, Failure> {
    let request = m::ShardLogsRequest {
        sweep: command.named.sweep.clone(),
        variant: command.variant.clone().unwrap_or_default(),
        attempt: command.shard.clone().unwrap_or_default(),
        follow: command.follow,
    };
    let mut pieces = command.named.coordinator.connect().await?.shard_logs(request).await?.into_inner();
    let mut last = None;
    while let Some(piece) = pieces.message().await? {
        if output == Output::Text && last.as_ref() != Some(&piece.attempt) {
            print::text(&format!("== {} {} {}\n", piece.model, piece.variant, piece.attempt));
            last = Some(piece.attempt.clone());
        }
        for line in piece.text.lines() {
            match output {
                Output::Text => print::text(&format!("{line}\n")),
                Output::Json => {
                    let of = json!({"model": piece.model, "variant": piece.variant, "attempt": piece.attempt, "line": line});
                    print::text(&format!("{of}\n"));
                }
            }
        }
    }
    Ok(Exit::Whole)
}
