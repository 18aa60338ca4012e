//! Random worlds: workers that join, die, fall silent, fail and come back; answers lost, calls repeated; coordinators that
//! restart. After every event the invariants hold (every build with debug assertions checks them), a schedule never believes
//! what the bucket does not hold, and once the world turns quiet every sweep comes to its end.

use super::*;
use espalier_proto::ids::{AttemptId, CellKey, Digest, ModelDigest, VariantKey};
use espalier_proto::recipe::Backend;
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::Limits;
use std::collections::{BTreeMap, BTreeSet};

const TIMING: Timing =
    Timing { lease: Millis(30_000), busy: Millis(2_000), hold: Millis(25_000), reconcile: Millis(0) };
/// Enough for a debug build in seconds; a longer run is a matter of this number.
const WORLDS: u64 = 300;
const STORMY_TURNS: u32 = 150;
const QUIET_TURNS: u32 = 4000;

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.roll() % n
    }

    fn percent(&mut self, p: u64) -> bool {
        self.below(100) < p
    }
}

/// A shard in a worker's hands.
#[derive(Clone, Debug)]
struct Held {
    variant: VariantKey,
    wanted: Vec<CellKey>,
    variant_wanted: bool,
    stopped: bool,
    blocks: u64,
    variant_done: bool,
    done: BTreeSet<CellKey>,
    begun: BTreeSet<CellKey>,
    faults: Vec<Fault>,
    dead: bool,
}

#[derive(Clone, Debug, Default)]
struct Hands {
    held: BTreeMap<AttemptId, Held>,
    last: Option<Sync>,
}

