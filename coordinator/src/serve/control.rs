//! What users tell a coordinator about a sweep that it has: cancel, pause, resume, retry; and that its workers are to end. What a stopped
//! sweep cannot do is refused, the rest is written to the sweep's log and told to the schedule.

use super::canary::{Canary, canaries};
use super::daemon;
use super::refuse::Refusal;
use super::submit::{only, some};
use super::sweeps::Sweeps;
use crate::plan::cells::chosen;
use crate::schedule::Event;
use crate::spec::only::Only;
use espalier_proto::ids::{Digest, Name};
use espalier_proto::messages as m;
use espalier_proto::sweep::{LogEvent, ResolvedSweep};
use std::collections::BTreeSet;

/// Does it; the sweep that it was about, if it was about one.
pub(super) async fn control(sweeps: &Sweeps, request: &m::ControlRequest) -> Result<Option<Name>, Refusal> {
    let action = request.action();
    if action == m::Action::Drain {
        sweeps.in_place().await.map_err(Refusal::sweeps)?;
        daemon::drain(sweeps);
        return Ok(None);
    }
    let sweep = sweeps.sweep(&request.sweep).map_err(Refusal::sweeps)?;
    let name = sweep.name.clone();
    let only = only(&request.only)?;
    let cells = some(chosen(&sweep, &only))?;
    let part = action == m::Action::Cancel && !only.is_all();
    let (entry, event) = match action {
        m::Action::Cancel => (LogEvent::Cancel { only: None }, Event::Cancel(name.clone())),
        m::Action::Pause => (LogEvent::Pause, Event::Pause(name.clone())),
        m::Action::Resume => (LogEvent::Resume, Event::Resume(name.clone())),
        m::Action::Retry => {
            if let Some(cells) = &cells
                && !sweeps.wants_any(&name, cells).map_err(Refusal::sweeps)?
            {
                let why = format!(
                    "none of these cells is asked for of sweep {name}: submitting it with --only asks for them"
                );
                return Err(Refusal::bad_text(why));
            }
            let keys = keys(&sweep, &only);
            (LogEvent::Retry { keys: keys.clone() }, Event::Retry { sweep: name.clone(), keys })
        }
        m::Action::Drain | m::Action::Unspecified => {
            return Err(Refusal::usage("action: expected cancel, pause, resume, retry or drain"));
        }
    };
    let now = sweeps.driver().status().borrow().clone();
    let view = now.view.sweeps.get(&name);
    let halted = view.filter(|view| view.halted);
    let goes_on = match action {
        // Paused, it would stay so when it goes on.
        m::Action::Resume | m::Action::Pause => {
            halted.map(|view| if view.doomed { "`espalier retry`" } else { "submitting it again" })
        }
        m::Action::Retry => halted.filter(|view| !view.doomed).map(|_| "submitting it again"),
        m::Action::Cancel if part => halted.filter(|view| !view.doomed).map(|_| "submitting it again"),
        _ => None,
    };
    if let Some(goes_on) = goes_on {
        return Err(Refusal::bad_text(format!("sweep {name} was stopped; {goes_on} goes on with it")));
    }
    match action {
        // Also where nothing is to be stopped: what is damaged, or another task, is not measured then.
        m::Action::Cancel if part => sweeps.cancel_part(&name, &only).await.map_err(Refusal::sweeps)?,
        _ => sweeps.steer(&name, entry, event).await.map_err(Refusal::sweeps)?,
    }
    Ok(Some(name))
}

/// The keys of the chosen cells and of their variants; none for everything.
fn keys(sweep: &ResolvedSweep, only: &Only) -> Vec<Digest> {
    let Some(cells) = chosen(sweep, only) else { return Vec::new() };
    let of = sweep.cells.iter().filter(|c| cells.contains(&c.key));
    let mut keys: BTreeSet<Digest> = of.flat_map(|c| [c.key.0, c.variant.0]).collect();
    // Whoever asks for a variant asks for its model's canary.
    let asked = |canary: &Canary| canary.variants.iter().any(|v| keys.contains(&v.0));
    let canaries: Vec<Digest> =
        canaries(sweep).iter().filter(|(_, canary)| asked(canary)).map(|(key, _)| key.0).collect();
    keys.extend(canaries);
    keys.into_iter().collect()
}
