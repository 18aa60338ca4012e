//! Reads records by key, many at once.
//!
//! In: a resolved sweep or keys. Out: what is committed. A cell measured on other weights than its variant's record names
//! counts as missing.

use super::index::Committed;
use super::loose;
use super::present::bodies;
use super::read::{AT_ONCE, RecordsError, dropped, read_all};
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::{CellKey, Digest, VariantKey};
use espalier_proto::layout;
use espalier_proto::records::{CellRecord, FailureRecord, VariantRecord};
use espalier_proto::sweep::ResolvedSweep;
use futures::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};

/// A grid with fewer variants and cells has no segments.
const MANY: usize = 5_000;

/// Reads the records of every variant and cell of a sweep.
pub async fn committed(bucket: &Bucket, sweep: &ResolvedSweep) -> Result<Committed, RecordsError> {
    let (variants, cells) = all(bucket, sweep).await?;
    let mut there = Committed::new(variants, cells);
    let (has_variant, has_cell) =
        (|key: &VariantKey| there.variants.contains_key(key), |key: &CellKey| there.cells.contains_key(key));
    there.dropped = dropped(bucket, sweep, has_variant, has_cell).await?;
    Ok(there)
}

/// Records of variants, and of cells.
pub type Records = (Vec<(VariantKey, VariantRecord)>, Vec<(CellKey, CellRecord)>);

/// The same, whatever weights cells were measured on: of a large grid from its segments, and one by one what they do not hold.
pub async fn all(bucket: &Bucket, sweep: &ResolvedSweep) -> Result<Records, RecordsError> {
    let mut variants: BTreeSet<VariantKey> = sweep.variants.iter().map(|v| v.key).collect();
    let mut cells: BTreeSet<CellKey> = sweep.cells.iter().map(|c| c.key).collect();
    let mut found = Records::default();
    if variants.len() + cells.len() >= MANY {
        let wanted: BTreeSet<Digest> =
            variants.iter().map(|v| v.0).chain(cells.iter().map(|c| c.0)).collect();
        for (row, body) in bodies(bucket, &sweep.name, &wanted).await? {
            // What cannot be read there is read from its own object.
            if row.cell {
                found.1.extend(serde_json::from_slice(&body).ok().map(|record| (CellKey(row.key), record)));
            } else {
                found
                    .0
                    .extend(serde_json::from_slice(&body).ok().map(|record| (VariantKey(row.key), record)));
            }
        }
        let keys: BTreeSet<Digest> =
            found.0.iter().map(|(key, _)| key.0).chain(found.1.iter().map(|(key, _)| key.0)).collect();
        variants.retain(|key| !keys.contains(&key.0));
        cells.retain(|key| !keys.contains(&key.0));
        let keys = variants.iter().map(|v| (false, v.0)).chain(cells.iter().map(|c| (true, c.0)));
        let there = loose::there(bucket, keys.collect()).await?;
        let of = |cell: bool| there.iter().filter(move |(is, _)| *is == cell).map(|(_, key)| *key);
        (variants, cells) = (of(false).map(VariantKey).collect(), of(true).map(CellKey).collect());
    }
    found.0.extend(read_all(bucket, variants, layout::variant_record).await?);
    found.1.extend(read_all(bucket, cells, layout::cell_record).await?);
    Ok(found)
}

/// Reads the records of these variants and cells; those that are absent are left out.
pub async fn look_for(
    bucket: &Bucket,
    variants: BTreeSet<VariantKey>,
    cells: BTreeSet<CellKey>,
) -> Result<Committed, RecordsError> {
    let variants: Vec<(VariantKey, VariantRecord)> =
        read_all(bucket, variants, layout::variant_record).await?;
    let cells: Vec<(CellKey, CellRecord)> = read_all(bucket, cells, layout::cell_record).await?;
    Ok(Committed::new(variants, cells))
}

/// Of those variants, the ones whose checkpoint is there to be used.
pub async fn usable(
    bucket: &Bucket,
    variants: impl IntoIterator<Item = VariantKey>,
) -> Result<Vec<VariantKey>, RecordsError> {
    let looks = variants.into_iter().map(|key| async move {
        Ok::<_, RecordsError>((!bucket.exists(&layout::variant_dropped(key)).await?).then_some(key))
    });
    let found: Vec<_> =
        futures::stream::iter(looks.collect::<Vec<_>>()).buffered(AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
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
                records.extend(bucket.read_object::<FailureRecord>(&path).await?);
            }
            records.sort_by(|a, b| a.attempt.cmp(&b.attempt));
            Ok::<_, RecordsError>((key, records))
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await?;
    Ok(found.into_iter().filter(|(_, records)| !records.is_empty()).collect())
}
