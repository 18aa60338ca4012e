//! Decides which coordinator of an instance is the current one: each takes the next epoch, create-only.
//!
//! A local run also stops where the last epoch of its instance has neither ended nor died, unless it is told to take over.

use super::process::{Life, Process};
use crate::clock;
use espalier_proto::bucket::{Bucket, BucketError, Commit};
use espalier_proto::formatted;
use espalier_proto::ids::Name;
use espalier_proto::layout;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// Tries of this process at any epoch.
static TRIES: AtomicU64 = AtomicU64::new(0);

/// Format of the epoch objects.
const EPOCH_FORMAT: u32 = 1;

/// Who took an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochRecord {
    /// The format.
    pub format: u32,
    /// The instance.
    pub instance: Name,
    /// The epoch.
    pub epoch: u64,
    /// The coordinator's process.
    pub process: Process,
    /// When, RFC 3339, UTC.
    pub since: String,
    /// Counts this process's tries: two writers never write the same bytes.
    pub attempt: u64,
}

formatted!(EpochRecord, "record of a coordinator", EPOCH_FORMAT);

/// Why no epoch was taken.
#[derive(Debug, thiserror::Error)]
pub enum EpochError {
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A process on this host is at it.
    #[error(
        "{instance} is being run by process {pid} on this host since {since}; wait for it, end it, or say --take-over"
    )]
    Running {
        /// The instance.
        instance: Name,
        /// Its process.
        pid: u32,
        /// Since when.
        since: String,
    },
    /// A process elsewhere was at it and never said that it ended.
    #[error(
        "{instance} was begun by process {pid} on host {host} at {since} and has not ended, as far as can be known from \
         here; if it is no longer running, say --take-over"
    )]
    Elsewhere {
        /// The instance.
        instance: Name,
        /// Its host.
        host: String,
        /// Its process there.
        pid: u32,
        /// Since when.
        since: String,
    },
}

/// An epoch that this process has taken.
#[derive(Clone, Debug)]
pub struct Epoch {
    /// The instance.
    pub instance: Name,
    /// The number.
    pub n: u64,
    /// What the probe left in the bucket for workers to read.
    pub probe_nonce: String,
}

/// Takes the next epoch of an instance, whoever has the last.
pub async fn take(bucket: &Bucket, instance: &Name) -> Result<Epoch, EpochError> {
    loop {
        let last = last(bucket, instance).await?;
        if let Some(epoch) = create(bucket, instance, last + 1).await? {
            return Ok(epoch);
        }
    }
}

/// Takes the next epoch of a local run, if nobody else is at it.
pub async fn take_alone(bucket: &Bucket, instance: &Name) -> Result<Epoch, EpochError> {
    loop {
        let last = last(bucket, instance).await?;
        if last > 0 {
            refuse_if_running(bucket, instance, last).await?;
        }
        if let Some(epoch) = create(bucket, instance, last + 1).await? {
            return Ok(epoch);
        }
    }
}

impl Epoch {
    /// Says that this epoch ended in good order.
    pub async fn end(&self, bucket: &Bucket) -> Result<(), BucketError> {
        let path = layout::epoch_end(&self.instance, self.n);
        let body = serde_json::json!({"format": EPOCH_FORMAT, "epoch": self.n, "at": clock::utc()});
        bucket.commit_json(&path, &body).await.map(drop)
    }

    /// True once another coordinator of this instance has taken a later epoch.
    pub async fn superseded(&self, bucket: &Bucket) -> Result<bool, BucketError> {
        bucket.exists(&layout::epoch(&self.instance, self.n + 1)).await
    }
}

async fn last(bucket: &Bucket, instance: &Name) -> Result<u64, BucketError> {
    let paths = bucket.list(&layout::epochs(instance)).await?;
    Ok(paths.iter().filter_map(layout::parse_epoch).max().unwrap_or(0))
}

/// Who took the instance's last epoch, unless it has ended or is known to be dead.
pub async fn running(bucket: &Bucket, instance: &Name) -> Result<Option<EpochRecord>, BucketError> {
    let n = last(bucket, instance).await?;
    if n == 0 { Ok(None) } else { not_ended(bucket, instance, n).await }
}

