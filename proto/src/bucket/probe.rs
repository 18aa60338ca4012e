//! Tries a store for what everything else stands on, before anything is written that counts.
//!
//! In: a bucket and a free path. Out: nothing, or the promise that the store broke. Many stores call themselves S3-compatible
//! and lack create-only writes, or look first and write then: the latter shows only where writers race.

use super::{Bucket, BucketError, Commit};
use bytes::Bytes;
use futures::future::try_join_all;
use object_store::path::Path;

/// Races run, and writers in each. Measured on s3s-fs without a lock, which looks and then writes: four of five races there have
/// not exactly one winner.
const RACES: usize = 6;
const WRITERS: usize = 8;

impl Bucket {
    /// Tries what everything stands on: of many creates of one path exactly one must win, be they one after the other or at
    /// once, and what was written must read back. Leaves `nonce` at `path` for workers to find.
    pub async fn probe(&self, path: &Path, nonce: &str) -> Result<(), BucketError> {
        let body = Bytes::from(nonce.to_owned());
        self.delete(path).await?;
        if self.commit_once(path, body.clone()).await? != Commit::Won {
            return Err(self.broken("a create-only write of a new object was refused"));
        }
        if self.commit_once(path, Bytes::from(format!("{nonce} again"))).await? != Commit::Lost {
            return Err(self.broken("a second create-only write replaced the first"));
        }
        if self.read(path).await?.as_ref() != Some(&body) {
            return Err(self.broken("an object does not read back as it was written"));
        }
        // A folder's create is one call of the kernel's; a race more would only be waiting for its disk.
        let races = if self.folder().is_some() { 1 } else { RACES };
        for n in 0..races {
            let path = Path::from(format!("{path}.race-{n}"));
            self.delete(&path).await?;
            let raced = self.race(&path, nonce).await;
            self.delete(&path).await?;
            raced?;
        }
        self.known_by(path);
        Ok(())
    }

    /// Many creates of one path at once.
    async fn race(&self, path: &Path, nonce: &str) -> Result<(), BucketError> {
        let bodies: Vec<Bytes> = (0..WRITERS).map(|w| Bytes::from(format!("{nonce} writer {w}"))).collect();
        let ended = try_join_all(bodies.iter().map(|body| self.commit_once(path, body.clone()))).await?;
        let mut winners = bodies.iter().zip(&ended).filter(|(_, commit)| **commit == Commit::Won);
        let Some((winner, _)) = winners.next() else {
            return Err(self.broken("of several create-only writes of one object at once none won"));
        };
        if winners.next().is_some() {
            return Err(self.broken("of several create-only writes of one object at once more than one won"));
        }
        if self.read(path).await?.as_ref() != Some(winner) {
            return Err(self.broken("a create-only write that lost replaced the one that won"));
        }
        Ok(())
    }

    fn broken(&self, promise: &'static str) -> BucketError {
        BucketError::Unsafe { url: self.url.clone(), promise }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_passes_the_probe_which_leaves_the_nonce_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
        let path = Path::from("coordinators/main/probe/1.json");
        bucket.probe(&path, "n1").await.unwrap();
        assert_eq!(bucket.read(&path).await.unwrap().unwrap(), "n1");
        assert_eq!(bucket.list(&Path::from("coordinators")).await.unwrap(), [path]);
    }
}
