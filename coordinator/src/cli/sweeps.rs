//! `espalier list | status | watch | explain | cancel | pause | resume | retry | drain`: looks at a coordinator's sweeps
//! and steers them.

use super::bars::{Bars, say};
use super::failures::lines;
use super::remote::{CoordinatorArg, Patience};
use super::{Output, print};
use crate::exit::{Exit, Failure};
use crate::serve::Progress;
use crate::serve::progress::spoken;
use crate::spec::only::Only;
use espalier_proto::messages as m;
use serde_json::json;
use std::time::Duration;

/// Show every sweep of a coordinator
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  espalier list --coordinator http://HOST:7420")]
pub struct List {
    /// The coordinator.
    #[command(flatten)]
    pub coordinator: CoordinatorArg,
}

/// Show one sweep, or the coordinator with its workers
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  espalier status\n  espalier status phi-demo --output json")]
pub struct Status {
    /// The sweep [default: all, and the workers]
    #[arg(value_name = "SWEEP")]
    pub sweep: Option<String>,
    /// The coordinator.
    #[command(flatten)]
    pub coordinator: CoordinatorArg,
}

/// A sweep of a coordinator.
#[derive(Clone, Debug, clap::Args)]
pub struct Named {
    /// The sweep's name
    #[arg(value_name = "SWEEP")]
    pub sweep: String,
    /// The coordinator.
    #[command(flatten)]
    pub coordinator: CoordinatorArg,
}

/// Show a sweep until nothing of it is left to do; ends with 0 if it is whole, 4 if cells are missing
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  espalier submit sweep.yaml && espalier watch phi-demo")]
pub struct Watch {
    /// The sweep.
    #[command(flatten)]
    pub named: Named,
}

/// Say why cells are or are not running
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  espalier explain phi-demo --only sparsity=2:4,task=logiqa")]
pub struct Explain {
    /// Only these cells
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub only: Vec<Only>,
    /// The sweep.
    #[command(flatten)]
    pub named: Named,
}

/// Stop a sweep, or a part of it: nothing more of it is begun until it is submitted again. What is finished stays
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  espalier cancel phi-demo\n  espalier cancel phi-demo --only model=phi-2")]
pub struct Cancel {
    /// Only these cells; the rest of the sweep goes on, and `espalier submit --only` brings them back
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub only: Vec<Only>,
    /// The sweep.
    #[command(flatten)]
    pub named: Named,
}

/// Begin nothing new of a sweep until it is resumed
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  espalier pause phi-demo")]
pub struct Pause {
    /// The sweep.
    #[command(flatten)]
    pub named: Named,
}

/// Go on with a paused sweep
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  espalier resume phi-demo")]
pub struct Resume {
    /// The sweep.
    #[command(flatten)]
    pub named: Named,
}

/// Try again what was given up
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  espalier retry phi-demo --only model=phi-2")]
pub struct Retry {
    /// Only these cells
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub only: Vec<Only>,
    /// The sweep.
    #[command(flatten)]
    pub named: Named,
}

/// Let every worker finish what it holds and end. Until the coordinator is started again nothing is given out, and workers that join end
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  espalier drain")]
pub struct Drain {
    /// The coordinator.
    #[command(flatten)]
    pub coordinator: CoordinatorArg,
}

/// Shows every sweep.
pub async fn list(command: &List, output: Output) -> Result<Exit, Failure> {
    let state = command.coordinator.connect().await?.state(m::StateRequest::default()).await?.into_inner();
    match output {
        Output::Json => print::json(&state.sweeps.iter().map(in_short).collect::<Vec<_>>()),
        Output::Text => print::text(&table(&state.sweeps)),
    }
    Ok(Exit::Whole)
}