async fn not_ended(bucket: &Bucket, instance: &Name, n: u64) -> Result<Option<EpochRecord>, BucketError> {
    if bucket.exists(&layout::epoch_end(instance, n)).await? {
        return Ok(None);
    }
    let record = bucket.read_object::<EpochRecord>(&layout::epoch(instance, n)).await?;
    Ok(record.filter(|record| record.process.life() != Life::Dead))
}

async fn refuse_if_running(bucket: &Bucket, instance: &Name, n: u64) -> Result<(), EpochError> {
    let Some(record) = not_ended(bucket, instance, n).await? else {
        return Ok(());
    };
    let Process { host, pid, .. } = record.process.clone();
    match record.process.life() {
        Life::Dead => Ok(()),
        Life::Alive => Err(EpochError::Running { instance: instance.clone(), pid, since: record.since }),
        Life::Unknown => {
            Err(EpochError::Elsewhere { instance: instance.clone(), host, pid, since: record.since })
        }
    }
}

/// Takes epoch `n` if it is free, and probes the bucket under it.
async fn create(bucket: &Bucket, instance: &Name, n: u64) -> Result<Option<Epoch>, EpochError> {
    let process = Process::this();
    let since = clock::utc();
    let attempt = TRIES.fetch_add(1, Ordering::Relaxed);
    let record =
        EpochRecord { format: EPOCH_FORMAT, instance: instance.clone(), epoch: n, process, since, attempt };
    if bucket.commit_json(&layout::epoch(instance, n), &record).await? == Commit::Lost {
        return Ok(None);
    }
    let probe_nonce = espalier_proto::bucket::json_digest(&record).to_string();
    bucket.probe(&layout::probe(instance, n), &probe_nonce).await?;
    Ok(Some(Epoch { instance: instance.clone(), n, probe_nonce }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket() -> (tempfile::TempDir, Bucket) {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
        (folder, bucket)
    }

    fn instance() -> Name {
        "run.demo".parse().unwrap()
    }

    #[tokio::test]
    async fn a_second_run_on_a_living_first_one_stops_and_says_who_runs_it() {
        let (_folder, bucket) = bucket();
        take_alone(&bucket, &instance()).await.unwrap();
        let error = take_alone(&bucket, &instance()).await.unwrap_err().to_string();
        assert!(
            error.contains(&format!("process {}", std::process::id())) && error.contains("--take-over"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_run_that_ended_in_good_order_is_followed_by_the_next_epoch() {
        let (_folder, bucket) = bucket();
        let first = take_alone(&bucket, &instance()).await.unwrap();
        first.end(&bucket).await.unwrap();
        assert_eq!(take_alone(&bucket, &instance()).await.unwrap().n, 2);
    }

    #[tokio::test]
    async fn a_run_whose_process_is_dead_is_followed_by_the_next_epoch() {
        let (_folder, bucket) = bucket();
        let mut process = Process::this();
        process.started_ticks += 1;
        let record = EpochRecord {
            format: 1,
            instance: instance(),
            epoch: 1,
            process,
            since: "2026-01-01T00:00:00Z".into(),
            attempt: 0,
        };
        bucket.commit_json(&layout::epoch(&instance(), 1), &record).await.unwrap();
        assert_eq!(take_alone(&bucket, &instance()).await.unwrap().n, 2);
    }

    #[tokio::test]
    async fn a_run_on_another_host_is_not_known_to_be_dead_and_take_over_passes_it() {
        let (_folder, bucket) = bucket();
        let process = Process { host: "elsewhere".into(), ..Process::this() };
        let record = EpochRecord {
            format: 1,
            instance: instance(),
            epoch: 1,
            process,
            since: "2026-01-01T00:00:00Z".into(),
            attempt: 0,
        };
        bucket.commit_json(&layout::epoch(&instance(), 1), &record).await.unwrap();
        let error = take_alone(&bucket, &instance()).await.unwrap_err().to_string();
        assert!(error.contains("host elsewhere") && error.contains("2026-01-01"), "{error}");
        assert_eq!(take(&bucket, &instance()).await.unwrap().n, 2);
    }

    #[tokio::test]
    async fn of_many_that_start_at_once_one_runs_alone() {
        let (_folder, bucket) = bucket();
        let name = instance();
        let tries = futures::future::join_all((0..8).map(|_| take_alone(&bucket, &name))).await;
        assert_eq!(tries.iter().filter(|t| t.is_ok()).count(), 1, "{tries:?}");
    }
}
