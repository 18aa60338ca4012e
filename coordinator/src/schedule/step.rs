//! One event in, the commands that follow out. One `match`, one handler an event.

use super::command::{Command, Order};
use super::event::{Event, Millis, Report, Sync, WorkerId};
use super::state::{Schedule, Worker};
use espalier_proto::ids::AttemptId;
use std::collections::BTreeSet;

impl Schedule {
    /// Takes in what happened at `now`. Time never goes back.
    pub fn step(&mut self, now: Millis, event: Event) -> Vec<Command> {
        self.started.get_or_insert(now);
        self.now = now;
        let mut commands = Vec::new();
        if self.superseded {
            return commands;
        }
        let tick = matches!(event, Event::Tick);
        let caller = match &event {
            Event::Sync(sync) if !sync.shards.is_empty() => Some(sync.worker.clone()),
            _ => None,
        };
        match event {
            Event::Submit(submission) => self.submit(*submission, &mut commands),
            Event::Cancel(sweep) => self.cancel(&sweep),
            Event::Pause(sweep) => self.pause(&sweep),
            Event::Resume(sweep) => self.resume(&sweep),
            Event::Retry { sweep, keys } => self.retry(&sweep, &keys, &mut commands),
            Event::Forget(sweep) => self.forget(&sweep),
            Event::Sync(sync) => self.on_sync(now, *sync, &mut commands),
            Event::CallClosed { worker, call } => self.on_call_closed(&worker, call),
            Event::WorkerLost(worker) => self.worker_lost(now, &worker, &mut commands),
            Event::RecordsFound { variants, cells } => {
                for variant in variants {
                    self.variant_is_done(variant);
                }
                for cell in cells {
                    self.cell_is_done(cell);
                }
            }
            Event::Drain => self.draining = true,
            Event::NewerEpoch(epoch) => self.heard_of(epoch, &mut commands),
            Event::Tick => self.lapse(now, &mut commands),
        }
        self.settle_sweeps(now, &mut commands);
        if !self.superseded {
            if let Some(worker) = caller {
                self.give_back(now, &worker);
            }
            self.place(now);
            if tick {
                self.tell_held_back();
                self.take_back(now);
                self.double_stragglers(now);
            }
            self.answer(now, &mut commands);
        }
        self.refresh(now);
        self.check();
        commands
    }

    /// Of two coordinators the older one falls silent: its workers call the newer one.
    fn heard_of(&mut self, epoch: u64, commands: &mut Vec<Command>) {
        if epoch > self.epoch {
            self.superseded = !planted!(self, NotSuperseded);
            commands.push(Command::Superseded { epoch });
        }
    }

    fn on_sync(&mut self, now: Millis, sync: Sync, commands: &mut Vec<Command>) {
        self.heard_of(sync.epoch_seen, commands);
        if self.superseded {
            return;
        }
        let id = sync.worker;
        let known = self.workers.get(&id);
        if known.is_some_and(|worker| worker.newest > sync.call) && !planted!(self, StaleCall) {
            return; // an older call that arrived late: what it says is no longer the case
        }
        let kind = match known.map(|worker| (worker.facts.same_kind(&sync.facts), worker.kind)) {
            Some((true, kind)) => kind,
            other => {
                if other.is_some() {
                    // A worker is the same all its life: this is another one under its name.
                    self.worker_lost(now, &id, commands);
                }
                self.index.kind(&sync.facts)
            }
        };
        let worker = self.workers.get_or_insert_with(&id, || Worker {
            facts: sync.facts.clone(),
            heard: now,
            answered: now,
            draining: false,
            call: None,
            newest: 0,
            reported: BTreeSet::new(),
            attempts: BTreeSet::new(),
            done_at: Millis(0),
            last_model: None,
            faults: 0,
            kind,
            idle_as: None,
            held_until: None,
            told_held_back: false,
            greeted: false,
        });
        // Most calls name what the one before named.
        let same = worker.reported.len() == sync.shards.len()
            && sync.shards.iter().all(|s| worker.reported.contains(&s.attempt));
        let before = if same { BTreeSet::new() } else { std::mem::take(&mut worker.reported) };
        worker.facts = sync.facts;
        worker.kind = kind;
        worker.heard = now;
        worker.newest = sync.call;
        worker.draining = sync.draining;
        worker.call = Some((sync.call, now));
        if !same {
            worker.reported = sync.shards.iter().map(|s| s.attempt.clone()).collect();
        }
        for report in &sync.shards {
            self.absorb(now, &id, report, commands);
        }
        self.renew(now, &id);
        self.dropped(now, &id, &before, commands);
        if sync.draining {
            self.withdraw(&id);
        }
        self.note_worker(&id);
        self.to_answer.insert(id);
    }