/// Shows one sweep, or everything.
pub async fn status(command: &Status, output: Output) -> Result<Exit, Failure> {
    let request = m::StateRequest { sweep: command.sweep.clone().unwrap_or_default() };
    let state = command.coordinator.connect().await?.state(request).await?.into_inner();
    match output {
        Output::Json => print::json(&json!({
            "instance": state.instance,
            "epoch": state.epoch,
            "bucket": state.bucket_url,
            "sweeps": state.sweeps.iter().map(as_json).collect::<Vec<_>>(),
            "workers": state.workers.iter().map(|w| {
                json!({
                    "id": w.id, "device": w.device, "host": w.host, "state": w.state, "silent_s": w.silent_s, "doing": w.doing
                })
            }).collect::<Vec<_>>(),
            "trouble": state.trouble,
        })),
        Output::Text => {
            print::text(&format!(
                "instance {}, epoch {}, bucket {}\n\n",
                state.instance, state.epoch, state.bucket_url
            ));
            print::text(&table(&state.sweeps));
            for sweep in &state.sweeps {
                sweep.running.iter().for_each(|line| print::text(&format!("  {line}\n")));
                if !sweep.unreadable.is_empty() {
                    print::text(&format!("  {} cannot be taken up: {}\n", sweep.name, sweep.unreadable));
                }
                if !sweep.waits_for.is_empty() {
                    print::text(&format!("  {} waits: {}\n", sweep.name, sweep.waits_for));
                }
                if !sweep.unfinished.is_empty() {
                    print::text(&format!("  {}: {}\n", sweep.name, sweep.unfinished));
                }
                failures(sweep).iter().for_each(|line| print::text(&format!("  {line}\n")));
            }
            let rows: Vec<Vec<String>> = state
                .workers
                .iter()
                .map(|w| vec![w.id.clone(), w.device.clone(), worker_state(w), w.doing.join("; ")])
                .collect();
            print::text("\n");
            print::text(&print::table(&["worker", "device", "state", "doing"], &rows));
            state.trouble.iter().for_each(|t| print::text(&format!("bucket: {t}\n")));
        }
    }
    Ok(Exit::Whole)
}

/// Shows a sweep until it is over. A coordinator that goes away may come back: it is waited for.
pub async fn watch(command: &Watch, output: Output) -> Result<Exit, Failure> {
    let (mut bars, mut last, mut patience) = (Bars::new(), None::<m::SweepState>, Patience::default());
    let state = loop {
        let ended = follow(command, &mut bars, &mut last, &mut patience).await;
        if let Some(state) = last.take_if(|state| state.over) {
            break state;
        }
        // It has ended, or the connection to it has.
        if let Err(error) = patience.wait(ended).await {
            bars.clear();
            return Err(error);
        }
    };
    bars.clear();
    match output {
        Output::Json => print::json(&as_json(&state)),
        Output::Text => {
            let part = state.grid.saturating_sub(state.cells);
            let part = if part > 0 {
                format!("; {part} more of its grid are not asked for (--only)")
            } else {
                String::new()
            };
            say(&format!("{} of {} cells done{part}", state.done, state.cells));
            failures(&state).iter().for_each(|line| say(line));
            if !state.unfinished.is_empty() {
                say(&state.unfinished);
            }
            if state.doomed {
                say("stopped before its end: limits.max_failed_cells of its cells failed");
            } else if state.halted && !is_whole(&state) {
                say("stopped before its end by `espalier cancel`");
            }
        }
    }
    Ok(if is_whole(&state) { Exit::Whole } else { Exit::Holes })
}

/// Shows it for as long as this coordinator tells of it.
async fn follow(
    command: &Watch,
    bars: &mut Bars,
    last: &mut Option<m::SweepState>,
    patience: &mut Patience,
) -> Result<(), Failure> {
    let request = m::WatchRequest { sweep: command.named.sweep.clone() };
    let mut states = command.named.coordinator.connect().await?.watch(request).await?.into_inner();
    while let Some(state) = states.message().await? {
        patience.heard();
        bars.show(&progress(&state));
        *last = Some(state);
    }
    Ok(())
}

/// Says why cells stand as they do.
pub async fn explain(command: &Explain, output: Output) -> Result<Exit, Failure> {
    let only = command.only.iter().map(ToString::to_string).collect();
    let request = m::ExplainRequest { sweep: command.named.sweep.clone(), only };
    let cells = command.named.coordinator.connect().await?.explain(request).await?.into_inner().cells;
    match output {
        Output::Json => print::json(
            &cells
                .iter()
                .map(|c| {
                    json!({"model": c.model, "variant": c.variant, "task": c.task, "cell_key": c.cell_key,
                           "state": c.state, "why": c.why})
                })
                .collect::<Vec<_>>(),
        ),
        Output::Text => {
            let rows: Vec<Vec<String>> =
                cells.into_iter().map(|c| vec![c.model, c.variant, c.task, c.state, c.why]).collect();
            print::text(&print::table(&["model", "variant", "task", "state", "why"], &rows));
        }
    }
    Ok(Exit::Whole)
}