struct World {
    dice: Dice,
    now: u64,
    schedule: Schedule,
    epoch: u64,
    calls: u64,
    workers: BTreeMap<String, Hands>,
    born: u64,
    submission: Submission,
    variants_there: BTreeSet<VariantKey>,
    cells_there: BTreeSet<CellKey>,
    /// Cells that fail wherever they run.
    poison: BTreeSet<CellKey>,
    kills: u32,
    excuses: u32,
    quarantined: BTreeSet<Digest>,
    over: bool,
    /// What was commanded, for comparing two runs.
    trace: Vec<Command>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let needs = Needs {
            model: ModelDigest(Digest::of(b"m")),
            backend: Backend::Cpu,
            threads: Some(2),
            device_kind: None,
            memory: 1,
            stages: BTreeMap::new(),
        };
        let mut poison = BTreeSet::new();
        let plans = (0..1 + dice.below(5)).map(|v| {
            let cells = (0..dice.below(6)).map(|c| {
                let key = CellKey(Digest::of(&[b'c', v as u8, c as u8]));
                if dice.percent(5) {
                    poison.insert(key);
                }
                CellPlan { key, cost: 1 + dice.below(20) }
            });
            let cells: Vec<CellPlan> = cells.collect();
            let key = VariantKey(Digest::of(&[b'v', v as u8]));
            VariantPlan { key, needs: needs.clone(), cost: 10, wanted_alone: cells.is_empty(), cells }
        });
        let submission = Submission {
            sweep: "demo".parse().unwrap(),
            priority: 0,
            limits: Limits { attempts: 3, max_failed_cells: 1000 },
            variants: plans.collect(),
            variants_done: BTreeSet::new(),
            cells_done: BTreeSet::new(),
            given_up: BTreeMap::new(),
        };
        let schedule = Schedule::new("main".parse().unwrap(), 1, TIMING);
        let mut world = Self {
            dice,
            now: 0,
            schedule,
            epoch: 1,
            calls: 0,
            workers: BTreeMap::new(),
            born: 0,
            submission,
            variants_there: BTreeSet::new(),
            cells_there: BTreeSet::new(),
            poison,
            kills: 0,
            excuses: 0,
            quarantined: BTreeSet::new(),
            over: false,
            trace: Vec::new(),
        };
        world.submit();
        world
    }

    fn submit(&mut self) {
        let mut submission = self.submission.clone();
        submission.variants_done = self.variants_there.clone();
        submission.cells_done = self.cells_there.clone();
        self.event(Event::Submit(Box::new(submission)));
    }

    fn event(&mut self, event: Event) {
        let commands = self.schedule.step(Millis(self.now), event);
        self.trace.extend(commands.iter().cloned());
        for command in commands {
            match command {
                Command::Answer { worker, orders, .. } => self.deliver(&worker.0, &orders),
                Command::LookFor { variant, cells } => {
                    let variants =
                        [variant].into_iter().filter(|v| self.variants_there.contains(v)).collect();
                    let cells = cells.into_iter().filter(|c| self.cells_there.contains(c)).collect();
                    self.event(Event::RecordsFound { variants, cells });
                }
                Command::Quarantine { key, .. } => drop(self.quarantined.insert(key)),
                Command::SweepDone { .. } => self.over = true,
                Command::KeepFailure { .. } | Command::Superseded { .. } => {}
            }
        }
        let view = &self.schedule.view().sweeps[&self.submission.sweep];
        assert!(view.done <= self.cells_there.len(), "a cell is believed done that the bucket does not hold");
    }

    fn deliver(&mut self, worker: &str, orders: &[Order]) {
        let lost = self.dice.percent(5);
        let Some(hands) = self.workers.get_mut(worker) else {
            return;
        };
        if lost {
            return;
        }
        for (id, held) in &mut hands.held {
            let order = orders.iter().find(|o| o.attempt == *id);
            held.stopped = order.is_none_or(|o| o.cells.is_empty() && !o.variant_wanted);
            held.wanted = order.map(|o| o.cells.clone()).unwrap_or_default();
        }
        // A stopped shard goes once its begun cells are done.
        hands.held.retain(|_, h| !(h.stopped && (h.dead || h.begun.is_empty())));
        for order in orders {
            hands.held.entry(order.attempt.clone()).or_insert_with(|| Held {
                variant: order.variant,
                wanted: order.cells.clone(),
                variant_wanted: order.variant_wanted,
                stopped: false,
                blocks: 0,
                variant_done: false,
                done: BTreeSet::new(),
                begun: BTreeSet::new(),
                faults: Vec::new(),
                dead: false,
            });
        }
    }

    fn call(&mut self, worker: &str) {
        self.calls += 1;
        let hands = self.workers.get_mut(worker).unwrap();
        let shards = hands.held.iter().map(|(id, h)| {
            let finished = h.variant_done && h.begun.is_empty() && h.wanted.iter().all(|c| h.settled(*c));
            let phase = match () {
                () if h.dead || finished => Phase::Finished,
                () if h.variant_done => Phase::Evaluating,
                () if h.blocks > 0 => Phase::Pruning,
                () => Phase::Loading,
            };
            Report {
                variant: h.variant,
                attempt: id.clone(),
                phase,
                progress: (h.blocks, 5),
                variant_done: h.variant_done,
                cells_done: h.done.clone(),
                cells_begun: h.begun.clone(),
                faults: h.faults.clone(),
            }
        });
        let sync = Sync {
            worker: WorkerId(worker.to_owned()),
            call: self.calls,
            facts: WorkerFacts {
                host: "h".into(),
                pid: 1,
                device: "d".into(),
                backend: Backend::Cpu,
                memory: 10,
                fingerprint: "f".into(),
                stages: BTreeMap::new(),
                threads: 2,
                models: BTreeSet::new(),
            },
            draining: false,
            epoch_seen: 0,
            shards: shards.collect(),
        };
        hands.last = Some(sync.clone());
        self.event(Event::Sync(Box::new(sync)));
    }

    /// The worker gets a little further with everything that it holds.
    fn work(&mut self, worker: &str, stormy: bool) {
        let Some(hands) = self.workers.get_mut(worker) else {
            return;
        };
        for held in hands.held.values_mut().filter(|h| !h.dead) {
            let excuse = stormy && self.excuses < 4 && self.dice.percent(3);
            self.excuses += u32::from(excuse);
            let fault =
                |key: Digest, kind, code| Fault { key, kind, code, message: "in a simulation".into() };
            if excuse {
                held.faults.push(fault(held.variant.0, FaultKind::StoreError, FailureCode::StoreError));
                held.begun.clear();
                held.dead = true;
            } else if !held.variant_done {
                held.blocks += 1;
                if held.blocks >= 5 || self.variants_there.contains(&held.variant) {
                    self.variants_there.insert(held.variant);
                    held.variant_done = true;
                }
            } else if let Some(cell) = held.begun.pop_first() {
                if self.poison.contains(&cell) {
                    held.faults.push(fault(cell.0, FaultKind::CellError, FailureCode::Internal));
                } else {
                    self.cells_there.insert(cell);
                    held.done.insert(cell);
                }
            } else if let Some(cell) =
                held.wanted.iter().find(|c| !held.settled(**c)).filter(|_| !held.stopped)
            {
                held.begun.insert(*cell);
            }
            held.blocks = held.blocks.min(5);
            let _ = held.variant_wanted;
        }
    }

    fn turn(&mut self, stormy: bool) {
        self.now += self.dice.below(3_000);
        let names: Vec<String> = self.workers.keys().cloned().collect();
        for name in &names {
            if self.dice.percent(70) {
                self.work(name, stormy);
            }
            if self.dice.percent(if stormy { 60 } else { 95 }) && self.workers.contains_key(name) {
                self.call(name);
            }
        }
        if stormy {
            self.storm(&names);
        }
        self.event(Event::Tick);
        if self.workers.len() < 2 || (stormy && self.workers.len() < 5 && self.dice.percent(20)) {
            self.born += 1;
            self.workers.insert(format!("w{}", self.born), Hands::default());
        }
    }

    fn storm(&mut self, names: &[String]) {
        let chosen = (!names.is_empty()).then(|| names[self.dice.below(names.len() as u64) as usize].clone());
        match (self.dice.below(40), chosen) {
            // Innocent work must survive three losses; a fourth at the same place would rightly be blamed.
            (0, Some(name)) if self.kills < 3 => {
                self.kills += 1;
                self.workers.remove(&name);
                if self.dice.percent(50) {
                    self.event(Event::WorkerLost(WorkerId(name)));
                }
            }
            // A call that comes a second time, late.
            (1 | 2, Some(name)) => {
                if let Some(again) = self.workers[&name].last.clone() {
                    self.event(Event::Sync(Box::new(again)));
                }
            }
            (3, Some(name)) => self.event(Event::CallClosed { worker: WorkerId(name), call: self.calls }),
            // Long enough for leases to lapse.
            (4, _) => self.now += 40_000,
            (5, _) => self.restart(),
            (6, _) => self.submit(),
            _ => {}
        }
    }

    fn restart(&mut self) {
        self.epoch += 1;
        self.quarantined.clear();
        self.over = false;
        self.schedule = Schedule::new("main".parse().unwrap(), self.epoch, TIMING);
        self.submit();
    }

    /// Lives through a storm and a calm; gives what was commanded.
    fn live(mut self, seed: u64) -> Vec<Command> {
        for _ in 0..STORMY_TURNS {
            self.turn(true);
        }
        for _ in 0..QUIET_TURNS {
            if self.over {
                break;
            }
            self.turn(false);
        }
        assert!(self.over, "seed {seed}: the sweep does not end");
        let poison: BTreeSet<Digest> = self.poison.iter().map(|c| c.0).collect();
        assert!(self.quarantined.is_subset(&poison), "seed {seed}: something innocent was given up");
        let cells: usize = self.submission.variants.iter().map(|v| v.cells.len()).sum();
        assert_eq!(self.cells_there.len() + self.poison.len(), cells, "seed {seed}: a cell is missing");
        assert!(self.submission.variants.iter().all(|v| self.variants_there.contains(&v.key)), "seed {seed}");
        self.trace
    }
}

impl Held {
    fn settled(&self, cell: CellKey) -> bool {
        self.done.contains(&cell) || self.faults.iter().any(|f| f.key == cell.0)
    }
}

#[test]
fn every_random_world_keeps_the_invariants_and_comes_to_its_end() {
    for seed in 0..WORLDS {
        let lived = std::panic::catch_unwind(|| World::new(seed).live(seed));
        assert!(lived.is_ok(), "seed {seed}");
    }
}

#[test]
fn the_same_seed_gives_the_same_commands() {
    for seed in [1, 20, 300] {
        assert_eq!(World::new(seed).live(seed), World::new(seed).live(seed), "seed {seed}");
    }
}
