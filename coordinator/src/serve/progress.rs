//! How far a sweep is and how long it will still take, from measured speed alone.
//!
//! In: statuses with the time at which they were seen. Out: [`Progress`]. Where nothing was measured yet there is no estimate.

use super::canary::canaries;
use super::status::Status;
use crate::hub;
use crate::schedule::{AttemptView, Phase};
use espalier_proto::ids::{CellKey, Name, VariantKey};
use espalier_proto::sweep::ResolvedSweep;
use std::collections::BTreeMap;
use std::time::Duration;

/// An estimate is only made from at least this much running, and this share of the work.
const ENOUGH_TIME: Duration = Duration::from_secs(2);
const ENOUGH_WORK: f64 = 0.01;

/// A sweep at one moment, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// Cells of the grid that this run is about.
    pub cells: usize,
    /// Of those, done.
    pub done: usize,
    /// Of those, given up.
    pub failed: usize,
    /// Share that is done of all work that was not given up, 0 to 1, running work included.
    pub share: f64,
    /// Time left at the speed measured in this run.
    pub left: Option<Duration>,
    /// One line for each running attempt.
    pub running: Vec<String>,
    /// Why nothing runs, where that is known.
    pub waits_for: Option<String>,
    /// What is wrong with the bucket now.
    pub trouble: Option<String>,
}

/// Turns statuses into progress.
#[derive(Clone, Debug)]
pub struct Estimator {
    sweep: Name,
    variants: BTreeMap<VariantKey, String>,
    tasks: Vec<String>,
    /// Every cell with its task's place in `tasks`, in the order of keys; there may be a million.
    cells: Vec<(CellKey, usize)>,
    /// Work that was done when the sweep was first looked at.
    first: Option<f64>,
    /// When it was last looked at, and the work done and whether anything ran then.
    last: Option<(Duration, f64, bool)>,
    /// Time that passed while something ran: waiting for workers says nothing about speed.
    ran: Duration,
}

impl Estimator {
    /// For this sweep.
    pub fn new(sweep: &ResolvedSweep) -> Self {
        let several = sweep.models.len() > 1;
        let label = |model: &str, name: &str| {
            if several { format!("{model} {name}") } else { name.to_owned() }
        };
        let mut variants: BTreeMap<VariantKey, String> =
            sweep.variants.iter().map(|v| (v.key, label(&v.model, &v.name))).collect();
        for (key, canary) in canaries(sweep) {
            let model = sweep.models.iter().find(|m| m.digest == canary.spec.model);
            variants.insert(key, format!("{} canary", model.map_or("?", |m| m.id.as_str())));
        }
        let tasks: Vec<String> = sweep.tasks.iter().map(|t| t.label.clone()).collect();
        let places: BTreeMap<&str, usize> = tasks.iter().enumerate().map(|(n, t)| (t.as_str(), n)).collect();
        let place = |task: &str| places.get(task).copied().unwrap_or(usize::MAX);
        let mut cells: Vec<_> = sweep.cells.iter().map(|c| (c.key, place(&c.task))).collect();
        cells.sort_unstable();
        // Two tasks may ask for the same; the last one's name is shown.
        cells.reverse();
        cells.dedup_by_key(|(key, _)| *key);
        cells.reverse();
        Self {
            sweep: sweep.name.clone(),
            variants,
            tasks,
            cells,
            first: None,
            last: None,
            ran: Duration::ZERO,
        }
    }

    fn task(&self, cell: CellKey) -> Option<&str> {
        let at = self.cells.binary_search_by_key(&cell, |(key, _)| *key).ok()?;
        self.tasks.get(self.cells[at].1).map(String::as_str)
    }

    /// All that the attempt is at is the sweep's.
    pub fn has(&self, attempt: &AttemptView) -> bool {
        self.knows(attempt.variant) && attempt.begun.iter().all(|cell| self.task(*cell).is_some())
    }

    /// The variant is one of the sweep's.
    pub fn knows(&self, variant: VariantKey) -> bool {
        self.variants.contains_key(&variant)
    }

    /// The progress that `status`, seen `elapsed` after the start, shows.
    pub fn progress(&mut self, status: &Status, elapsed: Duration) -> Option<Progress> {
        let view = status.view.sweeps.get(&self.sweep)?;
        let (all, finished) = (view.work.0.saturating_sub(view.forgone) as f64, view.work.1 as f64);
        // What is neither in the bucket nor left to running attempts was done by them and is not committed yet.
        let ours = || status.view.attempts.iter().filter(|a| self.variants.contains_key(&a.variant));
        let partial: f64 = ours().map(|a| a.work_done as f64).sum();
        let done = finished + partial;
        let share = if all > 0.0 { (done / all).min(1.0) } else { 1.0 };
        // What waits behind others at its worker does not run.
        let running: Vec<String> =
            ours().filter(|a| a.phase != Phase::Waiting).map(|a| self.line(a)).collect();
        if let Some((at, was, ran)) = self.last.replace((elapsed, done, !running.is_empty()))
            && (ran || done > was)
        {
            self.ran += elapsed.saturating_sub(at);
        }
        let (took, gained) = (self.ran, (done - *self.first.get_or_insert(done)).max(0.0));
        let measured = took >= ENOUGH_TIME && all > 0.0 && gained / all >= ENOUGH_WORK;
        let left = measured.then(|| took.mul_f64(((all - done).max(0.0) / gained).min(1e6)));
        Some(Progress {
            cells: view.cells,
            done: view.done,
            failed: view.lost,
            share,
            left: left.filter(|_| !view.over),
            running,
            waits_for: None,
            trouble: Some(status.trouble().join("; ")).filter(|trouble| !trouble.is_empty()),
        })
    }

