//! Which segments hold. Records are only ever added, except where something damaged, stale or unneeded is deleted: whoever deletes
//! records says so before, and gives the records a new generation afterwards. A segment names the generation that it was made in,
//! and is not believed in any other.
//!
//! A deletion that was cut short leaves the records in no generation at all: nothing is believed until another one ends.

use crate::clock;
use espalier_proto::bucket::{Bucket, BucketError, json_bytes};
use espalier_proto::formatted;
use espalier_proto::ids::Digest;
use espalier_proto::layout;
use object_store::path::Path;
use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    format: u32,
    /// Absent while records are being deleted.
    generation: Option<Digest>,
}

const FORMAT: u32 = 1;
formatted!(Said, "note of which segments hold, or of what was dropped", FORMAT);

/// The records' generation; `None` while records are being deleted.
pub async fn current(bucket: &Bucket) -> Result<Option<Digest>, BucketError> {
    said(bucket, &layout::generation()).await
}

/// Changes whenever checkpoints are about to be dropped: their records stay, and segments hold.
pub async fn drops(bucket: &Bucket) -> Result<Option<Digest>, BucketError> {
    said(bucket, &layout::drops()).await
}

/// Says that checkpoints are about to be dropped, whose notes are written.
pub async fn dropping(bucket: &Bucket) -> Result<(), BucketError> {
    let said = Said { format: FORMAT, generation: Some(another()) };
    bucket.put(&layout::drops(), json_bytes(&said)).await
}

async fn said(bucket: &Bucket, path: &Path) -> Result<Option<Digest>, BucketError> {
    let said: Option<Said> = match bucket.read_object(path).await {
        Ok(said) => said,
        // Another version's: its segments are not ours to believe.
        Err(BucketError::Corrupt { .. } | BucketError::Format { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(said.map_or(Some(Digest::of(b"the first")), |said| said.generation))
}

/// Carries out what deletes records.
pub async fn deleting<T, E: From<BucketError>>(
    bucket: &Bucket,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let say = |generation| {
        let said = Said { format: FORMAT, generation };
        async move { bucket.put(&layout::generation(), json_bytes(&said)).await }
    };
    say(None).await?;
    let done = work.await?;
    say(Some(another())).await?;
    Ok(done)
}

/// A generation that was not before.
fn another() -> Digest {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let nonce = (clock::utc(), std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    Digest::of(format!("{nonce:?}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_deletion_gives_a_new_generation_and_one_that_was_cut_short_gives_none() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
        let first = current(&bucket).await.unwrap();
        assert!(first.is_some());
        let during = deleting(&bucket, async { current(&bucket).await }).await.unwrap();
        assert_eq!(during, None);
        let second = current(&bucket).await.unwrap();
        assert!(second.is_some() && second != first);
        let failed = BucketError::Unsafe { url: String::new(), promise: "" };
        deleting(&bucket, async { Err::<(), _>(failed) }).await.unwrap_err();
        assert_eq!(current(&bucket).await.unwrap(), None);
    }
}
