//! What stories of the schedule are told with: a small grid, workers, their calls and what they say.

use super::*;
use espalier_proto::ids::{CellKey, Digest, ModelDigest, Name, VariantKey};
use espalier_proto::recipe::Backend;
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::Limits;
use std::collections::{BTreeMap, BTreeSet};

pub(super) const TIMING: Timing =
    Timing { lease: Millis(30_000), busy: Millis(1_000), hold: Millis(25_000), reconcile: Millis(0) };

pub(super) fn variant(v: u8) -> VariantKey {
    VariantKey(Digest::of(&[b'v', v]))
}

pub(super) fn cell(v: u8, c: u8) -> CellKey {
    CellKey(Digest::of(&[b'c', v, c]))
}

pub(super) fn sweep() -> Name {
    "demo".parse().unwrap()
}

/// Variants 0, 1, … with so many cells each; the first is the longest.
pub(super) fn grid(cells: &[u8]) -> Submission {
    let needs = Needs {
        model: ModelDigest(Digest::of(b"m")),
        backend: Backend::Cpu,
        threads: Some(2),
        device_kind: None,
        memory: 100,
        stages: BTreeMap::new(),
    };
    let plans = cells.iter().enumerate().map(|(v, n)| VariantPlan {
        key: variant(v as u8),
        needs: needs.clone(),
        cost: 100 - v as u64,
        wanted_alone: *n == 0,
        cells: (0..*n).map(|c| CellPlan { key: cell(v as u8, c), cost: 10 }).collect(),
        after: None,
    });
    Submission {
        sweep: sweep(),
        priority: 0,
        paused: false,
        cancelled: false,
        doomed: false,
        again: false,
        limits: Limits { attempts: 3, max_failed_cells: 10 },
        variants: plans.collect(),
        variants_done: BTreeSet::new(),
        cells_done: BTreeSet::new(),
        gone: Default::default(),
        given_up: Default::default(),
    }
}

pub(super) fn facts() -> WorkerFacts {
    WorkerFacts {
        host: "h".into(),
        pid: 1,
        device: "d".into(),
        backend: Backend::Cpu,
        memory: 1000,
        fingerprint: "f".into(),
        stages: BTreeMap::new(),
        threads: 2,
        models: BTreeSet::new(),
    }
}

pub(super) struct Story {
    pub(super) schedule: Schedule,
    pub(super) now: u64,
    pub(super) calls: u64,
    /// Everything that was commanded, answers left out.
    pub(super) commands: Vec<Command>,
    pub(super) facts: BTreeMap<u8, WorkerFacts>,
}

impl Story {
    pub(super) fn of(submission: Submission) -> Self {
        let schedule = Schedule::new("run.demo".parse().unwrap(), 2, TIMING);
        let mut story = Self { schedule, now: 0, calls: 0, commands: Vec::new(), facts: BTreeMap::new() };
        story.event(Event::Submit(Box::new(submission)));
        story
    }

    pub(super) fn event(&mut self, event: Event) -> Vec<Command> {
        let commands = self.schedule.step(Millis(self.now), event);
        self.commands.extend(commands.iter().filter(|c| !matches!(c, Command::Answer { .. })).cloned());
        commands
    }

    /// Worker `w` calls, and a newcomer that has nothing and is told nothing calls again; `None` if its call is held open.
    pub(super) fn sync(&mut self, w: u8, shards: Vec<Report>) -> Option<Vec<Order>> {
        let known = self.schedule.workers.contains_key(&WorkerId(format!("w{w}").into()));
        let again = !known && shards.is_empty();
        let answer = self.call(w, shards);
        if again && answer.as_ref().is_some_and(Vec::is_empty) { self.call(w, Vec::new()) } else { answer }
    }

    /// Worker `w` calls once.
    pub(super) fn call(&mut self, w: u8, shards: Vec<Report>) -> Option<Vec<Order>> {
        self.calls += 1;
        let sync = Sync {
            worker: WorkerId(format!("w{w}").into()),
            call: self.calls,
            facts: self.facts.get(&w).cloned().unwrap_or_else(facts),
            draining: false,
            epoch_seen: 0,
            shards,
        };
        answer_to(&self.event(Event::Sync(Box::new(sync))), w)
    }

    /// An idle worker calls and is given exactly one shard.
    pub(super) fn given(&mut self, w: u8) -> Order {
        let orders = self.sync(w, Vec::new()).expect("there is something to do");
        let [order] = &orders[..] else { panic!("{orders:?}") };
        order.clone()
    }

    pub(super) fn later(&mut self, ms: u64) -> Vec<Command> {
        self.now += ms;
        self.event(Event::Tick)
    }

    pub(super) fn explain(&self, cell: CellKey) -> Explanation {
        self.schedule.explain(&sweep(), cell)
    }

    pub(super) fn done(&self) -> usize {
        self.schedule.view().sweeps[&sweep()].done
    }
}

pub(super) fn answer_to(commands: &[Command], w: u8) -> Option<Vec<Order>> {
    commands.iter().find_map(|c| match c {
        Command::Answer { worker, orders, .. } if *worker.0 == format!("w{w}") => Some(orders.clone()),
        _ => None,
    })
}

pub(super) fn report(order: &Order, phase: Phase) -> Report {
    Report {
        variant: order.variant,
        attempt: order.attempt.clone(),
        phase,
        progress: (0, 0),
        variant_done: false,
        cells_done: BTreeSet::new(),
        cells_begun: BTreeSet::new(),
        faults: Vec::new(),
    }
}

pub(super) fn pruning(order: &Order) -> Report {
    report(order, Phase::Pruning)
}

/// Its checkpoint is in the bucket, `done` of its cells are, and `begun` have begun.
pub(super) fn evaluating(order: &Order, done: &[CellKey], begun: &[CellKey]) -> Report {
    let mut report = report(order, Phase::Evaluating);
    report.variant_done = true;
    report.cells_done = done.iter().copied().collect();
    report.cells_begun = begun.iter().copied().collect();
    report
}

pub(super) fn failing(mut report: Report, key: Digest, kind: FaultKind, code: FailureCode) -> Report {
    report.faults.push(Fault { key, kind, code, message: "as told".into() });
    report
}
