//! A random world: what there is to do, who there is to do it, and how a turn of it goes.

use super::coordinator::Coordinator;
use super::coverage::Pair;
use super::dice::Dice;
use super::planted::Bug;
use super::worker::{Ground, Hands, Nature};
use crate::schedule::{Command, Event, Millis, Submission, Sync, Timing, VariantPlan, WorkerId};
use espalier_proto::ids::{AttemptId, CellKey, Digest, Name, VariantKey};
use espalier_proto::methods;
use espalier_proto::recipe::Backend;
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::Limits;
use std::collections::{BTreeMap, BTreeSet};

const TIMING: Timing =
    Timing { lease: Millis(30_000), busy: Millis(2_000), hold: Millis(25_000), reconcile: Millis(0) };
const QUIET_TURNS: u32 = 3000;
/// A worker that is not stalled is heard of at least this often.
const HEARD: u64 = 14_000;

/// A sweep as its user wants it now; folded, it is what a new coordinator is told.
#[derive(Clone, Debug)]
pub(super) struct Desired {
    pub(super) submission: Submission,
    pub(super) paused: bool,
    pub(super) cancelled: bool,
    /// What the sweep's log says was given up.
    pub(super) given_up: BTreeMap<Digest, FailureCode>,
    /// It says that the sweep was stopped by its failures.
    pub(super) doomed: bool,
}

/// Something on its way to a coordinator.
pub(super) enum Message {
    Call(Box<Sync>),
    Event(Event),
}

pub(super) struct World {
    pub(super) dice: Dice,
    /// Dice of their own: worlds in which nothing is deleted are as they would be anyway.
    pub(super) deletions: Dice,
    /// As well for what is tried again because it is submitted again.
    pub(super) asks: Dice,
    /// As well for checkpoints that are dropped.
    pub(super) drops: Dice,
    pub(super) now: u64,
    pub(super) timing: Timing,
    /// The newest is the last.
    pub(super) coordinators: Vec<Coordinator>,
    pub(super) epoch: u64,
    pub(super) workers: BTreeMap<String, Hands>,
    born: u64,
    /// There is much that is short, and workers that can be given it ahead.
    ahead: bool,
    pub(super) pool: Vec<VariantPlan>,
    pub(super) desired: BTreeMap<Name, Desired>,
    pub(super) natures: BTreeMap<Digest, Nature>,
    pub(super) variants_there: BTreeSet<VariantKey>,
    pub(super) cells_there: BTreeSet<CellKey>,
    /// Variants whose checkpoint was dropped, while their record is there.
    pub(super) dropped: BTreeSet<VariantKey>,
    /// Whom and what every attempt was given to.
    pub(super) given: BTreeMap<AttemptId, (WorkerId, VariantKey)>,
    /// When, to which epoch, what.
    pub(super) wire: Vec<(u64, u64, Message)>,
    /// Losses that may look like a variant's own fault.
    pub(super) bad_luck: BTreeMap<VariantKey, u32>,
    /// Failures of nodes and the store.
    pub(super) excuses: BTreeMap<VariantKey, u32>,
    /// Silent losses that no coordinator need know of yet.
    pub(super) pending: BTreeSet<VariantKey>,
    pub(super) bug: Option<Bug>,
    pub(super) trace: Option<Vec<Command>>,
    /// As its coordinators have it; only where it is watched.
    pub(super) coverage: Option<BTreeSet<Pair>>,
}

impl World {
    pub(super) fn new(seed: u64, bug: Option<Bug>, watched: bool) -> Self {
        let mut dice = Dice(seed);
        let reconcile = Millis(if dice.percent(50) { 0 } else { 6_000 });
        let mut world = Self {
            dice,
            deletions: Dice(seed.rotate_left(32)),
            asks: Dice(seed.rotate_left(8)),
            drops: Dice(seed.rotate_left(48)),
            now: 0,
            timing: Timing { reconcile, ..TIMING },
            coordinators: Vec::new(),
            epoch: 0,
            workers: BTreeMap::new(),
            born: 0,
            ahead: false,
            pool: Vec::new(),
            desired: BTreeMap::new(),
            natures: BTreeMap::new(),
            variants_there: BTreeSet::new(),
            cells_there: BTreeSet::new(),
            dropped: BTreeSet::new(),
            given: BTreeMap::new(),
            wire: Vec::new(),
            bad_luck: BTreeMap::new(),
            excuses: BTreeMap::new(),
            pending: BTreeSet::new(),
            bug,
            trace: None,
            coverage: watched.then(BTreeSet::new),
        };
        for v in 0..1 + world.dice.below(4) {
            world.pool_variant(v);
        }
        // Dice of their own: worlds without canaries are as they would be anyway.
        let mut canaries = Dice(!seed);
        if canaries.percent(30) {
            for m in 0..2 {
                world.pool_canary(m, canaries.below(12), 2 + canaries.below(3));
            }
        }
        // As well.
        let mut crowd = Dice(seed.rotate_left(16));
        if crowd.percent(15) {
            world.ahead = true;
            for v in 4..10 + crowd.below(14) {
                world.pool_small(v, &mut crowd);
            }
        }
        world.start_coordinator();
        for _ in 0..1 + world.dice.below(2) {
            world.submit();
        }
        world
    }

