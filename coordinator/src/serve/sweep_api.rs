//! The gRPC service that users' commands call: messages → what is asked of [`Sweeps`], and back. Decides nothing.

use super::control;
use super::ending::{self, Reporter};
use super::explain::{self, blamed, explained, waits_for};
use super::guard::Pass;
use super::outcome::Failed;
use super::refuse::Refusal;
use super::shard_logs;
use super::status::Status as Now;
use super::submit::{self, Defaults, only, some};
use super::sweep_logs;
use super::sweeps::Sweeps;
use super::uploads::{Incoming, Uploads};
use crate::plan::cells::chosen;
use crate::records::list::failures;
use crate::schedule::Wait;
use espalier_proto::ids::{Digest, Name};
use espalier_proto::messages as m;
use espalier_proto::messages::sweep_api_server::{SweepApi, SweepApiServer};
use espalier_proto::protocol::RECONCILE;
use espalier_proto::sweep::ResolvedSweep;
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Shortest time between two states of a watched sweep.
const BREATH: Duration = Duration::from_millis(200);
/// Bytes of a message of a user's: a sweep file's text and the list of its files.
const LARGEST: usize = 64 << 20;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

struct Service {
    sweeps: Arc<Sweeps>,
    uploads: Arc<Uploads>,
    defaults: Defaults,
    report: Reporter,
}

/// The service.
pub fn service(
    sweeps: Arc<Sweeps>,
    uploads: Arc<Uploads>,
    defaults: Defaults,
    report: Reporter,
) -> SweepApiServer<impl SweepApi> {
    SweepApiServer::new(Service { sweeps, uploads, defaults, report }).max_decoding_message_size(LARGEST)
}

#[tonic::async_trait]
impl SweepApi for Service {
    async fn missing(
        &self,
        request: Request<m::MissingRequest>,
    ) -> Result<Response<m::MissingResponse>, Status> {
        let wanted = request.into_inner().sha256;
        let wanted: Result<Vec<Digest>, _> = wanted.iter().map(|text| text.parse()).collect();
        let missing = self.uploads.missing(&wanted.map_err(Refusal::bad)?);
        let sha256 = missing.iter().map(ToString::to_string).collect();
        Ok(Response::new(m::MissingResponse { sha256 }))
    }

    async fn upload(
        &self,
        request: Request<Streaming<m::UploadChunk>>,
    ) -> Result<Response<m::UploadResponse>, Status> {
        let mut chunks = request.into_inner();
        let mut incoming: Option<(String, Incoming)> = None;
        let mut taken = m::UploadResponse::default();
        while let Some(chunk) = chunks.message().await? {
            if incoming.as_ref().is_none_or(|(name, _)| *name != chunk.sha256) {
                if let Some((_, whole)) = incoming.take() {
                    whole.end().map_err(Refusal::bad)?;
                }
                let digest: Digest = chunk.sha256.parse().map_err(Refusal::bad)?;
                incoming = Some((chunk.sha256, self.uploads.begin(digest).map_err(Refusal::bad)?));
                taken.files += 1;
            }
            if let Some((_, file)) = &mut incoming {
                file.take(&chunk.data).map_err(Refusal::bad)?;
            }
            taken.bytes += chunk.data.len() as u64;
        }
        if let Some((_, whole)) = incoming {
            whole.end().map_err(Refusal::bad)?;
        }
        Ok(Response::new(taken))
    }

    type SubmitStream = Answers<m::SubmitUpdate>;

    async fn submit(
        &self,
        request: Request<m::SubmitRequest>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let (sweeps, uploads, defaults) = (self.sweeps.clone(), self.uploads.clone(), self.defaults.clone());
        let progress = sender.clone();
        let tell: Arc<dyn Fn(&str) + Send + Sync> = Arc::new(move |doing: &str| {
            // A user who has gone is still obeyed.
            let _ = progress.send(Ok(m::SubmitUpdate { doing: doing.to_owned(), ..Default::default() }));
        });
        let request = request.into_inner();
        let part = !request.only.is_empty();
        tokio::spawn(async move {
            let done = submit::submit(&sweeps, &uploads, &defaults, request, tell).await;
            let answer = match done {
                Ok((sweep, moved)) => {
                    let mut last = last_update(&sweeps, &sweep, part).await;
                    last.notes.splice(..0, moved);
                    Ok(last)
                }
                Err(refusal) => Err(Status::from(refusal)),
            };
            // A user who has gone hears it from `status`.
            let _ = sender.send(answer);
        });
        Ok(Response::new(Box::pin(UnboundedReceiverStream::new(receiver))))
    }

