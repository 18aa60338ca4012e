//! What must be right of every command, by what the world itself knows. Each check has a name, W1 to W26.

use super::coordinator::Coordinator;
use super::worker::Nature;
use super::world::{Message, World};
use crate::schedule::{Command, Event, Explanation, Order, WorkerId};
use espalier_proto::ids::{CellKey, VariantKey};
use espalier_proto::methods;
use std::collections::{BTreeMap, BTreeSet};

impl World {
    /// An event reaches a coordinator; what it commands is checked and carried out.
    pub(super) fn tell(&mut self, at: usize, event: Event) {
        let now = self.now;
        let coordinator = &mut self.coordinators[at];
        coordinator.note(now, &event);
        let by_people = matches!(
            event,
            Event::Submit(_)
                | Event::Cancel(_)
                | Event::Pause(_)
                | Event::Resume(_)
                | Event::Retry { .. }
                | Event::Forget(_)
        );
        let begun = if by_people { coordinator.begun() } else { Vec::new() };
        let last_attempt = coordinator.schedule.last_attempt;
        coordinator.before = last_attempt;
        let tick = matches!(event, Event::Tick);
        let over = coordinator.superseded;
        let commands = coordinator.schedule.step(coordinator.time(now), event);
        if let Some(trace) = &mut self.trace {
            trace.extend(commands.iter().cloned());
        }
        let coordinator = &mut self.coordinators[at];
        coordinator.after();
        let began = coordinator.schedule.last_attempt > last_attempt;
        assert!(
            !began || coordinator.reconciled(now),
            "W4 nothing is given out while running workers announce"
        );
        assert!(!began || !coordinator.draining, "W2 nothing new is given out when workers are to end");
        assert!(!over || commands.is_empty(), "W14 a coordinator that was superseded commands nothing");
        for (id, cell) in begun {
            let schedule = &coordinator.schedule;
            let kept = schedule.attempts.get(&id).is_some_and(|a| a.cells.contains(&cell));
            assert!(kept || self.cells_there.contains(&cell), "W6 a begun cell is stopped by nobody's wish");
        }
        for command in &commands {
            self.carry_out(at, command);
        }
        let due = &self.coordinators[at].due;
        assert!(due.is_empty(), "W8 a key is given up when its failures say so: {due:?}");
        if at + 1 == self.coordinators.len() {
            self.what_failures_stopped_stays_so(at);
        }
        self.coordinators[at].nobody_waits_in_vain(now);
        if tick {
            self.coordinators[at].nothing_waits_behind(now);
        }
    }

    /// W24, over restarts and whatever others measure.
    fn what_failures_stopped_stays_so(&self, at: usize) {
        let coordinator = &self.coordinators[at];
        for (name, told) in
            coordinator.told.iter().filter(|(name, _)| self.desired.get(*name).is_some_and(|d| d.doomed))
        {
            let no = coordinator.schedule.sweeps[name].no;
            let whole = told.cells.iter().all(|cell| coordinator.schedule.fate(*cell, no).is_some());
            let stopped = told.stopped() || whole || coordinator.superseded;
            assert!(stopped, "W24 what its failures stopped stays so: {name}");
        }
    }

    fn carry_out(&mut self, at: usize, command: &Command) {
        let newest = at + 1 == self.coordinators.len();
        match command {
            Command::Answer { worker, orders, .. } => self.answer(at, worker, orders),
            Command::LookFor { variant, cells } => {
                let usable = |v: &VariantKey| self.variants_there.contains(v) && !self.dropped.contains(v);
                let variants = [*variant].into_iter().filter(usable).collect();
                let cells = cells.iter().copied().filter(|c| self.cells_there.contains(c)).collect();
                let due = self.now + self.dice.below(3_000);
                let event = Event::RecordsFound { variants, cells };
                self.wire.push((due, self.coordinators[at].epoch, Message::Event(event)));
            }
            Command::KeepFailure { attempt, fault, .. } => {
                let coordinator = &mut self.coordinators[at];
                // One that was thought lost, lived and then failed is kept as both.
                let lost = fault.message.contains("lost");
                let first = lost || coordinator.kept.insert((attempt.clone(), fault.key));
                assert!(first, "W7 a failure is kept once: {attempt} {fault:?}");
                if coordinator.fails(attempt, fault) {
                    coordinator.due.insert(fault.key);
                }
            }
            Command::Quarantine { sweeps, key, code } => {
                // A quarantine of an older epoch is ignored.
                for sweep in sweeps.iter().filter(|_| newest) {
                    if let Some(desired) = self.desired.get_mut(sweep) {
                        desired.given_up.insert(*key, *code);
                    }
                }
                let innocent = self.natures[key] == Nature::Fine;
                assert!(!(newest && innocent), "W9 what is innocent is not given up: {key:?}");
                let due = self.coordinators[at].due.remove(key);
                assert!(due, "W8 a key is given up when its failures say so: {key:?}");
                let count = self.coordinators[at].counts.entry(*key).or_default();
                assert!(!std::mem::replace(&mut count.given_up, true), "W8 a key is given up once: {key:?}");
            }
            Command::Stop { sweep } => {
                let told = &self.coordinators[at].told[sweep];
                let failed = self.coordinators[at].failed(told);
                let too_many = failed >= told.max_failed_cells.max(1) as usize;
                assert!(too_many, "W24 failures stop a sweep when they are too many: {sweep}, {failed}");
                if let Some(desired) = self.desired.get_mut(sweep).filter(|_| newest) {
                    desired.doomed = true;
                }
            }
            Command::Forgive { sweep, keys } => self.forgive(at, sweep, keys),
            Command::CanaryPassed { canary, .. } => {
                assert!(self.variants_there.contains(canary), "W11 a canary has passed that says so");
            }
            Command::SweepDone { sweep, halted } => {
                let coordinator = &self.coordinators[at];
                let told = &coordinator.told[sweep];
                let no = coordinator.schedule.sweeps[sweep].no;
                let open = |c: &&CellKey| coordinator.schedule.fate(**c, no).is_none();
                // What began in this very step began for another sweep.
                let old = coordinator.schedule.attempts.iter().filter(|(id, _)| !coordinator.is_fresh(id));
                let held: BTreeSet<CellKey> = old.flat_map(|(_, a)| a.cells.iter().copied()).collect();
                let running = |c: &&CellKey| held.contains(*c);
                let open: Vec<_> = told.cells.iter().filter(open).collect();
                assert!(!open.iter().any(running), "W10 a sweep is over when nothing of it runs");
                assert!(*halted || open.is_empty(), "W10 a sweep is done when nothing is left of it");
                assert!(!halted || told.stopped(), "W10 a sweep stops when it was stopped");
            }
            Command::Superseded { epoch } => {
                let coordinator = &mut self.coordinators[at];
                assert!(*epoch > coordinator.epoch && !coordinator.superseded, "W14 superseded once");
                coordinator.superseded = true;
            }
        }
    }