    /// A random part of what can be wanted becomes what a sweep wants.
    pub(super) fn submit(&mut self) {
        let name: Name = ["a", "b", "c"][self.dice.below(3) as usize].parse().unwrap();
        let part = 50 + self.dice.below(60);
        let mut variants = Vec::new();
        for plan in &self.pool {
            let mut plan = plan.clone();
            let canary = self.pool.iter().any(|p| p.after == Some(plan.key));
            if canary {
                // Of whoever submits more than a few variants of its model.
                if self.dice.percent(80) {
                    variants.push(plan);
                }
                continue;
            }
            plan.cells.retain(|_| self.dice.percent(part));
            plan.wanted_alone = plan.cells.is_empty() && self.dice.percent(50);
            if plan.wanted_alone || !plan.cells.is_empty() {
                variants.push(plan);
            }
        }
        let there: BTreeSet<VariantKey> = variants.iter().map(|plan| plan.key).collect();
        variants.iter_mut().for_each(|plan| plan.after = plan.after.filter(|canary| there.contains(canary)));
        let max_failed_cells = if self.dice.percent(10) { 1 } else { 1000 };
        let submission = Submission {
            sweep: name.clone(),
            priority: self.dice.below(2) as i32,
            paused: false,
            cancelled: false,
            doomed: false,
            again: false,
            limits: Limits { attempts: 2 + self.dice.below(2) as u32, max_failed_cells },
            variants,
            variants_done: BTreeSet::new(),
            cells_done: BTreeSet::new(),
            gone: Default::default(),
            given_up: BTreeMap::new(),
        };
        let before = self.desired.remove(&name);
        let paused = before.as_ref().is_some_and(|d| d.paused);
        let again = self.asks.percent(50);
        let given_up = before.map(|d| d.given_up).filter(|_| !again).unwrap_or_default();
        self.desired
            .insert(name.clone(), Desired { submission, paused, cancelled: false, given_up, doomed: false });
        self.tell_submission(&name, self.coordinators.len() - 1, again);
    }

    pub(super) fn tell_submission(&mut self, name: &Name, to: usize, again: bool) {
        let mut submission = self.desired[name].submission.clone();
        submission.again = again;
        let keys: Vec<VariantKey> = submission.variants.iter().map(|plan| plan.key).collect();
        let believed = self.coordinators[to].schedule.believed(&keys).records;
        submission.gone.variants = believed.variants.difference(&self.variants_there).copied().collect();
        submission.gone.cells = believed.cells.difference(&self.cells_there).copied().collect();
        // Only who lacks something of a variant looks whether it was dropped.
        let lacks = |plan: &&VariantPlan| {
            plan.wanted_alone || plan.cells.iter().any(|cell| !self.cells_there.contains(&cell.key))
        };
        let lacking = submission.variants.iter().filter(lacks).map(|plan| plan.key);
        let needed: BTreeSet<VariantKey> = lacking.filter(|key| self.dropped.contains(key)).collect();
        submission.variants_done = self.variants_there.difference(&needed).copied().collect();
        submission.gone.variants.extend(needed);
        submission.cells_done = self.cells_there.clone();
        let Desired { paused, cancelled, doomed, ref given_up, .. } = self.desired[name];
        (submission.paused, submission.cancelled, submission.doomed) = (paused, cancelled, doomed);
        submission.given_up.clone_from(given_up);
        self.tell(to, Event::Submit(Box::new(submission)));
    }

    /// Takes the next epoch and tells the new coordinator what is wanted.
    pub(super) fn start_coordinator(&mut self) {
        self.epoch += 1;
        let mut coordinator = Coordinator::new(self.epoch, self.timing, self.now);
        coordinator.schedule.bug = self.bug;
        coordinator.coverage = self.coverage.as_ref().map(|_| BTreeSet::new());
        self.coordinators.push(coordinator);
        let newest = self.coordinators.len() - 1;
        self.workers.values_mut().for_each(|w| w.heard = self.now);
        for name in self.desired.keys().cloned().collect::<Vec<_>>() {
            self.tell_submission(&name, newest, false);
        }
    }

    pub(super) fn end_coordinator(&mut self, at: usize) {
        let ended = self.coordinators.remove(at);
        if let Some(coverage) = &mut self.coverage {
            coverage.extend(ended.coverage.into_iter().flatten());
        }
    }

