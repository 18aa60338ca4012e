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
formatted!(Said, "note of which segments hold", FORMAT);

/// The records' generation; `None` while records are being deleted.
pub async fn current(bucket: &Bucket) -> Result<Option<Digest>, BucketError> {
    let said: Option<Said> = match bucket.read_object(&layout::generation()).await {
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
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let say = |generation| {
        let said = Said { format: FORMAT, generation };
        async move { bucket.put(&layout::generation(), json_bytes(&said)).await }
    };
    say(None).await?;
    let done = work.await?;
    let nonce = (clock::utc(), std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    say(Some(Digest::of(format!("{nonce:?}").as_bytes()))).await?;
    Ok(done)
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
