//! `espalier submit`: a sweep file and the local files that it reads go to a coordinator.

use super::bars::{Bars, say};
use super::local_files::{local_files, send};
use super::remote::CoordinatorArg;
use super::sweep_args::SweepArgs;
use super::sweeps::as_json;
use super::work::digests;
use super::{Output, print};
use crate::exit::{Exit, Failure};
use espalier_proto::messages as m;

/// Give a sweep to a coordinator. Submitting again extends or resumes it; only what is missing is run
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  espalier submit sweep.yaml --coordinator http://HOST:7420\n  \
                  espalier submit sweep.yaml --priority 5 --only model=phi-2\n  espalier watch NAME")]
pub struct Submit {
    /// The sweep.
    #[command(flatten)]
    pub sweep: SweepArgs,
    /// The coordinator.
    #[command(flatten)]
    pub coordinator: CoordinatorArg,
    /// Larger goes first; sweeps of one priority share fairly [default: what it was, 0 at first]
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pub priority: Option<i32>,
    /// Take the sweep's name from another instance
    #[arg(long)]
    pub take_over: bool,
    /// Resolve `backend: auto`, and what moves on the hub (`main`, branches, tags), anew instead of keeping what the first submission
    /// found
    #[arg(long)]
    pub update: bool,
}

/// Sends and queues.
pub async fn run(command: &Submit, output: Output) -> Result<Exit, Failure> {
    // What is wrong with the file itself is said without a coordinator.
    let file = command.sweep.load()?;
    let files = local_files(&file)?;
    let path = std::path::absolute(&command.sweep.file).unwrap_or_else(|_| command.sweep.file.clone());
    let text = std::fs::read_to_string(&path)
        .map_err(|source| Failure::Read { path: path.display().to_string(), source })?;
    let mut remote = command.coordinator.connect().await?;
    let mut bars = Bars::new();
    let files = send(&mut remote, files, digests().as_deref(), |what| bars.preparing(what)).await?;
    let request = m::SubmitRequest {
        text,
        path: path.display().to_string(),
        set: command.sweep.set.clone(),
        limit: command.sweep.limit.unwrap_or(0),
        only: command.sweep.only.iter().map(ToString::to_string).collect(),
        files,
        take_over: command.take_over,
        update: command.update,
        priority: command.priority.unwrap_or_default(),
        keep_priority: command.priority.is_none(),
    };
    let mut updates = remote.submit(request).await?.into_inner();
    let mut last = m::SubmitUpdate::default();
    while let Some(update) = updates.message().await? {
        bars.preparing(&update.doing);
        last = update;
    }
    bars.clear();
    let Some(state) = last.state else {
        let why = "its answer ended before it said what became of the sweep; its log says why";
        return Err(tonic::Status::internal(why).into());
    };
    match output {
        Output::Json => print::json(&as_json(&state)),
        Output::Text => {
            let left = state.cells - state.done.min(state.cells);
            print::text(&format!("{}: {} cells, {left} of them to do\n", state.name, state.cells));
            last.notes.iter().for_each(|note| say(&format!("note: {note}")));
            say(&format!("espalier watch {}   shows how it goes on", state.name));
        }
    }
    Ok(Exit::Whole)
}
