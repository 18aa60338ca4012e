//! Reads single records, many at once.
//!
//! A record of a format that this version does not know is refused.

use bytes::Bytes;
use espalier_proto::bucket::{Bucket, BucketError, Formatted, object};
use espalier_proto::ids::{CellKey, VariantKey};
use espalier_proto::layout;
use espalier_proto::sweep::{Checkpoints, ResolvedSweep};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use std::collections::BTreeSet;

/// Most bytes of a record: one number a window and one line a linear take far less.
const MOST: u64 = 64 << 20;

/// Reads in flight.
pub(super) const AT_ONCE: usize = 64;

/// Records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
}

/// Variants with a cell that is missing; of a sweep without cells all.
fn lacking(sweep: &ResolvedSweep, has_cell: impl Fn(&CellKey) -> bool) -> BTreeSet<VariantKey> {
    let lacking = sweep.cells.iter().filter(|c| !has_cell(&c.key)).map(|c| c.variant);
    let alone = sweep.variants.iter().filter(|_| sweep.cells.is_empty()).map(|v| v.key);
    lacking.chain(alone).collect()
}

/// Those of the sweep's variants whose checkpoint was dropped and is needed: by a cell that is missing, by a sweep without cells, or for a folder
/// that is asked for and not there.
pub(super) async fn dropped(
    bucket: &Bucket,
    sweep: &ResolvedSweep,
    has_variant: impl Fn(&VariantKey) -> bool,
    has_cell: impl Fn(&CellKey) -> bool,
) -> Result<BTreeSet<VariantKey>, RecordsError> {
    let lacking = lacking(sweep, has_cell);
    let dense = sweep.checkpoints == Checkpoints::Dense;
    let looks = sweep.variants.iter().map(|variant| variant.key);
    let looks = looks.filter(|key| has_variant(key) && (dense || lacking.contains(key)));
    let looks = looks.map(|key| {
        let for_folder = !lacking.contains(&key);
        async move {
            let needed = bucket.exists(&layout::variant_dropped(key)).await?
                && !(for_folder && bucket.exists(&layout::export_note(key)).await?);
            Ok::<_, RecordsError>(needed.then_some(key))
        }
    });
    let looks: Vec<_> = looks.collect();
    let found: Vec<_> = futures::stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

pub(super) async fn read_all<K: Copy, R: Formatted>(
    bucket: &Bucket,
    keys: BTreeSet<K>,
    path: fn(K) -> Path,
) -> Result<Vec<(K, R)>, RecordsError> {
    let found: Vec<Option<(K, R)>> = futures::stream::iter(keys)
        .map(|key| async move {
            let found = read_bytes(bucket, path(key)).await?;
            Ok::<_, RecordsError>(found.map(|(record, _)| (key, record)))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

/// A record, and its body as it lies in the bucket.
pub(super) async fn read_bytes<R: Formatted>(
    bucket: &Bucket,
    path: Path,
) -> Result<Option<(R, Bytes)>, RecordsError> {
    let Some(bytes) = bucket.read_at_most(&path, MOST).await? else {
        return Ok(None);
    };
    Ok(Some((object(path.as_ref(), &bytes)?, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use espalier_proto::records::CellRecord;

    #[tokio::test]
    async fn a_record_that_is_too_large_for_one_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
        let path = |_: ()| Path::from("cells/large.json");
        // Nothing but a size: a file with a hole.
        std::fs::create_dir(folder.path().join("cells")).unwrap();
        let file = std::fs::File::create(folder.path().join("cells/large.json")).unwrap();
        for (size, says) in
            [(MOST + 1, "found 67108865 bytes, expected at most 67108864"), (MOST, "cannot be read")]
        {
            file.set_len(size).unwrap();
            let errors = [
                read_bytes::<CellRecord>(&bucket, path(())).await.map(drop).unwrap_err(),
                read_all::<(), CellRecord>(&bucket, [()].into(), path).await.map(drop).unwrap_err(),
            ];
            for error in errors {
                let text = espalier_proto::causes::chain(&error);
                assert!(text.contains(says), "{text}");
            }
        }
    }
}
