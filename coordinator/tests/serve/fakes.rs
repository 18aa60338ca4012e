//! Many workers in one process: each an HTTP/2 client of its own that calls as a worker does (at once when there is news, else every
//! two seconds) and writes real records, but computes nothing.

use crate::harness::{cell_record, commit_variant};
use espalier_proto::bucket::{Bucket, Commit, json_bytes};
use espalier_proto::ids::InputsDigest;
use espalier_proto::keys::variant_key;
use espalier_proto::messages as m;
use espalier_proto::messages::worker_api_client::WorkerApiClient;
use espalier_proto::recipe::VariantSpec;
use espalier_proto::{layout, methods};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tonic::transport::Channel;

/// What all of them did.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) calls: AtomicU64,
    pub(crate) failed_calls: AtomicU64,
    /// Records that were theirs, and that somebody else had written before.
    pub(crate) won: AtomicU64,
    pub(crate) lost: AtomicU64,
    /// Workers that have called once and are held.
    pub(crate) connected: AtomicU64,
    /// From the call that says that a shard is done to the answer with the next one.
    pub(crate) starts: Mutex<Vec<Duration>>,
}

/// What they work with.
pub(crate) struct Ground {
    pub(crate) bucket: Bucket,
    /// Shortest and longest time of a cell.
    pub(crate) cell: (Duration, Duration),
    pub(crate) done: Done,
}

/// A shard that is held.
struct Held {
    order: m::ShardOrder,
    report: m::ShardReport,
}

pub(crate) struct Fake<'a> {
    ground: &'a Ground,
    client: WorkerApiClient<Channel>,
    id: String,
    info: m::WorkerInfo,
    held: Option<Held>,
    /// Others, in order; finished ones until they are dropped.
    more: Vec<Held>,
    dice: u64,
    drain: bool,
    due: Instant,
}

impl<'a> Fake<'a> {
    pub(crate) fn new(ground: &'a Ground, channel: Channel, n: usize) -> Self {
        let info = m::WorkerInfo {
            host: format!("node-{:04}", n / 8),
            pid: n as u32,
            backend: m::Backend::Cpu.into(),
            device_name: "a device with a long name".into(),
            memory_bytes: 80 << 30,
            fingerprint: "f".repeat(64),
            stage_versions: methods::stage_versions(),
            threads: 2,
            ..Default::default()
        };
        let client = WorkerApiClient::new(channel);
        let id = format!("node-{:04}-{n}-1790000000", n / 8);
        Self {
            ground,
            client,
            id,
            info,
            held: None,
            more: Vec::new(),
            dice: n as u64 + 1,
            drain: false,
            due: Instant::now(),
        }
    }

