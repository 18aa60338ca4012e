//! Sees to it that one export at a time writes to a place of a bucket, and into nothing.
//!
//! In: a bucket that is all for one folder. Out: a [`Claim`]: an object beside the folder's files, written create-only before the first of
//! them and gone after the last. Must never overwrite what it did not write.

use crate::clock;
use crate::serve::process::Process;
use espalier_proto::bucket::{Bucket, BucketError, Commit};
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a place cannot be written to.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// It holds something.
    #[error("it is not empty, and holds {path}: choose another place or empty it")]
    NotEmpty {
        /// The first of it.
        path: String,
    },
    /// Another has it.
    #[error(
        "another export is writing there: {path} says that process {pid} on host {host} began at {at}; wait for it, or choose another place. \
         Where it has ended without being done, empty the place"
    )]
    Taken {
        /// The claim.
        path: String,
        /// The other's host.
        host: String,
        /// Its process there.
        pid: u32,
        /// When it began.
        at: String,
    },
}

/// What lies there meanwhile: no two say the same.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    process: Process,
    /// Which claim of that process.
    n: u64,
    at: String,
}

/// Claims of this process.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The right to write to a place. Of a process that is killed it stays there.
#[derive(Debug)]
pub struct Claim(());

fn path() -> Path {
    Path::from("espalier-export.json")
}

/// Refuses a place that holds something, also another's claim.
pub async fn is_free(bucket: &Bucket) -> Result<(), ClaimError> {
    if let Some(note) = bucket.read_json::<Note>(&path()).await? {
        return Err(taken(note));
    }
    holds_nothing(bucket).await
}

fn taken(Note { process, at, .. }: Note) -> ClaimError {
    ClaimError::Taken { path: path().to_string(), host: process.host, pid: process.pid, at }
}

/// But for a claim.
async fn holds_nothing(bucket: &Bucket) -> Result<(), ClaimError> {
    let found = bucket.list(&Path::default()).await?.into_iter().find(|found| *found != path());
    found.map_or(Ok(()), |path| Err(ClaimError::NotEmpty { path: path.to_string() }))
}

impl Claim {
    /// Takes a place that holds nothing.
    pub async fn take(bucket: &Bucket) -> Result<Self, ClaimError> {
        loop {
            is_free(bucket).await?;
            let n = COUNT.fetch_add(1, Ordering::Relaxed);
            let note = Note { process: Process::this(), n, at: clock::utc() };
            if bucket.commit_json(&path(), &note).await? == Commit::Won {
                break;
            }
        }
        let claim = Self(());
        // Another may have been done with it between the look and the claim.
        if let Err(error) = holds_nothing(bucket).await {
            claim.release(bucket).await?;
            return Err(error);
        }
        Ok(claim)
    }

    /// Gives the place back, with what was written there.
    pub async fn release(self, bucket: &Bucket) -> Result<(), BucketError> {
        bucket.delete(&path()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn of_many_that_would_write_to_a_place_one_does_and_what_it_wrote_is_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
        let writers = (0..16).map(|n| {
            let bucket = bucket.clone();
            tokio::spawn(async move {
                let claim = Claim::take(&bucket).await?;
                bucket.put(&Path::from(format!("{n}")), Bytes::from("mine")).await?;
                claim.release(&bucket).await?;
                Ok::<_, ClaimError>(())
            })
        });
        let ended = futures::future::join_all(writers.collect::<Vec<_>>()).await;
        let ended: Vec<_> = ended.into_iter().map(|ended| ended.unwrap()).collect();
        assert_eq!(ended.iter().filter(|ended| ended.is_ok()).count(), 1, "{ended:?}");
        assert_eq!(bucket.list(&Path::default()).await.unwrap().len(), 1);
        assert!(matches!(Claim::take(&bucket).await, Err(ClaimError::NotEmpty { .. })));
    }

    #[tokio::test]
    async fn who_comes_while_another_writes_is_told_of_it_and_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
        let claim = Claim::take(&bucket).await.unwrap();
        let said = Claim::take(&bucket).await.unwrap_err().to_string();
        assert!(
            said.contains(&format!(
                "another export is writing there: espalier-export.json says that process {}",
                std::process::id()
            )),
            "{said}"
        );
        claim.release(&bucket).await.unwrap();
        is_free(&bucket).await.unwrap();
    }
}
