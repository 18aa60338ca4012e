//! How long a step takes with 10,000 workers and 100,000 cells. `make bench-schedule` prints it.

use crate::clock::Stopwatch;
use crate::schedule::{
    CellPlan, Command, Event, Millis, Needs, Order, Phase, Report, Schedule, Submission, Sync, Timing,
    VariantPlan, WorkerFacts, WorkerId,
};
use espalier_proto::ids::{CellKey, Digest, ModelDigest, VariantKey};
use espalier_proto::recipe::Backend;
use espalier_proto::sweep::Limits;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// As the coordinator's process has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WORKERS: usize = 10_000;
const VARIANTS: usize = 12_500;
const CELLS: usize = 8;
const TIMING: Timing =
    Timing { lease: Millis(30_000), busy: Millis(2_000), hold: Millis(25_000), reconcile: Millis(0) };

fn submission() -> Submission {
    let stages = ["forward", "score", "prune.magnitude", "prune.wanda", "prune.sparsegpt"];
    let variants = (0..VARIANTS).map(|v| VariantPlan {
        key: VariantKey(Digest::of(format!("v{v}").as_bytes())),
        needs: Needs {
            model: ModelDigest(Digest::of(&[(v % 10) as u8])),
            backend: Backend::Cuda,
            threads: None,
            device_kind: None,
            memory: 1000 * (v as u64 % 5),
            stages: stages.iter().map(|s| ((*s).to_owned(), 1)).collect(),
        },
        cost: 100 + v as u64 % 977,
        after: None,
        wanted_alone: false,
        cells: (0..CELLS)
            .map(|c| CellPlan {
                key: CellKey(Digest::of(format!("c{v}.{c}").as_bytes())),
                cost: 10 + c as u64,
            })
            .collect(),
    });
    Submission {
        sweep: "grid".parse().unwrap(),
        priority: 0,
        paused: false,
        cancelled: false,
        doomed: false,
        again: false,
        limits: Limits::default(),
        variants: variants.collect(),
        variants_done: BTreeSet::new(),
        cells_done: BTreeSet::new(),
        gone: Default::default(),
        given_up: BTreeMap::new(),
    }
}

/// What a worker holds and how far it is.
#[derive(Default)]
struct Hands {
    order: Option<Order>,
    done: BTreeSet<CellKey>,
    begun: Option<CellKey>,
    /// Calls while it prunes.
    pruned: u32,
}

impl Hands {
    fn advance(&mut self) {
        let Some(order) = &self.order else { return };
        if self.pruned < 3 {
            self.pruned += 1;
        } else if let Some(cell) = self.begun.take() {
            self.done.insert(cell);
        } else {
            self.begun = order.cells.iter().find(|c| !self.done.contains(*c)).copied();
        }
    }

    fn report(&self, order: &Order) -> Report {
        let variant_done = self.pruned >= 3;
        Report {
            variant: order.variant,
            attempt: order.attempt.clone(),
            phase: if variant_done { Phase::Evaluating } else { Phase::Pruning },
            progress: (self.pruned.into(), 3),
            variant_done,
            cells_done: self.done.clone(),
            cells_begun: self.begun.into_iter().collect(),
            faults: Vec::new(),
        }
    }
}

/// Times of one kind of step.
#[derive(Default)]
struct Times(Vec<Duration>);

impl Times {
    fn print(&mut self, what: &str) {
        self.0.sort_unstable();
        let n = self.0.len().max(1);
        let micros = |d: Duration| d.as_nanos() as f64 / 1e3;
        let mean = micros(self.0.iter().sum::<Duration>()) / n as f64;
        let at = |part: usize| micros(self.0.get(n * part / 1000).copied().unwrap_or_default());
        println!(
            "{what:<28} {n:>8} steps: {mean:6.2} us mean, {:6.2} median, {:6.2} 99.9th",
            at(500),
            at(999)
        );
    }
}

#[test]
#[ignore = "measures, and only an optimized build is worth measuring; make bench-schedule runs it"]
fn a_step_with_10_000_workers_and_100_000_cells() {
    let mut schedule = Schedule::new("main".parse().unwrap(), 1, TIMING);
    let watch = Stopwatch::start();
    schedule.step(Millis(0), Event::Submit(Box::new(submission())));
    println!("submitting {} cells takes {:.0} ms", VARIANTS * CELLS, watch.elapsed().as_secs_f64() * 1e3);
    let facts = WorkerFacts {
        host: "node".into(),
        pid: 1,
        device: "a device with a long name".into(),
        backend: Backend::Cuda,
        memory: 80_000,
        fingerprint: "f".repeat(64),
        stages: submission().variants[0].needs.stages.clone(),
        threads: 2,
        models: BTreeSet::new(),
    };
    let names: Vec<Arc<str>> =
        (0..WORKERS).map(|w| format!("node-{w:05}-1234567-1790000000").into()).collect();
    let numbers: BTreeMap<&str, usize> =
        names.iter().enumerate().map(|(n, name)| (name.as_ref(), n)).collect();
    let mut hands: Vec<Hands> = (0..WORKERS).map(|_| Hands::default()).collect();
    let (mut all, mut idle, mut busy, mut tick) =
        (Times::default(), Times::default(), Times::default(), Times::default());
    let (mut call, mut over, mut now, mut shards) = (0, false, 0.0, 0);
    while !over {
        for w in 0..WORKERS {
            // Every worker calls every two seconds.
            now += 2_000.0 / WORKERS as f64;
            if call % 1_000 == 0 {
                let watch = Stopwatch::start();
                schedule.step(Millis(now as u64), Event::Tick);
                tick.0.push(watch.elapsed());
            }
            call += 1;
            hands[w].advance();
            let shards_held: Vec<Report> = hands[w].order.iter().map(|o| hands[w].report(o)).collect();
            let was_idle = shards_held.is_empty();
            let sync = Sync {
                worker: WorkerId(names[w].clone()),
                call,
                facts: facts.clone(),
                draining: false,
                epoch_seen: 1,
                shards: shards_held,
            };
            let event = Event::Sync(Box::new(sync));
            let watch = Stopwatch::start();
            let commands = schedule.step(Millis(now as u64), event);
            let took = watch.elapsed();
            all.0.push(took);
            if was_idle {
                idle.0.push(took)
            } else {
                busy.0.push(took)
            }
            for command in commands {
                match command {
                    Command::Answer { worker, mut orders, .. } => {
                        let held = &mut hands[numbers[worker.0.as_ref()]];
                        let order = orders.pop();
                        if order.as_ref().map(|o| &o.attempt) != held.order.as_ref().map(|o| &o.attempt) {
                            *held = Hands::default();
                            shards += u64::from(order.is_some());
                        }
                        held.order = order;
                    }
                    Command::SweepDone { .. } => over = true,
                    _ => {}
                }
            }
        }
    }
    all.print("all calls");
    idle.print("calls of idle workers");
    busy.print("calls of busy workers");
    tick.print("ticks");
    let total: Duration = all.0.iter().chain(&tick.0).sum();
    println!("{shards} shards, {:.1} us of step per shard", total.as_nanos() as f64 / 1e3 / shards as f64);
}
