//! `espalier logs`: what happened to a sweep, and what workers logged at its shards.

use super::remote::Patience;
use super::sweeps::Named;
use super::{Output, print};
use crate::exit::{Exit, Failure};
use crate::serve::{shard_logs, sweep_logs};
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::{AttemptId, Name};
use espalier_proto::messages as m;
use espalier_proto::sweep::ResolvedSweep;
use serde_json::json;
use std::collections::BTreeMap;
use tonic::Status;

/// Show what happened to a sweep: who asked for what, and why attempts failed; or what workers logged at its shards
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier logs phi-demo\n  espalier logs phi-demo --variant wanda-2:4-s0\n  \
                  espalier logs phi-demo --shard main-1-17\n  espalier logs phi-demo --follow\n  espalier logs phi-demo \
                  --bucket ./espalier-out --variant wanda-2:4-s0   (also of a local run)"
)]
pub struct Logs {
    /// The sweep.
    #[command(flatten)]
    pub named: Named,
    /// What workers logged at shards of this variant, as tables show it, MODEL/NAME where several models have it, or by its key's beginning
    #[arg(long, value_name = "VARIANT")]
    pub variant: Option<String>,
    /// What a worker logged in this attempt at a shard
    #[arg(long, value_name = "ATTEMPT")]
    pub shard: Option<AttemptId>,
    /// What workers log, also from now on, until the sweep is over
    #[arg(long)]
    pub follow: bool,
    /// Read them in this bucket, without a coordinator: those of local runs too. ESPALIER_BUCKET alone does not mean it
    #[arg(long, value_name = "URL", conflicts_with = "follow")]
    pub bucket: Option<String>,
}

/// Shows it.
pub async fn run(command: &Logs, output: Output) -> Result<Exit, Failure> {
    let of_shards = command.variant.is_some() || command.shard.is_some() || command.follow;
    let lines = match (&command.bucket, of_shards) {
        (Some(url), _) => {
            let bucket = Bucket::open_existing(url)?;
            let sweep = submitted(&bucket, &command.named.sweep).await?;
            if of_shards {
                let variant = command.variant.as_deref().unwrap_or_default();
                let pieces = shard_logs::read(&bucket, &sweep, variant, command.shard.as_ref()).await;
                let mut printed = Printed::new(output, false);
                pieces.map_err(Status::from)?.iter().for_each(|piece| printed.add(piece));
                return Ok(Exit::Whole);
            }
            sweep_logs::lines(&bucket, &sweep).await.map_err(Status::from)?
        }
        (None, true) => return shards(command, output).await,
        (None, false) => {
            let request = m::LogsRequest { sweep: command.named.sweep.clone() };
            command.named.coordinator.connect().await?.logs(request).await?.into_inner().lines
        }
    };
    match output {
        Output::Json => {
            print::json(&lines.iter().map(|l| json!({"at": l.at, "text": l.text})).collect::<Vec<_>>())
        }
        Output::Text => lines.iter().for_each(|l| print::text(&format!("{} {}\n", l.at, l.text))),
    }
    Ok(Exit::Whole)
}

async fn submitted(bucket: &Bucket, sweep: &str) -> Result<ResolvedSweep, Failure> {
    let missing = || Failure::NotFound { message: format!("bucket {} has no sweep {sweep}", bucket.url()) };
    let name: Name = sweep.parse().map_err(|_| missing())?;
    sweep_logs::submitted(bucket, &name).await.map_err(Status::from)?.ok_or_else(missing)
}

/// Prints pieces of shards' logs.
struct Printed {
    output: Output,
    /// The attempt whose head was printed last.
    last: Option<String>,
    /// What was printed of each attempt, where it may come again; `None` where nothing does.
    known: Option<BTreeMap<String, Known>>,
}

#[derive(Default)]
struct Known {
    text: String,
    /// Another connection begins with all that is there.
    again: bool,
}

impl Printed {
    fn new(output: Output, follow: bool) -> Self {
        Self { output, last: None, known: follow.then(BTreeMap::new) }
    }

    /// What comes next is told from its beginning.
    fn begin_again(&mut self) {
        self.known.iter_mut().flat_map(BTreeMap::values_mut).for_each(|known| known.again = true);
    }

    fn add(&mut self, piece: &m::ShardLogPiece) {
        let mut text = piece.text.as_str();
        if let Some(known) = &mut self.known {
            let known = known.entry(piece.attempt.clone()).or_default();
            if std::mem::take(&mut known.again) {
                text = shard_logs::news(&known.text, text);
            }
            known.text.push_str(text);
        }
        if text.is_empty() {
            return;
        }
        if self.output == Output::Text && self.last.as_ref() != Some(&piece.attempt) {
            print::text(&format!("== {} {} {}\n", piece.model, piece.variant, piece.attempt));
            self.last = Some(piece.attempt.clone());
        }
        for line in text.lines() {
            match self.output {
                Output::Text => print::text(&format!("{line}\n")),
                Output::Json => {
                    let of = json!({"model": piece.model, "variant": piece.variant, "attempt": piece.attempt, "line": line});
                    print::text(&format!("{of}\n"));
                }
            }
        }
    }
}

/// JSON: an object a line, since there may be no end.
async fn shards(command: &Logs, output: Output) -> Result<Exit, Failure> {
    let request = m::ShardLogsRequest {
        sweep: command.named.sweep.clone(),
        variant: command.variant.clone().unwrap_or_default(),
        attempt: command.shard.as_ref().map(ToString::to_string).unwrap_or_default(),
        follow: command.follow,
    };
    let (mut printed, mut patience) = (Printed::new(output, command.follow), Patience::default());
    loop {
        let ended = follow(command, &request, &mut printed, &mut patience).await;
        if !command.follow || matches!(ended, Ok(true)) {
            return ended.map(|_| Exit::Whole);
        }
        patience.wait(ended.map(|_| ())).await?;
        printed.begin_again();
    }
}

/// Prints what one connection tells; true if there is nothing more to tell.
async fn follow(
    command: &Logs,
    request: &m::ShardLogsRequest,
    printed: &mut Printed,
    patience: &mut Patience,
) -> Result<bool, Failure> {
    let mut remote = command.named.coordinator.connect().await?;
    let mut pieces = remote.shard_logs(request.clone()).await?.into_inner();
    patience.heard();
    while let Some(piece) = pieces.message().await? {
        printed.add(&piece);
    }
    // A coordinator that leaves ends what it tells as one does that has told all.
    let request = m::StateRequest { sweep: command.named.sweep.clone() };
    let state = remote.state(request).await?.into_inner();
    Ok(state.sweeps.iter().all(|sweep| sweep.over))
}