    /// Works until it is told to drain.
    pub(crate) async fn live(mut self) {
        self.ground.done.connected.fetch_add(1, Ordering::Relaxed);
        while !self.drain {
            if !self.call().await {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
            while self.held.as_ref().is_some_and(|h| h.report.phase() != m::Phase::Finished) {
                self.shard().await;
                if !self.next() {
                    break;
                }
            }
        }
    }

    /// Time of the next cell.
    fn roll(&mut self) -> Duration {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (least, most) = self.ground.cell;
        least + (most - least).mul_f64((self.dice >> 11) as f64 / (1u64 << 53) as f64)
    }

    /// Calls, and takes the answer; false if there was none.
    async fn call(&mut self) -> bool {
        let done = &self.ground.done;
        let mut reports: Vec<_> =
            self.held.iter().chain(&self.more).map(|held| held.report.clone()).collect();
        for waits in reports.iter_mut().skip(1).filter(|report| report.phase() == m::Phase::Loading) {
            waits.phase = m::Phase::Waiting.into();
        }
        let finished = !reports.is_empty() && reports.iter().all(|r| r.phase() == m::Phase::Finished);
        let request = m::SyncRequest {
            worker_id: self.id.clone(),
            info: Some(self.info.clone()),
            epoch_seen: 0,
            shards: reports,
            draining: false,
        };
        let since = Instant::now();
        done.calls.fetch_add(1, Ordering::Relaxed);
        let Ok(answer) = self.client.sync(request).await else {
            done.failed_calls.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        let answer = answer.into_inner();
        self.drain = answer.drain;
        self.due = Instant::now() + Duration::from_millis(u64::from(answer.call_again_ms).max(10));
        let running = self.held.as_ref().map(|h| h.order.attempt.clone());
        let mut before: Vec<Held> = self.held.take().into_iter().chain(self.more.drain(..)).collect();
        let mut held: Vec<Held> = Vec::new();
        for mut order in answer.shards {
            match before.iter().position(|h| h.order.attempt == order.attempt) {
                Some(at) => {
                    let was = before.remove(at);
                    order.variant_json = was.order.variant_json;
                    order.canary = was.order.canary;
                    held.push(Held { order, report: was.report });
                }
                None => {
                    if finished && held.is_empty() {
                        done.starts.lock().unwrap().push(since.elapsed());
                    }
                    held.push(Held { report: first_report(&order), order });
                }
            }
        }
        for mut was in before {
            if !was.report.cells_begun.is_empty() {
                was.order.cells.clear();
                held.push(was);
            }
        }
        let at = held.iter().position(|h| Some(&h.order.attempt) == running.as_ref());
        self.held = at.map(|at| held.remove(at));
        self.more = held;
        if self.held.as_ref().is_none_or(|h| h.report.phase() == m::Phase::Finished) {
            self.next();
        }
        true
    }

    fn has_more(&self) -> bool {
        self.more.iter().any(|held| held.report.phase() != m::Phase::Finished)
    }

    /// Takes up the next that is not finished.
    fn next(&mut self) -> bool {
        let open = self.more.iter().position(|h| h.report.phase() != m::Phase::Finished);
        let next = open.map(|at| self.more.remove(at));
        let some = next.is_some();
        if some {
            self.more.extend(std::mem::replace(&mut self.held, next));
        }
        some
    }

    /// Waits as long as work takes, calling as often as a busy worker does.
    async fn work(&mut self, time: Duration) {
        let until = Instant::now() + time;
        loop {
            if until <= self.due {
                return tokio::time::sleep_until(until.into()).await;
            }
            tokio::time::sleep_until(self.due.into()).await;
            self.call().await;
        }
    }

    async fn shard(&mut self) {
        let Some(held) = &mut self.held else { return };
        if held.order.canary.is_some() {
            held.report.variant_done = true;
            held.report.phase = m::Phase::Finished.into();
            return;
        }
        let attempt = held.order.attempt.clone();
        let spec: VariantSpec = serde_json::from_str(&held.order.variant_json).expect("orders hold specs");
        let bucket = &self.ground.bucket;
        if !bucket.exists(&layout::variant_record(variant_key(&spec))).await.expect("a folder answers") {
            commit_variant(bucket, &spec, &attempt).await;
        }
        held.report.variant_done = true;
        held.report.phase = m::Phase::Evaluating.into();
        while let Some(held) = self.held.as_mut().filter(|held| held.order.attempt == attempt) {
            let done = &held.report.cells_done;
            let next = held.order.cells.iter().find(|c| !done.contains(&c.cell_key)).cloned();
            let Some(cell) = next else {
                held.report.phase = m::Phase::Finished.into();
                return;
            };
            held.report.cells_begun = vec![cell.cell_key.clone()];
            // As a worker does: of a shard of one cell nothing can be given to others, and what it has begun can wait for the next call, as can
            // all while others are in hand.
            if held.order.cells.len() != 1 && !self.has_more() {
                self.call().await;
            }
            let time = self.roll();
            self.work(time).await;
            self.commit(&spec, &cell, &attempt).await;
            let Some(held) = self.held.as_mut().filter(|held| held.order.attempt == attempt) else { return };
            held.report.cells_begun.clear();
            held.report.cells_done.push(cell.cell_key);
        }
    }

    async fn commit(&self, spec: &VariantSpec, cell: &m::CellOrder, attempt: &str) {
        let inputs: InputsDigest = cell.inputs_digest.parse().expect("orders hold digests");
        let record = cell_record(variant_key(spec), inputs, attempt);
        let path = layout::cell_record(record.key);
        // At the end of the test what is still being written is cut short; the counts show it if it is not the end.
        let Ok(commit) = self.ground.bucket.commit_once(&path, json_bytes(&record)).await else { return };
        let of = if commit == Commit::Won { &self.ground.done.won } else { &self.ground.done.lost };
        of.fetch_add(1, Ordering::Relaxed);
    }
}

fn first_report(order: &m::ShardOrder) -> m::ShardReport {
    crate::harness::report(order, m::Phase::Loading)
}
