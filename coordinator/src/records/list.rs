//! Reads records by key, many at once.
//!
//! In: a resolved sweep or keys. Out: what is committed. A record of a format that this version does not know is refused; a
//! cell measured on other weights than its variant's record names counts as missing.

use super::index::Committed;
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::ids::{CellKey, Digest, VariantKey};
use espalier_proto::layout;
use espalier_proto::records::{CellRecord, FailureRecord, RECORD_FORMAT, VariantRecord};
use espalier_proto::sweep::ResolvedSweep;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// Reads in flight.
const AT_ONCE: usize = 64;

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

/// Reads the records of every variant and cell of a sweep.
pub async fn committed(bucket: &Bucket, sweep: &ResolvedSweep) -> Result<Committed, RecordsError> {
    let variants: BTreeSet<VariantKey> = sweep.variants.iter().map(|v| v.key).collect();
    let cells: BTreeSet<CellKey> = sweep.cells.iter().map(|c| c.key).collect();
    let mut there = look_for(bucket, variants, cells).await?;
    there.dropped = dropped(bucket, sweep, &there).await?;
    Ok(there)
}

/// Variants that are wanted and whose checkpoint was dropped.
async fn dropped(
    bucket: &Bucket,
    sweep: &ResolvedSweep,
    there: &Committed,
) -> Result<BTreeSet<VariantKey>, RecordsError> {
    let lacking = sweep.cells.iter().filter(|c| !there.cells.contains_key(&c.key)).map(|c| c.variant);
    let alone = sweep.variants.iter().filter(|_| sweep.cells.is_empty()).map(|v| v.key);
    let wanted: BTreeSet<VariantKey> = lacking.chain(alone).collect();
    let looks = wanted.into_iter().filter(|key| there.variants.contains_key(key)).map(|key| async move {
        Ok::<_, RecordsError>(bucket.exists(&layout::variant_dropped(key)).await?.then_some(key))
    });
    let looks: Vec<_> = looks.collect();
    let found: Vec<_> = futures::stream::iter(looks).buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// As [`committed`], before work begins: the records of stale cells are removed. A record is written once, and while it is there
/// its cell could not be measured anew.
pub async fn committed_without_stale(
    bucket: &Bucket,
    sweep: &ResolvedSweep,
) -> Result<Committed, RecordsError> {
    let there = committed(bucket, sweep).await?;
    for cell in &there.stale {
        tracing::warn!(%cell, "the cell was measured on other weights than its variant's record names; it is run again");
        bucket.delete(&layout::cell_record(*cell)).await?;
    }
    Ok(there)
}

/// Reads the records of these variants and cells; those that are absent are left out.
pub async fn look_for(
    bucket: &Bucket,
    variants: BTreeSet<VariantKey>,
    cells: BTreeSet<CellKey>,
) -> Result<Committed, RecordsError> {
    let variants: Vec<(VariantKey, VariantRecord)> =
        read_all(bucket, variants, layout::variant_record, |r: &VariantRecord| r.format).await?;
    let cells: Vec<(CellKey, CellRecord)> =
        read_all(bucket, cells, layout::cell_record, |r: &CellRecord| r.format).await?;
    Ok(Committed::new(variants, cells))
}

/// Why attempts at these keys failed, in the order of attempts; keys that never failed are left out.
pub async fn failures(
    bucket: &Bucket,
    keys: impl IntoIterator<Item = Digest>,
) -> Result<BTreeMap<Digest, Vec<FailureRecord>>, RecordsError> {
    let found: Vec<(Digest, Vec<FailureRecord>)> = futures::stream::iter(keys)
        .map(|key| async move {
            let mut records = Vec::new();
            for path in bucket.list(&layout::failures(key)).await? {
                records.extend(read_one(bucket, path, |r: &FailureRecord| r.format).await?);
            }
            records.sort_by(|a, b| a.attempt.cmp(&b.attempt));
            Ok::<_, RecordsError>((key, records))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(found.into_iter().filter(|(_, records)| !records.is_empty()).collect())
}

async fn read_all<K: Copy, R: DeserializeOwned>(
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

async fn read_one<R: DeserializeOwned>(
    bucket: &Bucket,
    path: Path,
    format: fn(&R) -> u32,
) -> Result<Option<R>, RecordsError> {
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
    debug_assert_eq!(format(&record), RECORD_FORMAT);
    Ok(Some(record))
}
