//! A coordinator of a random world: a schedule, and beside it what the world remembers of what the schedule was told and said.

use super::coverage::{Pair, pairs};
use crate::schedule::{Event, FaultKind, Millis, Schedule, Sync, Timing, WorkerId};
use espalier_proto::ids::{AttemptId, CellKey, Digest, Name, VariantKey};
use espalier_proto::records::FailureCode;
use std::collections::{BTreeMap, BTreeSet};

/// What a sweep wants, as it was last told.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) cells: BTreeSet<CellKey>,
    pub(super) alone: BTreeSet<VariantKey>,
    pub(super) variants: BTreeSet<VariantKey>,
    /// The canaries of its variants.
    pub(super) after: BTreeMap<VariantKey, VariantKey>,
    pub(super) attempts: u32,
    pub(super) max_failed_cells: u32,
    pub(super) priority: i32,
    pub(super) paused: bool,
    pub(super) cancelled: bool,
    /// Stopped by its failures.
    pub(super) doomed: bool,
    /// The same before the last event.
    pub(super) was_doomed: bool,
}

impl Told {
    pub(super) fn stopped(&self) -> bool {
        self.cancelled || self.doomed
    }
}

/// The failures of a key, counted apart from the schedule.
#[derive(Clone, Debug, Default)]
pub(super) struct Count {
    pub(super) blamed: u32,
    pub(super) excused: u32,
    pub(super) given_up: bool,
    /// Losses among them, with their weight: taken back when the attempt turns out to live.
    pub(super) losses: BTreeMap<AttemptId, FaultKind>,
    pub(super) too_small: u64,
    pub(super) failed_at: BTreeSet<WorkerId>,
    /// Kinds of device on which it came out otherwise.
    pub(super) unlike: BTreeSet<String>,
}

pub(super) struct Coordinator {
    pub(super) schedule: Schedule,
    pub(super) epoch: u64,
    pub(super) timing: Timing,
    since: u64,
    pub(super) calls: u64,
    /// The last attempt's number before the last event.
    pub(super) before: u64,
    pub(super) superseded: bool,
    pub(super) draining: bool,
    pub(super) told: BTreeMap<Name, Told>,
    /// The newest call of every worker.
    pub(super) heard: BTreeMap<WorkerId, Sync>,
    pub(super) counts: BTreeMap<Digest, Count>,
    /// Every cell that an attempt said it has begun, and when first; a late call may say otherwise for a while.
    pub(super) ever_begun: BTreeMap<(AttemptId, CellKey), u64>,
    /// Keys that their failures give up.
    pub(super) due: BTreeSet<Digest>,
    /// What a submission has just said was given up.
    pub(super) restored: BTreeMap<Digest, FailureCode>,
    pub(super) kept: BTreeSet<(AttemptId, Digest)>,
    /// Pairs of event and state that were met, where that is watched.
    pub(super) coverage: Option<BTreeSet<Pair>>,
}

impl Coordinator {
    pub(super) fn new(epoch: u64, timing: Timing, since: u64) -> Self {
        Self {
            schedule: Schedule::new("main".parse().unwrap(), epoch, timing),
            epoch,
            timing,
            since,
            calls: 0,
            before: 0,
            superseded: false,
            draining: false,
            told: BTreeMap::new(),
            heard: BTreeMap::new(),
            counts: BTreeMap::new(),
            ever_begun: BTreeMap::new(),
            due: BTreeSet::new(),
            restored: BTreeMap::new(),
            kept: BTreeSet::new(),
            coverage: None,
        }
    }

    /// The attempt began by the last event.
    pub(super) fn is_fresh(&self, id: &AttemptId) -> bool {
        id.epoch == self.epoch && id.n > self.before
    }

    pub(super) fn time(&self, now: u64) -> Millis {
        Millis(now - self.since)
    }

    pub(super) fn reconciled(&self, now: u64) -> bool {
        self.time(now) >= self.timing.reconcile
    }

