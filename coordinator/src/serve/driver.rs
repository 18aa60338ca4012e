//! Owns the one [`Schedule`]: events in → `step` → commands carried out. Decides nothing itself.
//!
//! In: calls of workers and other events, through [`Handle`]. Out: answers, writes to the bucket, a [`Status`] that can be
//! watched. Writes and look-ups run beside the loop, so that a slow bucket delays no answer.

mod entries;

use super::epoch::Epoch;
use super::errands::{Errands, Kind};
use super::grid::Catalog;
use super::handle::Input;
use super::metrics::Metrics;
use super::order::Orders;
use super::pace::Pace;
use super::status::{Met, Status};
use crate::clock::{self, Stopwatch};
use crate::records::RecordsError;
use crate::records::list::{look_for, usable};
use crate::schedule::{Command, Event, Fault, Millis, Order, Schedule, Sync, Timing, WorkerFacts, WorkerId};
use espalier_proto::bucket::Bucket;
use espalier_proto::causes::chain;
use espalier_proto::ids::{AttemptId, Digest, VariantKey};
use espalier_proto::layout;
use espalier_proto::messages as m;
use espalier_proto::records::{FailureCode, FailureRecord, RECORD_FORMAT};
use espalier_proto::sweep::LogEvent;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

pub use super::handle::Handle;

/// How often time passes for the schedule.
const TICK: Duration = Duration::from_millis(200);
/// How often a newer epoch is looked for.
const LOOK_FOR_EPOCH: Duration = Duration::from_secs(5);

/// An open call: its number, the attempts that it named as held, where its answer goes.
type Open = (u64, Vec<AttemptId>, oneshot::Sender<m::SyncResponse>);

/// The loop and what it keeps.
struct Driver {
    schedule: Schedule,
    clock: Stopwatch,
    bucket: Bucket,
    epoch: Epoch,
    timing: Timing,
    catalog: Catalog,
    inputs: mpsc::UnboundedSender<Input>,
    status: watch::Sender<Arc<Status>>,
    /// Open calls by worker.
    open: BTreeMap<WorkerId, Open>,
    /// What each worker is, for failures that are kept after it is gone.
    known: BTreeMap<WorkerId, Arc<WorkerFacts>>,
    faults: Arc<BTreeMap<Digest, Met>>,
    superseded: bool,
    metrics: Arc<Metrics>,
    pace: Pace,
    errands: Errands,
    orders: Orders,
}

/// Starts a driver of this epoch. `catalog` is what workers are told about keys.
pub fn start(bucket: Bucket, epoch: Epoch, timing: Timing, catalog: Catalog) -> Handle {
    let (inputs, receiver) = mpsc::unbounded_channel();
    let (status_sender, status) = watch::channel(Arc::new(Status::default()));
    let orders = Orders::default();
    let metrics = Arc::new(Metrics::new(bucket.meter().clone(), &epoch.instance, epoch.n));
    let driver = Driver {
        schedule: Schedule::new(epoch.instance.clone(), epoch.n, timing),
        clock: Stopwatch::start(),
        bucket,
        epoch,
        timing,
        catalog,
        inputs: inputs.clone(),
        status: status_sender,
        open: BTreeMap::new(),
        known: BTreeMap::new(),
        faults: Arc::default(),
        superseded: false,
        metrics: metrics.clone(),
        pace: Pace::default(),
        errands: Errands::default(),
        orders: orders.clone(),
    };
    tokio::spawn(driver.run(receiver));
    Handle { inputs, status, calls: Arc::default(), metrics, orders }
}