    /// What an attempt is doing, in a line.
    pub fn line(&self, attempt: &AttemptView) -> String {
        let name = self.variants.get(&attempt.variant).map_or("?", String::as_str);
        let (done, total) = attempt.progress;
        let share = |unit: &str| match total {
            0 => String::new(),
            _ => format!("{unit} {done}/{total}"),
        };
        let tasks: Vec<&str> = attempt.begun.iter().filter_map(|c| self.task(*c)).collect();
        match attempt.phase {
            Phase::Waiting => format!("{name}: next"),
            Phase::Loading => format!("{name}: loading"),
            Phase::Pruning => format!("{name}: pruning{}", share(", block")),
            // What another sweep wants of it has no name in this one.
            Phase::Evaluating if tasks.is_empty() => format!("{name}: evaluating{}", share("")),
            Phase::Evaluating => format!("{name}: {}{}", tasks.join(", "), share("")),
            Phase::Committing | Phase::Finished => format!("{name}: writing"),
        }
    }
}

/// How far a fetch from the hub is, in a line.
pub fn fetching(progress: &hub::Progress) -> String {
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let (done, total) = (mib(progress.done), mib(progress.total));
    let left = progress.left.map(|left| format!(", about {} left", spoken(left))).unwrap_or_default();
    format!("fetching {}, {done:.1} of {total:.1} MiB{left}", progress.what)
}

/// A duration as people say it: `42 s`, `3 min 20 s`, `2 h 05 min`.
pub fn spoken(duration: Duration) -> String {
    let s = duration.as_secs();
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {:02} s", s / 60, s % 60),
        _ => format!("{} h {:02} min", s / 3600, s % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{SweepView, View};
    use espalier_proto::sweep::{Checkpoints, Limits, SWEEP_FORMAT};

    fn estimator() -> Estimator {
        Estimator::new(&ResolvedSweep {
            format: SWEEP_FORMAT,
            written_by: String::new(),
            data: Default::default(),
            revisions: Default::default(),
            name: "demo".parse().unwrap(),
            models: Vec::new(),
            tasks: Vec::new(),
            variants: Vec::new(),
            cells: Vec::new(),
            checkpoints: Checkpoints::Compact,
            limits: Limits::default(),
        })
    }

    fn status(done: u64) -> Status {
        let view = SweepView { cells: 10, done: done as usize, work: (10, done), ..SweepView::default() };
        let view = View { sweeps: [("demo".parse().unwrap(), view)].into(), ..View::default() };
        Status { view, ..Status::default() }
    }

    #[test]
    fn time_left_follows_from_the_speed_of_this_run_and_not_from_what_was_done_before() {
        let mut estimator = estimator();
        // 4 of 10 were there at the start; 2 more in 10 s leave 4 for another 20 s.
        assert_eq!(estimator.progress(&status(4), Duration::ZERO).unwrap().left, None);
        let left = estimator.progress(&status(6), Duration::from_secs(10)).unwrap().left;
        assert_eq!(left, Some(Duration::from_secs(20)));
    }

    #[test]
    fn time_in_which_nothing_ran_is_no_work() {
        let mut estimator = estimator();
        estimator.progress(&status(4), Duration::ZERO);
        // No worker for ten minutes; then 2 in 10 s.
        estimator.progress(&status(4), Duration::from_secs(600));
        let left = estimator.progress(&status(6), Duration::from_secs(610)).unwrap().left;
        assert_eq!(left, Some(Duration::from_secs(20)));
    }

    #[test]
    fn what_was_given_up_is_no_work_that_is_left() {
        let mut estimator = estimator();
        estimator.progress(&status(0), Duration::ZERO);
        // 4 of 5 that can be done took 20 s: the last one takes 5 s more.
        let mut half = status(4);
        half.view.sweeps.values_mut().for_each(|view| view.forgone = 5);
        let progress = estimator.progress(&half, Duration::from_secs(20)).unwrap();
        assert_eq!((progress.share, progress.left), (0.8, Some(Duration::from_secs(5))));
    }

    #[test]
    fn durations_are_spoken_in_their_own_unit() {
        let spoken: Vec<_> = [9, 200, 7500].map(|s| spoken(Duration::from_secs(s))).into();
        assert_eq!(spoken, ["9 s", "3 min 20 s", "2 h 05 min"]);
    }
}