    /// Remembers what the schedule is about to be told.
    pub(super) fn note(&mut self, now: u64, event: &Event) {
        if let Some(mut coverage) = self.coverage.take() {
            coverage.extend(pairs(&self.schedule, self.time(now), event));
            self.coverage = Some(coverage);
        }
        match event {
            Event::Submit(s) => {
                self.restored.clone_from(&s.given_up);
                let told = Told {
                    cells: s.variants.iter().flat_map(|v| v.cells.iter().map(|c| c.key)).collect(),
                    alone: s.variants.iter().filter(|v| v.wanted_alone).map(|v| v.key).collect(),
                    variants: s.variants.iter().map(|v| v.key).collect(),
                    after: s.variants.iter().filter_map(|v| Some((v.key, v.after?))).collect(),
                    attempts: s.limits.attempts,
                    max_failed_cells: s.limits.max_failed_cells,
                    priority: s.priority,
                    paused: s.paused,
                    cancelled: s.cancelled,
                    doomed: false,
                    was_doomed: false,
                };
                // A log that does not say of a key that it was given up says that it was to be tried again.
                if !self.told.contains_key(&s.sweep) {
                    for (key, count) in &mut self.counts {
                        let wanted =
                            told.cells.contains(&CellKey(*key)) || told.variants.contains(&VariantKey(*key));
                        if wanted && count.given_up && !s.given_up.contains_key(key) {
                            *count = Count { too_small: count.too_small, ..Count::default() };
                        }
                    }
                }
                self.told.insert(s.sweep.clone(), told);
                if s.again {
                    self.forgive(&s.sweep, &[]);
                }
            }
            Event::Cancel(name) => self.set(name, |t| t.cancelled = true),
            Event::Pause(name) => self.set(name, |t| t.paused = true),
            Event::Resume(name) => self.set(name, |t| t.paused = false),
            Event::Retry { sweep, keys } => self.forgive(sweep, keys),
            Event::Forget(name) => drop(self.told.remove(name)),
            Event::Sync(sync) => {
                let begun =
                    sync.shards.iter().flat_map(|r| r.cells_begun.iter().map(|c| (r.attempt.clone(), *c)));
                for at in begun {
                    self.ever_begun.entry(at).or_insert(now);
                }
                if self.heard.get(&sync.worker).is_none_or(|h| h.call <= sync.call) {
                    self.heard.insert(sync.worker.clone(), (**sync).clone());
                }
            }
            Event::WorkerLost(worker) => drop(self.heard.remove(worker)),
            Event::Drain => self.draining = true,
            Event::CallClosed { .. } | Event::RecordsFound { .. } | Event::NewerEpoch(_) | Event::Tick => {}
        }
    }

    fn set(&mut self, name: &Name, how: impl FnOnce(&mut Told)) {
        if let Some(told) = self.told.get_mut(name) {
            how(told);
        }
    }

    fn forgive(&mut self, sweep: &Name, keys: &[Digest]) {
        let Some(told) = self.told.get(sweep) else {
            return;
        };
        // Whoever asks for a variant or a cell of it asks for its canary too.
        let known = &self.schedule.variants;
        let asked = told.variants.iter().filter(|key| {
            let by_cell = || known.get(key).is_some_and(|v| v.cells.keys().any(|c| keys.contains(&c.0)));
            keys.is_empty() || keys.contains(&key.0) || by_cell()
        });
        let canaries: BTreeSet<Digest> =
            asked.filter_map(|key| told.after.get(key).map(|canary| canary.0)).collect();
        for (key, count) in &mut self.counts {
            let of_sweep = told.cells.contains(&CellKey(*key)) || told.variants.contains(&VariantKey(*key));
            let asked = if keys.is_empty() { count.given_up } else { keys.contains(key) };
            let canary = canaries.contains(key) && (count.given_up || !keys.is_empty());
            if of_sweep && asked || canary {
                *count = Count { too_small: count.too_small, ..Count::default() };
            }
        }
    }

    pub(super) fn wants(&self, cell: CellKey) -> bool {
        let home = self.schedule.homes.get(&cell);
        self.told.values().any(|t| t.cells.contains(&cell) && home.is_some_and(|key| self.goes_on(t, *key)))
    }

    pub(super) fn wants_alone(&self, variant: VariantKey) -> bool {
        self.told.values().any(|t| t.alone.contains(&variant) && self.goes_on(t, variant))
    }

    /// What a sweep wants of a variant is run: nothing stops the sweep, nor did its canary fall.
    pub(super) fn goes_on(&self, told: &Told, variant: VariantKey) -> bool {
        let canary = told.after.get(&variant).and_then(|canary| self.schedule.variants.get(canary));
        !told.paused && !told.stopped() && canary.is_none_or(|canary| canary.trouble.quarantined.is_none())
    }

    /// Cells of a sweep that are missing by failures of their own or of their variant.
    pub(super) fn failed(&self, told: &Told) -> usize {
        let given_up = |key: &Digest| self.counts.get(key).is_some_and(|count| count.given_up);
        let failed = told.cells.iter().filter(|cell| {
            let home = self.schedule.homes[*cell];
            let done = self.schedule.variants[&home].cells[*cell].done;
            !done && (given_up(&cell.0) || given_up(&home.0))
        });
        failed.count()
    }

    /// Begun cells that live attempts have.
    pub(super) fn begun(&self) -> Vec<(AttemptId, CellKey)> {
        let attempts = self.schedule.attempts.iter();
        attempts.flat_map(|(id, a)| a.begun.intersection(&a.cells).map(move |c| (id.clone(), *c))).collect()
    }
}
