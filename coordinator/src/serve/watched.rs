//! What a coordinator answers to probes and scrapers.
//!
//! Healthy: the loop that owns the schedule answers. Ready: it has taken up its sweeps and no newer coordinator is at work. A bucket
//! that is away makes it neither ill nor unready: workers go on calling, and wait with it.

use super::driver::Handle;
use crate::clock;
use espalier_telemetry::http::{Soon, Watched};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The longest that the loop may take to answer.
const LOOP: Duration = Duration::from_secs(10);

/// A coordinator, for probes.
#[derive(Clone)]
pub(super) struct Probed {
    driver: Handle,
    restored: Arc<AtomicBool>,
}

impl Probed {
    /// Its sweeps are not taken up yet.
    pub(super) fn new(driver: Handle) -> Self {
        Self { driver, restored: Arc::default() }
    }

    /// Its sweeps are taken up.
    pub(super) fn restored(&self) {
        self.restored.store(true, Ordering::Relaxed);
    }
}

impl Watched for Probed {
    fn health(&self) -> Soon<Result<(), String>> {
        let driver = self.driver.clone();
        Box::pin(async move {
            tokio::select! {
                census = driver.census() => census.map(drop).ok_or_else(|| "the scheduler's loop has ended".to_owned()),
                () = clock::sleep(LOOP) => {
                    Err(format!("the scheduler's loop has not answered for {} s", LOOP.as_secs()))
                }
            }
        })
    }

    fn readiness(&self) -> Soon<Result<(), String>> {
        let restored = self.restored.load(Ordering::Relaxed);
        let superseded = self.driver.status().borrow().superseded;
        let ready = match (restored, superseded) {
            (_, true) => Err("a newer coordinator of this instance is at work".to_owned()),
            (false, _) => Err("taking up sweeps".to_owned()),
            (true, false) => Ok(()),
        };
        Box::pin(std::future::ready(ready))
    }

    fn metrics(&self) -> Soon<String> {
        let driver = self.driver.clone();
        Box::pin(async move {
            let census = driver.census().await.unwrap_or_default();
            driver.metrics().text(census)
        })
    }

    fn scale(&self) -> Soon<Option<String>> {
        let driver = self.driver.clone();
        Box::pin(async move {
            let census = driver.census().await.unwrap_or_default();
            Some(serde_json::json!({"wanted": census.wanted, "workers": census.workers}).to_string())
        })
    }
}