    /// A worker that leaves takes nothing up that it has not taken up yet.
    fn withdraw(&mut self, worker: &WorkerId) {
        let attempts = self.workers[worker].attempts.iter();
        let given: Vec<AttemptId> = attempts.filter(|id| !self.attempts[*id].confirmed).cloned().collect();
        for id in given {
            self.end(&id);
        }
    }

    /// Takes in what a worker says of one shard.
    fn absorb(&mut self, now: Millis, worker: &WorkerId, report: &Report, commands: &mut Vec<Command>) {
        if !self.variants.contains_key(&report.variant) {
            return; // nobody wants it any more: it is not named in the answer, and stops
        }
        if self
            .attempts
            .get(&report.attempt)
            .is_some_and(|a| a.worker != *worker || a.variant != report.variant)
        {
            return; // an attempt has one worker and one variant for ever
        }
        let known_before = self.attempts.contains_key(&report.attempt);
        let mut finished = 0;
        if report.variant_done {
            let news = self.variant_is_done(report.variant);
            finished += u64::from(news);
            if news && self.gated.contains_key(&report.variant) {
                let sweeps = self.sweeps_wanting(report.variant, report.variant.0);
                commands.push(Command::CanaryPassed { sweeps, canary: report.variant });
            }
            self.end_rivals(report);
        }
        let known = &self.variants[&report.variant].cells;
        let news = report.cells_done.iter().filter(|c| known.get(*c).is_none_or(|state| !state.done));
        for cell in &news.copied().collect::<Vec<_>>() {
            self.note_pace(now, &report.attempt, cell);
            finished += u64::from(self.cell_is_done(*cell));
        }
        if finished > 0 {
            let host = self.workers[worker].facts.host.clone();
            *self.finished.entry(host).or_default() += finished;
        }
        if !self.attempts.contains_key(&report.attempt) {
            if finished > 0 && !known_before {
                self.hearsay.insert(report.variant);
            }
            self.adopt(now, worker, report);
        } else {
            let taken = self.take_over_begun(report);
            let attempt = self.attempts.get_mut(&report.attempt).expect("it was just there");
            if !taken.is_empty() || attempt.begun != report.cells_begun {
                self.index.mark(report.variant);
            }
            attempt.cells.extend(&taken);
            if attempt.begun != report.cells_begun {
                attempt.begun_since = now;
                attempt.begun.clone_from(&report.cells_begun);
            }
            attempt.reach = attempt.reach.max(report.reach());
            attempt.phase = report.phase;
            attempt.progress = report.progress;
            self.end_if_finished(&report.attempt);
        }
        for fault in &report.faults {
            self.failed(now, (worker, &report.attempt, report.variant), fault, commands);
        }
        if report.variant_done && report.faults.is_empty() {
            self.workers.get_mut(worker).expect("it just called").faults = 0;
        }
    }

    /// An attempt that the worker held and no longer names is lost: its supervisor let go of it without a word.
    fn dropped(
        &mut self,
        now: Millis,
        worker: &WorkerId,
        before: &BTreeSet<AttemptId>,
        commands: &mut Vec<Command>,
    ) {
        if before.is_empty() {
            return;
        }
        let known = &self.workers[worker];
        let gone: Vec<AttemptId> = known
            .attempts
            .iter()
            .filter(|id| before.contains(*id) && !known.reported.contains(*id))
            .cloned()
            .collect();
        for id in gone {
            self.lose(now, &id, commands);
        }
    }

