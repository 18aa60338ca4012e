//! Reads single records, many at once.
//!
//! A record of a format that this version does not know is refused.

use bytes::Bytes;
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::ids::{CellKey, VariantKey};
use espalier_proto::layout;
use espalier_proto::records::RECORD_FORMAT;
use espalier_proto::sweep::ResolvedSweep;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;

/// Reads in flight.
pub(super) const AT_ONCE: usize = 64;

/// Records cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Written by another version.
    #[error("{path} has record format {found}, this version reads {RECORD_FORMAT}")]
    Format {
        /// The record.
        path: String,
        /// Its format.
        found: u32,
    },
}

/// Variants with a cell that is missing; of a sweep without cells all.
pub(super) fn lacking(sweep: &ResolvedSweep, has_cell: impl Fn(&CellKey) -> bool) -> BTreeSet<VariantKey> {
    let lacking = sweep.cells.iter().filter(|c| !has_cell(&c.key)).map(|c| c.variant);
    let alone = sweep.variants.iter().filter(|_| sweep.cells.is_empty()).map(|v| v.key);
    lacking.chain(alone).collect()
}

/// Those of these variants whose checkpoint was dropped.
pub(super) async fn dropped(
    bucket: &Bucket,
    wanted: BTreeSet<VariantKey>,
) -> Result<BTreeSet<VariantKey>, RecordsError> {
    let looks = wanted.into_iter().map(|key| async move {
        Ok::<_, RecordsError>(bucket.exists(&layout::variant_dropped(key)).await?.then_some(key))
    });
    let looks: Vec<_> = looks.collect();
    let found: Vec<_> = futures::stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

pub(super) async fn read_all<K: Copy, R: DeserializeOwned>(
    bucket: &Bucket,
    keys: BTreeSet<K>,
    path: fn(K) -> Path,
    format: fn(&R) -> u32,
) -> Result<Vec<(K, R)>, RecordsError> {
    let found: Vec<Option<(K, R)>> = futures::stream::iter(keys)
        .map(|key| async move {
            Ok::<_, RecordsError>(read_one(bucket, path(key), format).await?.map(|r| (key, r)))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(found.into_iter().flatten().collect())
}

pub(super) async fn read_one<R: DeserializeOwned>(
    bucket: &Bucket,
    path: Path,
    format: fn(&R) -> u32,
) -> Result<Option<R>, RecordsError> {
    let read = read_bytes::<R>(bucket, path).await?.map(|(record, _)| record);
    debug_assert!(read.as_ref().is_none_or(|record| format(record) == RECORD_FORMAT));
    Ok(read)
}

/// A record, and its body as it lies in the bucket.
pub(super) async fn read_bytes<R: DeserializeOwned>(
    bucket: &Bucket,
    path: Path,
) -> Result<Option<(R, Bytes)>, RecordsError> {
    // The format is read first, so that a later version's record is called that and not corrupt.
    let Some(bytes) = bucket.read(&path).await? else {
        return Ok(None);
    };
    let corrupt = |e: serde_json::Error| BucketError::Corrupt { path: path.to_string(), why: e.to_string() };
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(corrupt)?;
    if let Some(found) = value.get("format").and_then(serde_json::Value::as_u64)
        && found != u64::from(RECORD_FORMAT)
    {
        return Err(RecordsError::Format { path: path.to_string(), found: found as u32 });
    }
    let record: R = serde_json::from_slice(&bytes).map_err(corrupt)?;
    Ok(Some((record, bytes)))
}
