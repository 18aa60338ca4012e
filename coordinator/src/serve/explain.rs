//! Why a cell is or is not running, in a sentence.

use super::status::Status;
use crate::schedule::{Explanation, Wait, WorkerId};
use espalier_proto::ids::Digest;
use espalier_proto::messages as m;
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::{CellEntry, ResolvedSweep};
use std::collections::{BTreeMap, BTreeSet};

/// Of workers that do not fit so many are named.
const NAMED: usize = 3;

/// The cell and how it stands, for people and for programs. Of what failed it is known from `met` why, by key; `cancelled`: the sweep is.
pub(super) fn explained(
    sweep: &ResolvedSweep,
    cell: &CellEntry,
    how: &Explanation,
    met: &BTreeMap<Digest, String>,
    cancelled: bool,
) -> m::CellExplanation {
    let variant = sweep.variants.iter().find(|v| v.key == cell.variant);
    let next = if cancelled {
        "the sweep was cancelled, and submitting it again tries it again"
    } else {
        "`espalier retry` tries it again"
    };
    let (state, why) = sentence(how, cell, met, next);
    m::CellExplanation {
        model: variant.map(|v| v.model.clone()).unwrap_or_default(),
        variant: variant.map(|v| v.name.clone()).unwrap_or_default(),
        task: cell.task.clone(),
        cell_key: cell.key.to_string(),
        state: state.to_owned(),
        why,
    }
}

/// The keys whose failures say why these cells were given up, or wait for another try.
pub(super) fn blamed<'a>(
    cells: impl IntoIterator<Item = (&'a CellEntry, &'a Explanation)>,
) -> BTreeSet<Digest> {
    let keys = cells.into_iter().flat_map(|(cell, how)| match how {
        Explanation::Quarantined(_)
        | Explanation::Waiting { on: Wait::NotBefore { .. } | Wait::Elsewhere(_) } => {
            vec![cell.key.0, cell.variant.0]
        }
        Explanation::Fallen { canary, .. } => vec![canary.0],
        Explanation::Done | Explanation::Running { .. } | Explanation::Waiting { .. } => Vec::new(),
    });
    keys.collect()
}

/// `next`: what tries again what failed.
fn sentence(
    how: &Explanation,
    cell: &CellEntry,
    met: &BTreeMap<Digest, String>,
    next: &str,
) -> (&'static str, String) {
    let last = |keys: &[Digest]| keys.iter().find_map(|key| met.get(key)).cloned();
    let why = |code: &FailureCode, keys: &[Digest]| last(keys).unwrap_or_else(|| code.as_str().to_owned());
    match how {
        Explanation::Done => ("done", "its record is in the bucket".to_owned()),
        Explanation::Running { attempt, worker } => {
            ("running", format!("attempt {attempt} on worker {worker}"))
        }
        Explanation::Quarantined(code) => (
            "failed",
            format!(
                "it failed as often as limits.attempts allows ({}); {next}",
                why(code, &[cell.key.0, cell.variant.0])
            ),
        ),
        Explanation::Fallen { canary, code } => (
            "failed",
            format!(
                "it was not tried: its model's canary, one variant that is tried before all others, failed ({}); {next}",
                why(code, &[canary.0])
            ),
        ),
        Explanation::Waiting { on } => ("waiting", wait(on, last(&[cell.key.0, cell.variant.0]))),
    }
}

/// Why nothing of a sweep runs. It says the same for as long as nothing changes.
pub(super) fn waits_for(on: &Wait, status: &Status, sweep: &ResolvedSweep) -> String {
    match on {
        Wait::NotBefore { variant, .. } => {
            let own = status.faults.get(&variant.0);
            let cells = || sweep.cells.iter().filter(|cell| cell.variant == *variant);
            let last = own.or_else(|| cells().find_map(|cell| status.faults.get(&cell.key.0)));
            let last = last.map(|fault| format!(": {}", met(fault.code, &fault.message)));
            let last = last.unwrap_or_default();
            format!("what failed by no fault of its own is tried again in a while{last}")
        }
        on => wait(on, None),
    }
}

/// A failure in a line.
pub(super) fn met(code: FailureCode, message: &str) -> String {
    format!("{}: {message}", code.as_str())
}

/// The first of them, and how many more there are.
fn named(all: impl ExactSizeIterator<Item = String>) -> String {
    let more = all.len().saturating_sub(NAMED);
    let more = (more > 0).then(|| format!("and {more} more"));
    all.take(NAMED).chain(more).collect::<Vec<_>>().join("; ")
}

/// `last`: what the last try met.
fn wait(on: &Wait, last: Option<String>) -> String {
    match on {
        Wait::NotBefore { left, .. } => {
            let last = last.map(|last| format!(" ({last})")).unwrap_or_default();
            let left = left.0.div_ceil(1000);
            format!("its last try failed by no fault of its own{last}; it is tried again in {left} s")
        }
        Wait::Turn { worker } => format!("worker {worker} holds it, and does others first"),
        Wait::Canary { .. } => {
            "one worker tries first whether the model can be loaded, pruned and measured at all".to_owned()
        }
        Wait::Preparing { attempt } => format!("its variant is being prepared by attempt {attempt}"),
        Wait::NoWorkerFits(misfits) if misfits.is_empty() => {
            "no worker is connected; `espalier-worker --coordinator URL` joins from any host".to_owned()
        }
        Wait::NoWorkerFits(misfits) => {
            let each = named(misfits.iter().map(|(worker, why)| format!("{worker}: {why}")));
            format!("no worker can run it: {each}")
        }
        Wait::Busy => "every worker that can run it has something else to do".to_owned(),
        Wait::Elsewhere(failed_at) => {
            let last = last.map(|last| format!(" ({last})")).unwrap_or_default();
            let at = named(failed_at.iter().map(WorkerId::to_string));
            format!("it failed at {at}{last} and goes to another worker, but those have something else to do")
        }
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
        Wait::NotWanted => "the sweep does not ask for it now; `espalier submit --only` does".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Millis, Misfit};
    use espalier_proto::ids::VariantKey;

    #[test]
    fn waiting_is_told_with_what_to_do() {
        let told = |on: &Wait| wait(on, None);
        assert!(told(&Wait::NoWorkerFits(Vec::new())).starts_with("no worker is connected"));
        let misfits =
            (0..5).map(|n| (WorkerId(format!("w{n}").into()), Misfit::Faulty { faults: 3 })).collect();
        let unfit = told(&Wait::NoWorkerFits(misfits));
        assert!(unfit.contains("w2: ") && unfit.ends_with("; and 2 more"), "{unfit}");
        let later = Wait::NotBefore { left: Millis(1500), variant: VariantKey(Digest::of(b"v")) };
        assert!(told(&later).ends_with("its own; it is tried again in 2 s"));
        let met = wait(&later, Some(met(FailureCode::StoreError, "no answer")));
        assert!(met.contains("its own (store_error: no answer); it is tried"), "{met}");
        let elsewhere =
            wait(&Wait::Elsewhere(vec![WorkerId("w1".into())]), Some("compute_lost: gone".into()));
        assert!(
            elsewhere.starts_with("it failed at w1 (compute_lost: gone) and goes to another"),
            "{elsewhere}"
        );
        assert!(told(&Wait::Paused).contains("espalier resume"));
    }
}