    fn answer(&mut self, at: usize, worker: &WorkerId, orders: &[Order]) {
        for order in orders {
            let to = (worker.clone(), order.variant);
            let given = self.given.entry(order.attempt.clone()).or_insert_with(|| to.clone());
            assert!(*given == to, "W1 an attempt has one worker and one variant: {}", order.attempt);
            let coordinator = &self.coordinators[at];
            let fresh = coordinator.is_fresh(&order.attempt);
            let said = &coordinator.heard[worker];
            let plan = self.pool.iter().find(|p| p.key == order.variant).unwrap();
            let needs = &plan.needs;
            let fits = needs.backend == said.facts.backend && needs.memory <= said.facts.memory;
            assert!(fits, "W3 a shard goes to a worker that fits: {}", order.attempt);
            assert!(!(fresh && said.draining), "W2 a worker that leaves is given nothing new");
            for cell in &order.cells {
                let begun = coordinator.ever_begun.contains_key(&(order.attempt.clone(), *cell));
                assert!(
                    begun || coordinator.wants(*cell),
                    "W5 what nobody wants is not run: {}",
                    order.attempt
                );
            }
            let alone = order.variant_wanted && coordinator.wants_alone(order.variant);
            assert!(alone || !order.cells.is_empty(), "W5 what nobody wants is not run: {}", order.attempt);
            if fresh {
                // A cell that another one has measured is only found to be there.
                let measures = order.cells.iter().any(|cell| !self.cells_there.contains(cell));
                let prunes = !measures || coordinator.schedule.attempts[&order.attempt].prepares;
                assert!(
                    prunes || !self.dropped.contains(&order.variant),
                    "W25 what was dropped is pruned again, by one: {}",
                    order.attempt
                );
                let there = self.variants_there.contains(&order.variant);
                let held_up =
                    |key: VariantKey| !self.variants_there.contains(&key) && coordinator.wants_alone(key);
                let passed = there || !coordinator.is_held_up(order.variant, &order.cells, held_up);
                assert!(passed, "W21 nothing of a model is begun before its canary: {}", order.attempt);
                coordinator.best_choice(self.now, worker, order);
                coordinator.late_enough(self.now, worker, order);
            }
        }
        if let Some(hands) = self.workers.get_mut(worker.0.as_ref())
            && !self.dice.percent(5)
        {
            hands.take(orders, self.coordinators[at].epoch);
        }
    }

    pub(super) fn check_bucket(&self) {
        for coordinator in &self.coordinators {
            for (key, variant) in coordinator.schedule.variants.iter() {
                let there = !variant.done || self.variants_there.contains(key);
                let cells = variant.cells.iter().all(|(c, s)| !s.done || self.cells_there.contains(c));
                assert!(there && cells, "W11 nothing is believed done that the bucket does not hold");
            }
        }
    }

