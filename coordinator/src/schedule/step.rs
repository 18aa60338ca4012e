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
        match event {
            Event::Submit(submission) => self.submit(*submission),
            Event::Cancel(sweep) => self.halt(&sweep),
            Event::Pause(sweep) => self.pause(&sweep),
            Event::Resume(sweep) => self.resume(&sweep),
            Event::Retry { sweep, keys } => self.retry(&sweep, &keys),
            Event::Forget(sweep) => self.forget(&sweep),
            Event::Sync(sync) => self.on_sync(now, *sync, &mut commands),
            Event::CallClosed { worker, call } => self.on_call_closed(&worker, call),
            Event::WorkerLost(worker) => self.worker_lost(now, &worker, &mut commands),
            Event::RecordsFound { variants, cells } => {
                variants.into_iter().for_each(|v| self.variant_is_done(v));
                cells.into_iter().for_each(|c| self.cell_is_done(c));
            }
            Event::Drain => self.draining = true,
            Event::NewerEpoch(epoch) => commands.push(Command::Superseded { epoch }),
            Event::Tick => self.lapse(now, &mut commands),
        }
        self.place(now);
        self.settle_sweeps(&mut commands);
        self.answer(now, &mut commands);
        self.check();
        commands
    }

    fn on_sync(&mut self, now: Millis, sync: Sync, commands: &mut Vec<Command>) {
        if sync.epoch_seen > self.epoch {
            commands.push(Command::Superseded { epoch: sync.epoch_seen });
        }
        let id = sync.worker;
        let worker = self.workers.entry(id.clone()).or_insert_with(|| Worker {
            facts: sync.facts.clone(),
            heard: now,
            draining: false,
            call: None,
            newest: 0,
            reported: BTreeSet::new(),
            attempts: BTreeSet::new(),
            last_model: None,
            faults: 0,
        });
        if worker.newest > sync.call {
            return; // an older call that arrived late: what it says is no longer the case
        }
        let before = std::mem::take(&mut worker.reported);
        worker.facts = sync.facts;
        worker.heard = now;
        worker.newest = sync.call;
        worker.draining = sync.draining;
        worker.call = Some((sync.call, now));
        worker.reported = sync.shards.iter().map(|s| s.attempt.clone()).collect();
        for report in &sync.shards {
            self.absorb(now, &id, report, commands);
        }
        self.renew(now, &id);
        self.dropped(now, &id, &before, commands);
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
        if report.variant_done {
            self.variant_is_done(report.variant);
            self.end_rivals(report);
        }
        for cell in &report.cells_done {
            self.cell_is_done(*cell);
        }
        if !self.attempts.contains_key(&report.attempt) {
            self.adopt(now, worker, report);
        } else {
            let taken = self.take_over_begun(report);
            let attempt = self.attempts.get_mut(&report.attempt).expect("it was just there");
            attempt.cells.extend(&taken);
            attempt.begun.extend(&report.cells_begun);
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

    fn on_call_closed(&mut self, worker: &WorkerId, call: u64) {
        if let Some(worker) = self.workers.get_mut(worker)
            && worker.call.is_some_and(|(open, _)| open == call)
        {
            worker.call = None;
        }
    }

    /// Answers open calls, except those of idle workers for whom there is no news yet.
    fn answer(&mut self, now: Millis, commands: &mut Vec<Command>) {
        let (drain, timing) = (self.draining, self.timing);
        for (id, worker) in &mut self.workers {
            let Some((call, since)) = worker.call else {
                continue;
            };
            let idle = worker.attempts.is_empty() && worker.reported.is_empty();
            if idle && !drain && now < since + timing.hold {
                continue;
            }
            worker.call = None;
            let orders = worker
                .attempts
                .iter()
                .map(|attempt_id| {
                    let attempt = &self.attempts[attempt_id];
                    let cells = &self.variants[&attempt.variant].cells;
                    let mut ordered: Vec<_> = attempt.cells.iter().map(|c| (cells[c].order, *c)).collect();
                    ordered.sort_unstable();
                    Order {
                        attempt: attempt_id.clone(),
                        variant: attempt.variant,
                        cells: ordered.into_iter().map(|(_, c)| c).collect(),
                        variant_wanted: attempt.alone,
                    }
                })
                .collect();
            let call_again_ms = if worker.attempts.is_empty() { 0 } else { timing.busy.0 as u32 };
            commands.push(Command::Answer { worker: id.clone(), call, orders, drain, call_again_ms });
        }
    }
}