    fn on_call_closed(&mut self, id: &WorkerId, call: u64) {
        let now = self.now;
        if let Some(worker) = self.workers.get_mut(id)
            && worker.call.is_some_and(|(open, _)| open == call)
        {
            worker.call = None;
            worker.answered = now;
            self.note_worker(id);
        }
    }

    /// Answers open calls, except those of idle workers for whom there is no news yet.
    fn answer(&mut self, now: Millis, commands: &mut Vec<Command>) {
        while let Some((until, id)) = self.holds.first().cloned().filter(|(until, _)| *until <= now) {
            self.holds.remove(&(until, id.clone()));
            self.workers.get_mut(&id).expect("calls are held of known workers").held_until = None;
            self.to_answer.insert(id);
        }
        if self.draining {
            self.to_answer.extend(self.workers.keys().cloned());
        }
        while let Some(id) = self.to_answer.pop_first() {
            let Some(worker) = self.workers.get(&id) else {
                continue;
            };
            let Some((call, since)) = worker.call else {
                continue;
            };
            let (until, kind, told) = (since + self.timing.hold, worker.kind, worker.told_held_back);
            let idle = worker.attempts.is_empty() && worker.reported.is_empty() && !worker.draining;
            let waits = idle && worker.greeted && !self.draining && now < until;
            let held_back = idle && self.holds_back(kind);
            let held = (waits && (told || !held_back)).then_some(until);
            let worker = self.workers.get_mut(&id).expect("it was just there");
            if worker.held_until != held {
                if let Some(old) = std::mem::replace(&mut worker.held_until, held) {
                    self.holds.remove(&(old, id.clone()));
                }
                self.holds.extend(held.map(|until| (until, id.clone())));
            }
            if held.is_none() {
                worker.call = None;
                worker.answered = now;
                worker.greeted = true;
                worker.told_held_back = held_back;
                let command = self.answer_to(&id, call, held_back);
                self.note_worker(&id);
                commands.push(command);
            }
        }
    }

    fn answer_to(&self, id: &WorkerId, call: u64, held_back: bool) -> Command {
        let worker = &self.workers[id];
        let order = |attempt_id: &AttemptId| {
            let attempt = &self.attempts[attempt_id];
            let cells = &self.variants[&attempt.variant].cells;
            let mut ordered: Vec<_> = attempt.cells.iter().map(|c| (cells[c].rank(), *c)).collect();
            ordered.sort_unstable();
            Order {
                attempt: attempt_id.clone(),
                variant: attempt.variant,
                cells: ordered.into_iter().map(|(_, c)| c).collect(),
                variant_wanted: attempt.alone,
            }
        };
        let call_again_ms = if worker.attempts.is_empty() { 0 } else { self.timing.busy.0 as u32 };
        Command::Answer {
            worker: id.clone(),
            call,
            orders: worker.attempts.iter().map(order).collect(),
            drain: self.draining,
            call_again_ms,
            held_back,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::schedule::story::*;
    use crate::schedule::{Command, Misfit};

    #[test]
    fn a_worker_that_comes_back_as_another_device_holds_only_what_it_fits() {
        let mut story = Story::of(grid(&[2]));
        let order = story.given(1);
        story.sync(1, vec![pruning(&order)]);
        let smaller = crate::schedule::WorkerFacts { memory: 50, ..facts() };
        story.facts.insert(1, smaller.clone());
        assert_eq!(story.sync(1, vec![pruning(&order)]), Some(vec![]), "it is told to stop");
        assert!(story.commands.iter().any(|c| matches!(c, Command::LookFor { .. })));
        assert_eq!(story.given(2).variant, order.variant);
        assert_eq!(
            story.schedule.misfit(&smaller, variant(0)),
            Some(Misfit::Memory { found: 50, wanted: 100 })
        );
        // One that still fits goes on with it.
        let mut story = Story::of(grid(&[2]));
        let order = story.given(1);
        story.sync(1, vec![pruning(&order)]);
        story.facts.insert(1, crate::schedule::WorkerFacts { memory: 500, ..facts() });
        let orders = story.sync(1, vec![pruning(&order)]).unwrap();
        assert_eq!(orders[0].attempt, order.attempt);
    }
}