    pub(super) fn join(&mut self, memory: u64, backend: Backend) {
        self.born += 1;
        let speed = if self.dice.percent(15) { 10 } else { 75 };
        let host = self.dice.below(3);
        let mut hands = Hands::new((host, memory, backend), speed, self.now);
        if self.ahead {
            hands.facts.stages.insert(methods::AHEAD.to_owned(), methods::AHEAD_VERSION);
        }
        self.workers.insert(format!("w{}", self.born), hands);
    }

    /// A worker calls the newest coordinator, or one of the others.
    pub(super) fn call(&mut self, name: &str, surely: bool) {
        let newest = self.coordinators.len() - 1;
        let at = if surely || self.dice.percent(80) {
            newest
        } else {
            self.dice.below(newest as u64 + 1) as usize
        };
        let coordinator = &mut self.coordinators[at];
        coordinator.calls += 1;
        let hands = self.workers.get_mut(name).unwrap();
        let sync = hands.sync(name, coordinator.calls);
        hands.last = Some(sync.clone());
        if surely || !self.dice.percent(5) {
            if at == newest {
                hands.heard = self.now;
            }
            self.tell(at, Event::Sync(Box::new(sync)));
        }
    }

    fn turn(&mut self, stormy: bool) {
        self.now += self.dice.below(3_000);
        for name in self.workers.keys().cloned().collect::<Vec<_>>() {
            let Some(hands) = self.workers.get_mut(&name) else {
                continue;
            };
            if self.dice.percent(if stormy { hands.speed } else { 90 }) {
                let (natures, variants_there) = (&self.natures, &mut self.variants_there);
                let (cells_there, dropped) = (&mut self.cells_there, &mut self.dropped);
                let mut ground = Ground { natures, variants_there, cells_there, dropped };
                if hands.work(&mut ground) {
                    self.kill(&name);
                    continue;
                }
            }
            let hands = &self.workers[&name];
            if hands.silent_until > self.now && stormy {
                continue;
            }
            let due = self.now > hands.heard + HEARD;
            if due || self.dice.percent(if stormy { 55 } else { 90 }) {
                self.call(&name, due || !stormy);
            }
        }
        if stormy {
            self.storm();
        }
        self.deliver();
        for at in 0..self.coordinators.len() {
            self.tell(at, Event::Tick);
        }
        while let Some(at) = self.coordinators.iter().position(|c| c.superseded) {
            self.end_coordinator(at);
        }
        self.check_bucket();
        if self.workers.len() < 2 || (stormy && self.workers.len() < 4 && self.dice.percent(20)) {
            let memory = 10 * (1 + self.dice.below(4));
            let backend = if self.dice.percent(25) { Backend::Cuda } else { Backend::Cpu };
            self.join(memory, backend);
        }
    }

    fn deliver(&mut self) {
        let (due, later) = std::mem::take(&mut self.wire).into_iter().partition(|(at, _, _)| *at <= self.now);
        self.wire = later;
        let due: Vec<(u64, u64, Message)> = due;
        for (_, epoch, message) in due {
            let Some(at) = self.coordinators.iter().position(|c| c.epoch == epoch) else {
                continue;
            };
            match message {
                Message::Call(sync) => self.tell(at, Event::Sync(sync)),
                Message::Event(event) => self.tell(at, event),
            }
        }
    }

    /// From now on nothing goes wrong that is not a key's own fault.
    fn turn_quiet(&mut self) {
        self.wire.clear();
        while self.coordinators.len() > 1 {
            self.end_coordinator(0);
        }
        if self.coordinators[0].draining {
            self.end_coordinator(0);
            self.start_coordinator();
        }
        for name in self.desired.keys().cloned().collect::<Vec<_>>() {
            if std::mem::take(&mut self.desired.get_mut(&name).unwrap().paused) {
                self.tell(0, Event::Resume(name));
            }
        }
    }

    fn keep_staffed(&mut self) {
        for backend in [Backend::Cpu, Backend::Cuda] {
            let able = |h: &&Hands| h.facts.backend == backend && h.facts.memory == 40 && !h.draining;
            for _ in self.workers.values().filter(able).count()..2 {
                self.join(40, backend);
            }
        }
    }

    /// Lives through a storm and a calm.
    pub(super) fn live(&mut self) {
        for _ in 0..20 + self.dice.below(40) {
            self.turn(true);
        }
        self.turn_quiet();
        for _ in 0..QUIET_TURNS {
            self.keep_staffed();
            self.turn(false);
            if self.coordinators[0].schedule.sweeps.values().all(|s| s.told) {
                break;
            }
        }
        self.check_end();
        self.end_coordinator(0);
    }
}
