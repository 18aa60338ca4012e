//! How many of what there are, for metrics. Read-only; looks at everything, so it is made when somebody asks.

use super::event::Phase;
use super::state::{Schedule, Variant, Worker};
use espalier_proto::ids::Name;
use espalier_proto::recipe::Backend;
use std::collections::BTreeMap;

/// Counts by state; every state is there, with 0 if need be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// `idle`, `busy`, `draining`, `faulty`; `silent` for longer than a lease comes before all others.
    pub workers: BTreeMap<&'static str, u64>,
    /// Variants that sweeps want: `loading`, `pruning`, `evaluating`, `committing` of those with an attempt (by the one furthest on),
    /// `waiting` for a worker, `resting` (paused, stopped, after a failure, or since workers are to end), `done`, `failed`.
    pub shards: BTreeMap<&'static str, u64>,
    /// Of those, with an attempt or waiting for a worker, by backend: as many workers would have something to do.
    pub wanted: BTreeMap<&'static str, u64>,
    /// Of every sweep.
    pub sweeps: BTreeMap<Name, SweepCensus>,
    /// Attempts begun in this epoch.
    pub attempts: u64,
    /// Calls of idle workers that are open.
    pub held: u64,
}

/// Counts of one sweep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SweepCensus {
    /// Cells in the bucket.
    pub done: u64,
    /// Cells given up.
    pub failed: u64,
    /// Cells that are neither.
    pub missing: u64,
    /// Work in all, and of what is in the bucket, in the unit of costs.
    pub work: (u64, u64),
    /// One of [`SWEEPS`].
    pub state: &'static str,
    /// Of the work in all, what was given up.
    pub forgone: u64,
}

/// What a sweep can be: nothing of it is left to do; stopped by its user or by its limits; paused; an attempt has cells of it; none has.
pub const SWEEPS: [&str; 5] = ["over", "stopped", "paused", "running", "waiting"];

const WORKERS: [&str; 5] = ["idle", "busy", "draining", "faulty", "silent"];
const SHARDS: [&str; 8] =
    ["loading", "pruning", "evaluating", "committing", "waiting", "resting", "done", "failed"];

impl Schedule {
    /// Counts.
    pub fn census(&self) -> Census {
        let states: Vec<(&Variant, &'static str)> =
            self.variants.each().filter_map(|variant| Some((variant, self.shard_state(variant)?))).collect();
        let busy = states.iter().filter(|(_, state)| !matches!(*state, "failed" | "done" | "resting"));
        let workers = self.workers.each().filter(|worker| !self.has_left(worker));
        let mut census = Census {
            workers: count(&WORKERS, workers.map(|worker| self.worker_state(worker))),
            shards: count(&SHARDS, states.iter().map(|(_, state)| *state)),
            wanted: count(
                &[Backend::Cpu, Backend::Cuda].map(Backend::as_str),
                busy.map(|(variant, _)| variant.needs.backend.as_str()),
            ),
            attempts: self.last_attempt,
            held: self.holds.len() as u64,
            ..Census::default()
        };
        for (name, sweep) in &self.sweeps {
            let sum = self.sum(sweep.no);
            let missing = (sweep.cells.len() as u64).saturating_sub(sum.done + sum.lost);
            let counts = SweepCensus {
                done: sum.done,
                failed: sum.lost,
                missing,
                work: sum.all,
                state: match () {
                    () if sweep.halted && sum.open > 0 => "stopped",
                    () if sweep.told => "over",
                    () if sweep.halted => "stopped",
                    () if sweep.paused => "paused",
                    () if sum.running > 0 => "running",
                    () => "waiting",
                },
                forgone: sum.forgone,
            };
            census.sweeps.insert(name.clone(), counts);
        }
        census
    }

    fn worker_state(&self, worker: &Worker) -> &'static str {
        match worker {
            w if self.is_silent(w) => "silent",
            w if w.faults >= super::fit::NODE_FAULTS => "faulty",
            w if w.draining => "draining",
            w if w.attempts.is_empty() => "idle",
            _ => "busy",
        }
    }

    /// `None` of what no sweep wants.
    fn shard_state(&self, variant: &Variant) -> Option<&'static str> {
        let tallies = &variant.entry.tallies;
        if tallies.is_empty() {
            return None;
        }
        let phase = variant.attempts.iter().map(|id| self.attempts[id].phase).max();
        Some(match phase {
            Some(Phase::Waiting) => "waiting",
            Some(Phase::Loading) => "loading",
            Some(Phase::Pruning) => "pruning",
            Some(Phase::Evaluating) => "evaluating",
            Some(Phase::Committing | Phase::Finished) => "committing",
            None if tallies.iter().all(|(_, t)| !t.open && t.given_up) => "failed",
            None if tallies.iter().all(|(_, t)| !t.open) => "done",
            // Once all workers are to end, none is to be started for it either.
            None if self.draining => "resting",
            None if variant.entry.waits.as_ref().is_some_and(|(_, nos)| !nos.is_empty()) => "waiting",
            None => "resting",
        })
    }
}

/// How many of each state; every state is there.
fn count(names: &[&'static str], states: impl Iterator<Item = &'static str>) -> BTreeMap<&'static str, u64> {
    let mut counts = vec![0; names.len()];
    for state in states {
        counts[names.iter().position(|name| *name == state).expect("every state is listed")] += 1;
    }
    names.iter().copied().zip(counts).collect()
}

#[cfg(test)]
mod tests {
    use super::super::story::*;
    use super::super::*;

    #[test]
    fn a_sweep_runs_while_an_attempt_has_cells_of_it_and_not_behind_another_or_paused() {
        let mut story = Story::of(grid(&[1]));
        let state = |story: &Story| story.schedule.census().sweeps[&sweep()].state;
        assert_eq!(state(&story), "waiting");
        let order = story.given(1);
        assert_eq!(state(&story), "running");
        story.event(Event::Pause(sweep()));
        assert_eq!(state(&story), "paused");
        story.event(Event::Resume(sweep()));
        story.sync(1, vec![evaluating(&order, &[cell(0, 0)], &[])]);
        assert_eq!(state(&story), "over");
        let mut story = Story::of(grid(&[1]));
        story.event(Event::Cancel(sweep()));
        assert_ne!(state(&story), "running");
    }

    #[test]
    fn once_workers_are_to_end_only_what_runs_wants_one() {
        let mut story = Story::of(grid(&[1, 1]));
        story.given(1);
        let wanted = |story: &Story| story.schedule.census().wanted.values().sum::<u64>();
        assert_eq!(wanted(&story), 2);
        story.event(Event::Drain);
        assert_eq!(wanted(&story), 1);
        assert_eq!(story.schedule.census().shards["waiting"], 0, "no alert is due");
    }
}
