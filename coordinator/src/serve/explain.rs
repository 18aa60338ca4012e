//! Why a cell is or is not running, in a sentence.

use crate::schedule::{Explanation, Wait};
use espalier_proto::ids::Digest;
use espalier_proto::messages as m;
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::{CellEntry, ResolvedSweep};
use std::collections::{BTreeMap, BTreeSet};

/// Of workers that do not fit so many are named.
const NAMED: usize = 3;

/// The cell and how it stands, for people and for programs. Of what failed the message is known from `met`, by key.
pub(super) fn explained(
    sweep: &ResolvedSweep,
    cell: &CellEntry,
    how: &Explanation,
    met: &BTreeMap<Digest, String>,
) -> m::CellExplanation {
    let variant = sweep.variants.iter().find(|v| v.key == cell.variant);
    let (state, why) = sentence(how, cell, met);
    m::CellExplanation {
        model: variant.map(|v| v.model.clone()).unwrap_or_default(),
        variant: variant.map(|v| v.name.clone()).unwrap_or_default(),
        task: cell.task.clone(),
        cell_key: cell.key.to_string(),
        state: state.to_owned(),
        why,
    }
}

/// The keys whose failures say why these cells were given up.
pub(super) fn blamed<'a>(
    cells: impl IntoIterator<Item = (&'a CellEntry, &'a Explanation)>,
) -> BTreeSet<Digest> {
    let keys = cells.into_iter().flat_map(|(cell, how)| match how {
        Explanation::Quarantined(_) => vec![cell.key.0, cell.variant.0],
        Explanation::Fallen { canary, .. } => vec![canary.0],
        Explanation::Done | Explanation::Running { .. } | Explanation::Waiting { .. } => Vec::new(),
    });
    keys.collect()
}

fn sentence(how: &Explanation, cell: &CellEntry, met: &BTreeMap<Digest, String>) -> (&'static str, String) {
    let why = |code: &FailureCode, keys: &[Digest]| match keys.iter().find_map(|key| met.get(key)) {
        Some(message) => format!("{}: {message}", code.as_str()),
        None => code.as_str().to_owned(),
    };
    match how {
        Explanation::Done => ("done", "its record is in the bucket".to_owned()),
        Explanation::Running { attempt, worker } => {
            ("running", format!("attempt {attempt} on worker {worker}"))
        }
        Explanation::Quarantined(code) => (
            "failed",
            format!(
                "it failed as often as limits.attempts allows ({}); `espalier retry` tries it again",
                why(code, &[cell.key.0, cell.variant.0])
            ),
        ),
        Explanation::Fallen { canary, code } => (
            "failed",
            format!(
                "it was not tried: its model's canary, one variant that is tried before all others, failed ({}); `espalier retry` \
                 tries it again",
                why(code, &[canary.0])
            ),
        ),
        Explanation::Waiting { on } => ("waiting", wait(on)),
    }
}

/// Why nothing of a sweep runs. It says the same for as long as nothing changes.
pub(super) fn waits_for(on: &Wait) -> String {
    match on {
        Wait::NotBefore(_) => "what failed by no fault of its own is tried again in a while".to_owned(),
        on => wait(on),
    }
}

fn wait(on: &Wait) -> String {
    match on {
        Wait::NotBefore(left) => {
            format!(
                "its last try failed by no fault of its own; it is tried again in {} s",
                left.0.div_ceil(1000)
            )
        }
        Wait::Canary { .. } => {
            "one worker tries first whether the model can be loaded, pruned and measured at all".to_owned()
        }
        Wait::Preparing { attempt } => format!("its variant is being prepared by attempt {attempt}"),
        Wait::NoWorkerFits(misfits) if misfits.is_empty() => {
            "no worker is connected; `espalier-worker --coordinator URL` joins from any host".to_owned()
        }
        Wait::NoWorkerFits(misfits) => {
            let each = misfits.iter().take(NAMED).map(|(worker, why)| format!("{worker}: {why}"));
            let more = misfits.len().saturating_sub(NAMED);
            let more = (more > 0).then(|| format!("and {more} more"));
            let each: Vec<String> = each.chain(more).collect();
            format!("no connected worker can run it: {}", each.join("; "))
        }
        Wait::Busy => "every worker that can run it has something else to do".to_owned(),
        Wait::Paused => "the sweep is paused; `espalier resume` goes on".to_owned(),
        Wait::Halted => {
            "the sweep was stopped by `espalier cancel`; submitting it again goes on".to_owned()
        }
        Wait::Doomed => {
            "the sweep was stopped since limits.max_failed_cells of it failed; `espalier retry`, or submitting it again, goes on"
                .to_owned()
        }
        Wait::Reconciling => {
            "the coordinator has just started and waits for what running workers hold".to_owned()
        }
        Wait::Draining => {
            "workers were told to finish and end (`espalier drain`); starting the coordinator again goes on".to_owned()
        }
        Wait::NotWanted => "no sweep asks for it now".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Millis, Misfit, WorkerId};

    #[test]
    fn waiting_is_told_with_what_to_do() {
        assert!(wait(&Wait::NoWorkerFits(Vec::new())).starts_with("no worker is connected"));
        let misfits = (0..5).map(|n| (WorkerId(format!("w{n}")), Misfit::Faulty { faults: 3 })).collect();
        let told = wait(&Wait::NoWorkerFits(misfits));
        assert!(told.contains("w2: ") && told.ends_with("; and 2 more"), "{told}");
        assert!(wait(&Wait::NotBefore(Millis(1500))).ends_with("in 2 s"));
        assert!(wait(&Wait::Paused).contains("espalier resume"));
    }
}