    async fn state(&self, request: Request<m::StateRequest>) -> Result<Response<m::StateResponse>, Status> {
        let name = request.into_inner().sweep;
        let names = if name.is_empty() {
            self.sweeps.names()
        } else {
            vec![self.sweeps.sweep(&name).map_err(Refusal::sweeps)?.name.clone()]
        };
        let now = self.sweeps.driver().status().borrow().clone();
        let mut sweeps = Vec::new();
        for name in &names {
            sweeps.extend(state(&self.sweeps, name, &now).await);
        }
        if name.is_empty() {
            let unreadable = self.sweeps.unreadable();
            sweeps.extend(unreadable.iter().map(|(name, why)| m::SweepState {
                name: name.to_string(),
                unreadable: why.clone(),
                ..Default::default()
            }));
        }
        Ok(Response::new(m::StateResponse {
            sweeps,
            workers: workers(&self.sweeps, &now),
            instance: self.sweeps.epoch().instance.to_string(),
            epoch: self.sweeps.epoch().n,
            bucket_url: self.sweeps.bucket().url().to_owned(),
            trouble: now.trouble(),
        }))
    }

    type WatchStream = Answers<m::SweepState>;

    async fn watch(&self, request: Request<m::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let pass = Pass::of(&request);
        let sweep = self.sweeps.sweep(&request.into_inner().sweep).map_err(Refusal::sweeps)?;
        let (sender, receiver) = mpsc::unbounded_channel();
        let sweeps = self.sweeps.clone();
        tokio::spawn(async move {
            let mut status = sweeps.driver().status();
            let mut ended = None;
            loop {
                let now = status.borrow_and_update().clone();
                let Some(state) = state(&sweeps, &sweep.name, &now).await else {
                    match sweeps.sweep(sweep.name.as_str()) {
                        // It is being taken up again, or let go.
                        Ok(_) if !sender.is_closed() => crate::clock::sleep(BREATH).await,
                        Ok(_) => return,
                        Err(gone) => {
                            // Whoever watches may have gone.
                            let _ = sender.send(Err(Refusal::sweeps(gone).into()));
                            return;
                        }
                    }
                    continue;
                };
                let (over, seen) = (state.over, ending::is_seen(&state, &mut ended));
                if sender.send(Ok(state)).is_err() || seen {
                    return;
                }
                crate::clock::sleep(BREATH).await;
                if !over && status.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(pass.bounds(receiver))))
    }

    async fn explain(
        &self,
        request: Request<m::ExplainRequest>,
    ) -> Result<Response<m::ExplainResponse>, Status> {
        let request = request.into_inner();
        let sweep = self.sweeps.sweep(&request.sweep).map_err(Refusal::sweeps)?;
        let chosen = some(chosen(&sweep, &only(&request.only)?))?;
        let cells = sweep.cells.iter().filter(|c| chosen.as_ref().is_none_or(|some| some.contains(&c.key)));
        let cells: Vec<_> = cells.collect();
        let how = self.sweeps.driver().explain(&sweep.name, cells.iter().map(|c| c.key).collect()).await;
        let pairs = || cells.iter().copied().zip(&how);
        let met = self.met(blamed(pairs())).await;
        let status = self.sweeps.driver().status().borrow().clone();
        let cancelled = status.view.sweeps.get(&sweep.name).is_some_and(|view| view.halted && !view.doomed);
        let cells = pairs().map(|(cell, how)| explained(&sweep, cell, how, &met, cancelled)).collect();
        Ok(Response::new(m::ExplainResponse { cells }))
    }

    async fn control(
        &self,
        request: Request<m::ControlRequest>,
    ) -> Result<Response<m::ControlResponse>, Status> {
        let (sweeps, request) = (self.sweeps.clone(), request.into_inner());
        // A user who has gone is still obeyed: what the log says is done.
        let asked = tokio::spawn(async move { control::control(&sweeps, &request).await });
        let name = asked.await.map_err(|ended| Refusal::internal(&ended))??;
        let now = self.sweeps.driver().status().borrow().clone();
        let state = match name {
            Some(name) => state(&self.sweeps, &name, &now).await,
            None => None,
        };
        Ok(Response::new(m::ControlResponse { state }))
    }

    async fn logs(&self, request: Request<m::LogsRequest>) -> Result<Response<m::LogsResponse>, Status> {
        let sweep = self.sweeps.sweep(&request.into_inner().sweep).map_err(Refusal::sweeps)?;
        let lines = sweep_logs::lines(self.sweeps.bucket(), &sweep).await?;
        Ok(Response::new(m::LogsResponse { lines }))
    }

    type ShardLogsStream = Answers<m::ShardLogPiece>;

    async fn shard_logs(
        &self,
        request: Request<m::ShardLogsRequest>,
    ) -> Result<Response<Self::ShardLogsStream>, Status> {
        let pass = Pass::of(&request);
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(shard_logs::send(self.sweeps.clone(), request.into_inner(), sender));
        Ok(Response::new(Box::pin(pass.bounds(receiver))))
    }

    async fn report(
        &self,
        request: Request<m::ReportRequest>,
    ) -> Result<Response<m::ReportResponse>, Status> {
        let request = request.into_inner();
        let sweep = self.sweeps.sweep(&request.sweep).map_err(Refusal::sweeps)?;
        let price = request.gpu_hour_price.filter(|price| price.is_finite() && *price >= 0.0);
        let made = (self.report)(sweep.name.clone(), only(&request.only)?, price, false).await?;
        Ok(Response::new(made))
    }
}

impl Service {
    /// What the last attempts at these keys met, from this coordinator's memory, else from the bucket's.
    async fn met(&self, mut keys: BTreeSet<Digest>) -> BTreeMap<Digest, String> {
        let now = self.sweeps.driver().status().borrow().clone();
        let fresh = now.faults.iter().filter(|(key, _)| keys.contains(*key));
        let mut met: BTreeMap<Digest, String> =
            fresh.map(|(key, f)| (*key, explain::met(f.code, &f.message))).collect();
        keys.retain(|key| !met.contains_key(key));
        match failures(self.sweeps.bucket(), keys).await {
            Ok(kept) => {
                met.extend(kept.into_values().flatten().map(|f| (f.key, explain::met(f.code, &f.message))));
            }
            // The code alone is told then.
            Err(error) => tracing::warn!(%error, "failures could not be read"),
        }
        met
    }
}

/// `part`: the submission asked for a part of the grid.
async fn last_update(sweeps: &Sweeps, sweep: &ResolvedSweep, part: bool) -> m::SubmitUpdate {
    let now = sweeps.driver().status().borrow().clone();
    let waits = sweeps.driver().waits_for(&sweep.name).await;
    // That it is begun in a moment, or when others are done, needs no note.
    let lasts = |wait: &Wait| matches!(wait, Wait::NoWorkerFits(_) | Wait::Draining | Wait::Paused);
    let why = |wait: Wait| format!("nothing of it runs yet: {}", waits_for(&wait, &now, sweep));
    let notes = waits.filter(lasts).map(why);
    let state = state(sweeps, &sweep.name, &now).await;
    let all = (part && sweeps.wanted_all(&sweep.name)).then(|| {
        "all of the sweep was asked for before, so --only adds only what was cancelled since; after `espalier cancel` it stands alone".to_owned()
    });
    // Of one that asks for checkpoints that were dropped.
    let again = state.as_ref().is_some_and(|s| s.done == s.cells && !s.over);
    let again =
        again.then(|| "its cells are all there; pruned again is what `checkpoints:` asks for".to_owned());
    m::SubmitUpdate {
        doing: String::new(),
        state,
        notes: notes.into_iter().chain(all).chain(again).collect(),
    }
}

/// A sweep under this status; `None` if it is not here.
async fn state(sweeps: &Sweeps, name: &Name, now: &Now) -> Option<m::SweepState> {
    let shown = sweeps.show(name, now)?;
    let progress = shown.progress;
    let still = progress.running.is_empty() && !shown.over;
    let waits = if still { sweeps.driver().waits_for(name).await } else { None };
    let waits = waits.zip(sweeps.sweep(name.as_str()).ok());
    let settles = shown.ending.reported && !shown.ending.settled && shown.ending.unfinished.is_none();
    let settles = settles.then(|| "what it asks for its checkpoints is being done".to_owned());
    Some(m::SweepState {
        name: name.to_string(),
        cells: progress.cells as u64,
        done: progress.done as u64,
        failed: progress.failed as u64,
        share: progress.share,
        left_s: progress.left.map_or(0.0, |d| d.as_secs_f64()),
        running: progress.running.into_iter().chain(settles).collect(),
        failures: shown.failures.into_iter().map(failed).collect(),
        over: shown.over,
        halted: shown.halted,
        doomed: shown.doomed,
        paused: shown.paused,
        priority: shown.priority,
        waits_for: waits.map(|(wait, sweep)| waits_for(&wait, now, &sweep)).unwrap_or_default(),
        grid: shown.grid as u64,
        unreadable: String::new(),
        reported: shown.ending.reported,
        settled: shown.ending.settled,
        unfinished: shown.ending.unfinished.unwrap_or_default(),
        trouble: progress.trouble.unwrap_or_default(),
    })
}

fn failed(failed: Failed) -> m::FailedState {
    m::FailedState {
        model: failed.model,
        variant: failed.variant,
        task: failed.task.unwrap_or_default(),
        code: failed.code.as_str().to_owned(),
        message: failed.message,
        canary: failed.canary,
    }
}

fn workers(sweeps: &Sweeps, now: &Now) -> Vec<m::WorkerState> {
    let doing = |worker| {
        let held = now.view.attempts.iter().filter(move |a| a.worker == worker);
        held.map(|a| sweeps.line(a)).collect()
    };
    let known = now.view.workers.iter().filter_map(|worker| Some((worker, now.workers.get(&worker.id)?)));
    known
        .map(|(worker, facts)| {
            let doing: Vec<String> = doing(worker.id.clone());
            let silent = Duration::from_millis(worker.silent.0);
            let state = match () {
                // Every worker that lives has called by then, however the last call ended; one that took leave does not call again.
                () if silent > RECONCILE && worker.draining && doing.is_empty() => "left",
                () if silent > RECONCILE => "silent",
                () if worker.draining => "draining",
                () if doing.is_empty() && worker.faulty => "faulty",
                () if doing.is_empty() => "idle",
                () => "working",
            };
            m::WorkerState {
                id: worker.id.to_string(),
                device: facts.device.clone(),
                host: facts.host.clone(),
                doing,
                state: state.to_owned(),
                silent_s: silent.as_secs_f64(),
            }
        })
        .collect()
}