impl Driver {
    async fn run(mut self, mut receiver: mpsc::UnboundedReceiver<Input>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut epoch_looked = Stopwatch::start();
        loop {
            tokio::select! {
                input = receiver.recv() => match input {
                    None => return,
                    Some(Input::Stop(patience, done)) => {
                        // Whoever waits for an answer may be waited for at a log.
                        receiver.close();
                        while receiver.try_recv().is_ok() {}
                        let left = self.errands.finish(patience).await;
                        self.show();
                        // Whoever asked may have gone.
                        let _ = done.send(left);
                        return;
                    }
                    Some(input) => self.take(input),
                },
                _ = tick.tick() => {
                    self.step(Event::Tick);
                    if epoch_looked.elapsed() > LOOK_FOR_EPOCH {
                        epoch_looked = Stopwatch::start();
                        self.look_for_epoch();
                    }
                    if self.errands.tick() {
                        self.pace.changed();
                    }
                    if self.pace.is_due(self.clock) {
                        self.show();
                    }
                }
                news = self.errands.next() => if news {
                    self.pace.changed();
                },
            }
        }
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Sync(sync, reply) if sync.epoch_seen > self.epoch.n => self.verify_epoch(sync, reply),
            Input::Sync(sync, reply) => {
                self.metrics.called();
                match self.known.get_mut(&sync.worker) {
                    Some(known) if **known == sync.facts => {}
                    _ => drop(self.known.insert(sync.worker.clone(), Arc::new(sync.facts.clone()))),
                }
                let held = sync.shards.iter().map(|shard| shard.attempt.clone()).collect();
                self.open.insert(sync.worker.clone(), (sync.call, held, reply));
                self.step(Event::Sync(sync));
            }
            Input::Event(event) => self.step(event),
            Input::Submit(submission, catalog, done) => {
                self.catalog.extend(catalog);
                let commands = self.decide(Event::Submit(submission));
                commands.into_iter().for_each(|command| self.carry_out(command));
                self.show();
                answer(done, ());
            }
            Input::Explain(sweep, cells, reply) => {
                // Whoever asks also looks at the status, which is to show the events before.
                self.show();
                answer(reply, cells.iter().map(|c| self.schedule.explain(&sweep, *c)).collect());
            }
            Input::Settled(done) => {
                self.show();
                answer(done, ());
            }
            Input::WaitsFor(sweep, reply) => answer(reply, self.schedule.waits_for(&sweep)),
            Input::Believed(variants, reply) => answer(reply, self.schedule.believed(&variants)),
            Input::Hearsay(reply) => answer(reply, self.schedule.take_hearsay()),
            Input::Census(reply) => answer(reply, self.schedule.census()),
            Input::WorkerExited(pid) => {
                let gone: Vec<WorkerId> =
                    self.known.iter().filter(|(_, f)| f.pid == pid).map(|(id, _)| id.clone()).collect();
                for worker in gone {
                    self.step(Event::WorkerLost(worker));
                }
            }
            Input::Recalled(met) => {
                met.into_iter().for_each(|(key, met)| self.remember(key, met, false));
                self.pace.changed();
            }
            Input::Stop(..) => unreachable!("the loop takes it"),
        }
    }

    fn decide(&mut self, event: Event) -> Vec<Command> {
        match &event {
            Event::Retry { sweep, keys } => self.log_retry_again(sweep, keys),
            Event::Submit(submission) if submission.again => self.log_retry_again(&submission.sweep, &[]),
            _ => {}
        }
        let (now, watch) = (Millis(self.clock.millis()), Stopwatch::start());
        let commands = self.schedule.step(now, event);
        self.metrics.stepped(watch.elapsed());
        self.pace.changed();
        commands
    }

    fn step(&mut self, event: Event) {
        let commands = self.decide(event);
        let (mut news, mut over) = (false, false);
        for command in commands {
            news |= !matches!(command, Command::Answer { .. });
            over |= matches!(command, Command::SweepDone { .. } | Command::Superseded { .. });
            self.carry_out(command);
        }
        if over || (news && self.pace.is_due(self.clock)) {
            self.show();
        }
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Answer { worker, call, orders, drain, call_again_ms, held_back } => {
                let Some((open, held, reply)) = self.open.remove(&worker) else {
                    return;
                };
                if open != call {
                    self.open.insert(worker, (open, held, reply));
                    return;
                }
                let response = m::SyncResponse {
                    epoch: self.epoch.n,
                    instance: self.epoch.instance.to_string(),
                    bucket_url: self.bucket.url().to_owned(),
                    probe_nonce: self.epoch.probe_nonce.clone(),
                    shards: orders.iter().filter_map(|o| self.order(o, held.contains(&o.attempt))).collect(),
                    drain,
                    call_again_ms,
                    work_held_back: held_back,
                };
                self.metrics.answered();
                // A worker that has gone calls again; until then its lease runs.
                let _ = reply.send(response);
            }
            Command::KeepFailure { worker, attempt, fault } => self.keep_failure(&worker, attempt, fault),
            Command::Quarantine { sweeps, key, code } => self.log_given_up(sweeps, key, code),
            Command::Stop { sweep } => self.write_log(sweep, LogEvent::Stop),
            Command::Forgive { sweep, keys } => self.write_log(sweep, LogEvent::Retry { keys }),
            Command::CanaryPassed { sweeps, canary } => self.log_passed(sweeps, canary),
            Command::LookFor { variant, cells } => {
                let (bucket, inputs) = (self.bucket.clone(), self.inputs.clone());
                self.errands.read(Kind::Records, async move {
                    let found = async {
                        let found = look_for(&bucket, [variant].into(), cells.into_iter().collect()).await?;
                        // What is being pruned again for a checkpoint that was dropped has its record.
                        let variants = usable(&bucket, found.variants.into_keys()).await?;
                        Ok::<_, RecordsError>((variants, found.cells.into_keys().collect()))
                    };
                    match found.await {
                        Ok((variants, cells)) => {
                            // A driver that has ended needs no more events.
                            let _ = inputs.send(Input::Event(Event::RecordsFound { variants, cells }));
                            None
                        }
                        Err(error) => {
                            Some(format!("lost records could not be looked for: {}", chain(&error)))
                        }
                    }
                });
            }
            Command::SweepDone { sweep, halted } => tracing::info!(%sweep, halted, "nothing is left to do"),
            Command::Superseded { epoch } => {
                tracing::warn!(epoch, "a newer coordinator of this instance is at work");
                self.superseded = true;
            }
        }
    }

    /// A spec may be long, and busy workers call every two seconds: what a call named as held is not described again.
    fn order(&self, order: &Order, held: bool) -> Option<m::ShardOrder> {
        if let Some(canary) = self.catalog.canaries.get(&order.variant) {
            return Some(canary.order(order, (self.timing.lease.0 / 1000) as u32));
        }
        let known = self.catalog.variants.get(&order.variant)?;
        let (variant_json, model_folder) = if held { Default::default() } else { known.clone() };
        let cells = order.cells.iter().filter_map(|cell| {
            let inputs = self.catalog.cells.get(cell)?;
            Some(m::CellOrder { cell_key: cell.to_string(), inputs_digest: inputs.to_string() })
        });
        Some(m::ShardOrder {
            attempt: order.attempt.to_string(),
            variant_json,
            model_folder,
            cells: cells.collect(),
            lease_s: (self.timing.lease.0 / 1000) as u32,
            variant_wanted: order.variant_wanted,
            canary: None,
        })
    }

    fn keep_failure(&mut self, worker: &WorkerId, attempt: AttemptId, fault: Fault) {
        let fingerprint = self.known.get(worker).map(|f| f.fingerprint.clone()).unwrap_or_default();
        let (key, code, why) = (fault.key, fault.code.as_str(), &fault.message);
        match fault.code {
            // Asked to leave: nobody's failure.
            FailureCode::Preempted => tracing::debug!(%key, %attempt, code, %why, "attempt given back"),
            // No other attempt is made: what came of the run tells it.
            FailureCode::NonFiniteWeights | FailureCode::NonFiniteScores => {
                tracing::info!(%key, %attempt, code, %why, "attempt failed");
            }
            _ => tracing::warn!(%key, %attempt, code, %why, "attempt failed"),
        }
        let record = FailureRecord {
            format: RECORD_FORMAT,
            key: fault.key,
            attempt,
            code: fault.code,
            message: fault.message.clone(),
            fingerprint,
            at: clock::utc(),
        };
        self.metrics.failed(fault.code.as_str());
        // Who was asked to leave met nothing.
        let anew = fault.code != FailureCode::Preempted;
        self.remember(fault.key, Met { code: fault.code, message: fault.message }, anew);
        let bucket = self.bucket.clone();
        self.errands.write(Kind::Failure, async move {
            let path = layout::failure(record.key, &record.attempt);
            // Lost: the worker has already written it.
            bucket
                .commit_json(&path, &record)
                .await
                .err()
                .map(|e| format!("the record of a failure could not be written: {}", chain(&e)))
        });
    }

    /// What was met at a key; `anew`: whatever was known of it before.
    fn remember(&mut self, key: Digest, met: Met, anew: bool) {
        let canary = self.catalog.canaries.get(&VariantKey(key));
        // Whoever looks for why a variant is not there is told what its canary met.
        let keys = canary.into_iter().flat_map(|canary| &canary.variants).map(|key| key.0).chain([key]);
        let faults = Arc::make_mut(&mut self.faults);
        for key in keys.filter(|key| anew || !faults.contains_key(key)).collect::<Vec<_>>() {
            faults.insert(key, met.clone());
        }
    }

    /// A worker has heard of a later epoch: of this bucket, or of another one in which it worked before. The bucket says which; the call waits.
    fn verify_epoch(&mut self, mut sync: Box<Sync>, reply: oneshot::Sender<m::SyncResponse>) {
        let asked = self.ask_for_epoch(move |superseded| {
            if superseded {
                return Some(Input::Event(Event::NewerEpoch(sync.epoch_seen)));
            }
            sync.epoch_seen = 0;
            Some(Input::Sync(sync, reply))
        });
        self.errands.read(Kind::Epoch, asked);
    }

    fn look_for_epoch(&mut self) {
        let later = self.epoch.n + 1;
        let asked = self
            .ask_for_epoch(move |superseded| superseded.then_some(Input::Event(Event::NewerEpoch(later))));
        self.errands.look(Kind::Epoch, asked);
    }

    /// What follows from whether the bucket names a later epoch.
    fn ask_for_epoch<N: FnOnce(bool) -> Option<Input> + Send + 'static>(
        &self,
        next: N,
    ) -> impl Future<Output = Option<String>> + Send + use<N> {
        let (bucket, epoch, inputs) = (self.bucket.clone(), self.epoch.clone(), self.inputs.clone());
        async move {
            match epoch.superseded(&bucket).await {
                Ok(superseded) => {
                    // A driver that has ended needs no more events.
                    let _ = next(superseded).map(|input| inputs.send(input));
                    None
                }
                // It is looked for again; a worker calls again.
                Err(error) => Some(format!("a newer epoch could not be looked for: {}", chain(&error))),
            }
        }
    }

    fn show(&mut self) {
        let (watch, away) = (Stopwatch::start(), self.bucket.trouble());
        self.status.send_replace(Arc::new(Status {
            view: self.schedule.view(),
            faults: self.faults.clone(),
            superseded: self.superseded,
            silent: self.errands.silent().filter(|_| away.is_none()),
            refused: self.errands.failed().cloned().chain(away).collect(),
            called: self.known.iter().map(|(id, f)| (f.pid, id.clone())).collect(),
            workers: self.known.clone(),
        }));
        self.pace.shown(self.clock, watch.elapsed());
    }
}

/// Whoever asked may have gone.
fn answer<T>(reply: oneshot::Sender<T>, with: T) {
    let _ = reply.send(with);
}