/// Cancels, pauses, resumes or retries a sweep.
pub async fn steer(named: &Named, action: m::Action, only: &[Only], output: Output) -> Result<Exit, Failure> {
    let only = only.iter().map(ToString::to_string).collect();
    let request = m::ControlRequest { action: action.into(), sweep: named.sweep.clone(), only };
    let state =
        named.coordinator.connect().await?.control(request).await?.into_inner().state.unwrap_or_default();
    match output {
        Output::Json => print::json(&as_json(&state)),
        Output::Text => print::text(&table(&[state])),
    }
    Ok(Exit::Whole)
}

/// Lets workers end.
pub async fn drain(command: &Drain, output: Output) -> Result<Exit, Failure> {
    let request = m::ControlRequest { action: m::Action::Drain.into(), ..Default::default() };
    command.coordinator.connect().await?.control(request).await?;
    match output {
        Output::Json => print::json(&json!({"draining": true})),
        Output::Text => print::text("workers finish what they hold and end\n"),
    }
    Ok(Exit::Whole)
}

/// A sweep's state for programs.
pub fn as_json(state: &m::SweepState) -> serde_json::Value {
    let mut said = in_short(state);
    let failures = state.failures.iter().map(|f| {
        json!({"model": f.model, "variant": f.variant, "task": f.task, "reason": f.code, "message": f.message})
    });
    said["failures"] = failures.collect();
    said
}

/// The same without each failure: of a sweep there may be as many as it has cells.
fn in_short(state: &m::SweepState) -> serde_json::Value {
    json!({
        "name": state.name,
        "cells": state.cells,
        "done": state.done,
        "failed": state.failed,
        "share": state.share,
        "seconds_left": (state.left_s > 0.0).then_some(state.left_s),
        "running": state.running,
        "waits_for": (!state.waits_for.is_empty()).then_some(&state.waits_for),
        "state": word(state),
        "grid": state.grid,
        "unreadable": (!state.unreadable.is_empty()).then_some(&state.unreadable),
        "stopped_by_failures": state.doomed,
        "priority": state.priority,
        "reported": state.reported,
        "settled": state.settled,
        "unfinished": (!state.unfinished.is_empty()).then_some(&state.unfinished),
    })
}

/// All that is asked for is there: its cells, and of one of checkpoints its variants.
fn is_whole(state: &m::SweepState) -> bool {
    // Of one that was stopped with all of its cells there, checkpoints may still be to be made.
    let stopped = state.halted && state.share < 1.0;
    state.over && state.done == state.cells && state.failures.is_empty() && !stopped
}

fn word(state: &m::SweepState) -> &'static str {
    match state {
        s if !s.unreadable.is_empty() => "unreadable",
        s if is_whole(s) && s.cells < s.grid => "part",
        s if is_whole(s) => "whole",
        s if s.halted => "stopped",
        s if s.over => "holes",
        s if s.paused => "paused",
        s if s.running.is_empty() => "waiting",
        _ => "running",
    }
}

fn table(sweeps: &[m::SweepState]) -> String {
    // Where all are alike the column says nothing.
    let priority = sweeps.iter().any(|s| s.priority != 0);
    let rows: Vec<Vec<String>> = sweeps
        .iter()
        .map(|s| {
            let left = if s.left_s > 0.0 { spoken(Duration::from_secs_f64(s.left_s)) } else { String::new() };
            let share = format!("{:.0} %", s.share * 100.0);
            let cells = format!("{} of {}", s.done, s.cells);
            let mut row = vec![s.name.clone(), word(s).to_owned(), cells, share, s.failed.to_string(), left];
            row.extend(priority.then(|| s.priority.to_string()));
            row
        })
        .collect();
    let header = ["sweep", "state", "cells", "work", "failed", "left", "priority"];
    print::table(&header[..header.len() - usize::from(!priority)], &rows)
}

fn failures(state: &m::SweepState) -> Vec<String> {
    lines(&state.failures, &format!("espalier explain {}", state.name))
}

fn progress(state: &m::SweepState) -> Progress {
    Progress {
        cells: state.cells as usize,
        done: state.done as usize,
        failed: state.failed as usize,
        share: state.share,
        left: (state.left_s > 0.0).then(|| Duration::from_secs_f64(state.left_s)),
        running: state.running.clone(),
        waits_for: Some(state.waits_for.clone()).filter(|why| !why.is_empty()),
        trouble: Some(state.trouble.clone()).filter(|why| !why.is_empty()),
    }
}

fn worker_state(worker: &m::WorkerState) -> String {
    match worker.state.as_str() {
        "silent" => format!("silent for {}", spoken(Duration::from_secs_f64(worker.silent_s))),
        state => state.to_owned(),
    }
}
