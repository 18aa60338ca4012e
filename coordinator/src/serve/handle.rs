//! Speaks to the driver, from any task: hands in calls and events, asks, watches the status.

use super::grid::Catalog;
use super::metrics::Metrics;
use super::order::{Orders, Turn};
use super::status::{Met, Status};
use crate::schedule::{Believed, Census, Event, Explanation, Submission, Sync, Wait, WorkerId};
use espalier_proto::ids::{CellKey, Digest, Name, VariantKey};
use espalier_proto::messages as m;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Something for the driver.
pub(super) enum Input {
    Sync(Box<Sync>, oneshot::Sender<m::SyncResponse>),
    Event(Event),
    Submit(Box<Submission>, Catalog, oneshot::Sender<()>),
    Explain(Name, Vec<CellKey>, oneshot::Sender<Vec<Explanation>>),
    Settled(oneshot::Sender<()>),
    WaitsFor(Name, oneshot::Sender<Option<Wait>>),
    Believed(Vec<VariantKey>, oneshot::Sender<Believed>),
    Hearsay(oneshot::Sender<BTreeSet<VariantKey>>),
    Census(oneshot::Sender<Census>),
    WorkerExited(u32),
    Recalled(Vec<(Digest, Met)>),
    Stop(Duration, oneshot::Sender<usize>),
}

/// Speaks to a driver.
#[derive(Clone)]
pub struct Handle {
    pub(super) inputs: mpsc::UnboundedSender<Input>,
    pub(super) status: watch::Receiver<Arc<Status>>,
    pub(super) calls: Arc<AtomicU64>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) orders: Orders,
}

impl Handle {
    /// Waits until everything that was decided of a sweep before is in its log. Until the turn is dropped nothing else is written there:
    /// what was asked for is to be told meanwhile.
    pub(super) async fn turn_at_log(&self, sweep: &Name) -> Turn {
        self.orders.asked(sweep).turn().await
    }

    /// Number for the next call.
    pub fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Hands in a worker's call; the answer comes when there is news. `None` if the driver has ended or a newer call of the
    /// same worker has taken this one's place.
    pub async fn sync(&self, sync: Sync) -> Option<m::SyncResponse> {
        let (reply, answer) = oneshot::channel();
        let mut guard = CallGuard {
            inputs: self.inputs.clone(),
            worker: sync.worker.clone(),
            call: sync.call,
            open: true,
        };
        self.inputs.send(Input::Sync(Box::new(sync), reply)).ok()?;
        let answer = answer.await.ok();
        guard.open = answer.is_none();
        answer
    }

    /// Hands in any other event.
    pub fn tell(&self, event: Event) {
        // A driver that has ended needs no more events.
        let _ = self.inputs.send(Input::Event(event));
    }

    /// Takes up a sweep; `catalog` is what workers are told about its keys. The status shows it once this returns.
    pub async fn submit(&self, submission: Submission, catalog: Catalog) {
        let (done, taken) = oneshot::channel();
        if self.inputs.send(Input::Submit(Box::new(submission), catalog, done)).is_ok() {
            // Only a driver that has ended drops it.
            let _ = taken.await;
        }
    }

    /// How these cells stand for this sweep; empty if the driver has ended.
    pub async fn explain(&self, sweep: &Name, cells: Vec<CellKey>) -> Vec<Explanation> {
        let (reply, answer) = oneshot::channel();
        if self.inputs.send(Input::Explain(sweep.clone(), cells, reply)).is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// What a sweep of which nothing runs waits for; `None` while something of it runs, once it is over, or if the driver has ended.
    pub async fn waits_for(&self, sweep: &Name) -> Option<Wait> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(Input::WaitsFor(sweep.clone(), reply)).ok()?;
        answer.await.ok().flatten()
    }

    /// What is believed to be in the bucket of these variants and their cells.
    pub async fn believed(&self, variants: Vec<VariantKey>) -> Believed {
        let (reply, answer) = oneshot::channel();
        if self.inputs.send(Input::Believed(variants, reply)).is_err() {
            return Believed::default();
        }
        answer.await.unwrap_or_default()
    }

    /// Variants of which something was believed on a worker's word alone since this was last asked.
    pub(super) async fn hearsay(&self) -> BTreeSet<VariantKey> {
        let (reply, answer) = oneshot::channel();
        if self.inputs.send(Input::Hearsay(reply)).is_err() {
            return BTreeSet::new();
        }
        answer.await.unwrap_or_default()
    }

    /// How many of what there are; `None` if the driver has ended.
    pub async fn census(&self) -> Option<Census> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(Input::Census(reply)).ok()?;
        answer.await.ok()
    }

    /// What was counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Waits until the status shows every event that was told before.
    pub async fn settled(&self) {
        let (done, taken) = oneshot::channel();
        if self.inputs.send(Input::Settled(done)).is_ok() {
            // Only a driver that has ended drops it.
            let _ = taken.await;
        }
    }

    /// The process of a local worker has ended.
    pub fn worker_exited(&self, pid: u32) {
        let _ = self.inputs.send(Input::WorkerExited(pid));
    }

    /// What was given up before the start met this.
    pub(super) fn recalled(&self, met: Vec<(Digest, Met)>) {
        // A driver that has ended shows nothing more.
        let _ = self.inputs.send(Input::Recalled(met));
    }

    /// Ends the driver once everything that it has begun to write is written, or after so long; gives how many writes are left.
    pub async fn stop(&self, patience: Duration) -> usize {
        let (done, ended) = oneshot::channel();
        if self.inputs.send(Input::Stop(patience, done)).is_err() {
            return 0;
        }
        // Only a driver that has already ended drops it.
        ended.await.unwrap_or(0)
    }

    /// The newest status, watched.
    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.status.clone()
    }
}

/// Tells the schedule that a call's client has gone.
struct CallGuard {
    inputs: mpsc::UnboundedSender<Input>,
    worker: WorkerId,
    call: u64,
    open: bool,
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        if self.open {
            let event = Event::CallClosed { worker: self.worker.clone(), call: self.call };
            // A driver that has ended needs no more events.
            let _ = self.inputs.send(Input::Event(event));
        }
    }
}
