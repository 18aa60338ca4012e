//! What a worker answers to probes and scrapers.
//!
//! Healthy: its supervisor runs. Ready: a coordinator has answered it. Whether that one is silent now makes it neither: it works on.

use crate::probing::Probed;
use espalier_telemetry::bucket::BucketMetrics;
use espalier_telemetry::http::{Soon, Watched};
use espalier_telemetry::prometheus_client::encoding::text::encode;
use espalier_telemetry::prometheus_client::metrics::counter::Counter;
use espalier_telemetry::prometheus_client::metrics::gauge::Gauge;
use espalier_telemetry::prometheus_client::registry::Registry;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What is counted.
#[derive(Debug)]
pub(crate) struct Watch {
    bucket: watch::Receiver<Option<Probed>>,
    shards: Counter,
    running: Gauge,
    answers: Counter,
    failed_calls: Counter,
    /// The last answer said that there is work that waits for something else than a worker.
    held_back: AtomicBool,
    /// The first call that was not answered since one was.
    silent_since: Mutex<Option<Instant>>,
}

impl Watch {
    pub(crate) fn new(bucket: watch::Receiver<Option<Probed>>) -> Self {
        let (shards, answers, failed_calls) = (Counter::default(), Counter::default(), Counter::default());
        let (running, silent_since) = (Gauge::default(), Mutex::default());
        let held_back = AtomicBool::new(false);
        Self { bucket, shards, running, answers, failed_calls, held_back, silent_since }
    }

    pub(crate) fn begun(&self) {
        self.shards.inc();
        self.running.set(1);
    }

    pub(crate) fn ended(&self) {
        self.running.set(0);
    }

    pub(crate) fn answered(&self, held_back: bool) {
        self.answers.inc();
        self.held_back.store(held_back, Ordering::Relaxed);
        *self.silent_since.lock().expect("nothing panics while it holds the time") = None;
    }

    /// There is work to come, as far as the coordinator has said.
    pub(crate) fn is_held_back(&self) -> bool {
        self.held_back.load(Ordering::Relaxed)
    }

    /// For how long calls have not been answered; `None` while they are.
    pub(crate) fn silent_for(&self) -> Option<Duration> {
        self.silent_since.lock().expect("nothing panics while it holds the time").map(|since| since.elapsed())
    }

    /// The coordinator's bucket was found.
    pub(crate) fn has_bucket(&self) -> bool {
        self.bucket.borrow().is_some()
    }

    pub(crate) fn unanswered(&self) {
        self.failed_calls.inc();
        let mut since = self.silent_since.lock().expect("nothing panics while it holds the time");
        since.get_or_insert_with(crate::clock::now);
    }
}

impl Watched for Watch {
    fn health(&self) -> Soon<Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn readiness(&self) -> Soon<Result<(), String>> {
        let ready = match self.answers.get() {
            0 => Err("no coordinator has answered yet".to_owned()),
            _ => Ok(()),
        };
        Box::pin(std::future::ready(ready))
    }

    fn metrics(&self) -> Soon<String> {
        let mut registry = Registry::default();
        let (shards, calls) = ("Shards begun", "Calls that the coordinator answered");
        registry.register("espalier_worker_shards", shards, self.shards.clone());
        registry.register("espalier_worker_shards_running", "Shards worked at now", self.running.clone());
        registry.register("espalier_worker_answers", calls, self.answers.clone());
        let help = "Calls that the coordinator did not answer";
        registry.register("espalier_worker_calls_failed", help, self.failed_calls.clone());
        if let Some(probed) = &*self.bucket.borrow() {
            registry.register_collector(Box::new(BucketMetrics(probed.bucket.meter().clone())));
        }
        let mut text = String::new();
        encode(&mut text, &registry).expect("a string takes everything");
        Box::pin(std::future::ready(text))
    }
}