    /// W16: a sweep that nobody stopped ends with every cell done, or given up by its own or its variant's fault.
    pub(super) fn check_end(&self) {
        let coordinator = &self.coordinators[0];
        for (name, sweep) in &coordinator.schedule.sweeps {
            assert!(sweep.told, "W16 the sweep {name} does not end");
            if coordinator.told[name].stopped() {
                continue;
            }
            for cell in &coordinator.told[name].cells {
                let home = coordinator.schedule.homes[cell];
                let canary = coordinator.told[name].after.get(&home);
                let keys = [Some(cell.0), Some(home.0), canary.map(|key| key.0)];
                let fine = keys.into_iter().flatten().all(|key| self.natures[&key] == Nature::Fine);
                match coordinator.schedule.explain(name, *cell) {
                    Explanation::Done => assert!(self.cells_there.contains(cell)),
                    Explanation::Quarantined(_) | Explanation::Fallen { .. } if !fine => {}
                    other => panic!("W16 a cell of {name} ends as {other:?}"),
                }
            }
            for key in &coordinator.told[name].alone {
                let canary = coordinator.told[name].after.get(key);
                let ok = self.variants_there.contains(key)
                    || self.natures[&key.0] != Nature::Fine
                    || canary.is_some_and(|key| self.natures[&key.0] != Nature::Fine);
                assert!(ok, "W16 a variant of {name} is missing");
            }
        }
    }
}

impl Coordinator {
    /// Counts a failure; true if it gives the key up.
    fn fails(&mut self, attempt: &espalier_proto::ids::AttemptId, fault: &crate::schedule::Fault) -> bool {
        use crate::schedule::FaultKind as K;
        let key = fault.key;
        let going = self.told.values().filter(|t| !t.cancelled && !t.was_doomed);
        let wanting =
            going.filter(|t| t.cells.contains(&CellKey(key)) || t.variants.contains(&VariantKey(key)));
        let tries = wanting.map(|t| t.attempts).max();
        let memory: BTreeMap<_, _> = self.heard.iter().map(|(w, s)| (w.clone(), s.facts.memory)).collect();
        let holder = self.heard.values().find(|s| s.shards.iter().any(|r| r.attempt == *attempt));
        let size = holder.map_or(0, |s| memory[&s.worker]);
        let at = holder.map(|s| s.worker.clone());
        let kind = holder.map(|s| s.facts.fingerprint.clone());
        let count = self.counts.entry(key).or_default();
        use espalier_proto::records::FailureCode as C;
        let unlike = fault.code == C::DigestMismatch;
        if (unlike || matches!(fault.kind, K::NodeFault | K::OutOfMemory | K::ComputeLost))
            && !fault.message.contains("lost")
        {
            count.failed_at.extend(at);
        }
        if unlike {
            count.unlike.extend(kind);
        }
        if fault.message.contains("lost") {
            count.losses.insert(attempt.clone(), fault.kind);
        }
        match (fault.kind, fault.code) {
            (K::Preempted, _) => {}
            (K::NodeFault | K::StoreError, _) => count.excused += 1,
            (K::CellError, C::NonFiniteWeights | C::NonFiniteScores) => {
                count.blamed = tries.unwrap_or(1).max(count.blamed + 1);
            }
            (K::OutOfMemory, _) => {
                count.too_small = count.too_small.max(size);
                count.blamed += 1;
            }
            (K::ComputeLost | K::CellError, _) => count.blamed += 1,
        }
        !count.given_up && tries.is_some_and(|t| count.blamed + count.excused / 4 >= t)
    }

    /// Takes in what the schedule decided by itself: sweeps stopped by failures, lost attempts that turned out to live.
    fn after(&mut self) {
        for (name, told) in &mut self.told {
            told.was_doomed = std::mem::replace(&mut told.doomed, self.schedule.sweeps[name].doomed);
        }
        for count in self.counts.values_mut() {
            count.losses.retain(|id, kind| {
                let lives = self.schedule.attempts.contains_key(id);
                match kind {
                    crate::schedule::FaultKind::NodeFault if lives => count.excused -= 1,
                    _ if lives => count.blamed -= 1,
                    _ => {}
                }
                !lives
            });
        }
        for (key, code) in std::mem::take(&mut self.restored) {
            let variant = self.schedule.variants.get(&VariantKey(key)).map(|v| &v.trouble);
            let home = self.schedule.homes.get(&CellKey(key)).map(|home| &self.schedule.variants[home]);
            let trouble = home.map(|v| &v.cells[&CellKey(key)].trouble).or(variant);
            if trouble.is_some_and(|t| t.quarantined == Some(code)) {
                self.counts.entry(key).or_default().given_up = true;
            }
        }
        if self.schedule.superseded {
            return;
        }
        for (id, attempt) in self.schedule.attempts.iter() {
            let failed = self.kept.contains(&(id.clone(), attempt.variant.0));
            assert!(!failed, "W19 an attempt that failed does not live again: {id}");
        }
        let newest = |id: &WorkerId| self.heard.get(id).map(|s| s.call);
        for (id, worker) in self.schedule.workers.iter() {
            assert!(newest(id) == Some(worker.newest), "W17 a worker's newest call is what counts: {id}");
            let fresh = worker.attempts.iter().filter(|a| !worker.reported.contains(*a)).count();
            let most = if worker.facts.stages.contains_key(methods::AHEAD) { 16 } else { 1 };
            assert!(fresh <= most, "W18 a worker is given one shard at a time, or a few if it says so: {id}");
        }
    }
}
