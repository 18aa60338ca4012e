//! What of a sweep is in the bucket, by key alone: all that a start needs, of a million records as of ten.
//!
//! Segments first; what they do not hold is read record by record, found by listing where it is much. What was read so is put into a
//! segment once it is worth one.

use super::index::Committed;
use super::read::{self, RecordsError, dropped, read_bytes};
use super::segment::{self, Row};
use super::{generation, loose};
use bytes::Bytes;
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::ids::{CellKey, Digest, Name, VariantKey};
use espalier_proto::layout;
use espalier_proto::records::{CellRecord, VariantRecord};
use espalier_proto::sweep::{Checkpoints, ResolvedSweep};
use futures::{StreamExt, TryStreamExt};
use std::collections::{BTreeMap, BTreeSet};

/// Records read one by one from which on a segment is worth it.
const WORTH: usize = 5_000;
/// Records of one segment, at most.
const LARGEST: usize = 50_000;
/// Objects read at once.
const AT_ONCE: usize = 8;

/// Keys of committed variants and cells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Present {
    /// Variants.
    pub variants: BTreeSet<VariantKey>,
    /// Cells that were measured on the weights that their variant's record names.
    pub cells: BTreeSet<CellKey>,
    /// Cells that were not.
    pub stale: BTreeSet<CellKey>,
    /// Variants whose checkpoint was dropped and is needed.
    pub dropped: BTreeSet<VariantKey>,
}

impl From<&Committed> for Present {
    fn from(there: &Committed) -> Self {
        Self {
            variants: there.variants.keys().copied().collect(),
            cells: there.cells.keys().copied().collect(),
            stale: there.stale.clone(),
            dropped: there.dropped.clone(),
        }
    }
}

impl Present {
    fn new(rows: &[Row]) -> Self {
        let variants: BTreeMap<Digest, Digest> =
            rows.iter().filter(|row| !row.cell).map(|row| (row.key, row.weights)).collect();
        let (mut cells, mut stale) = (Vec::new(), BTreeSet::new());
        for row in rows.iter().filter(|row| row.cell) {
            match variants.get(&row.variant) {
                Some(weights) if *weights == row.weights => cells.push(CellKey(row.key)),
                Some(_) => drop(stale.insert(CellKey(row.key))),
                None => {}
            }
        }
        let variants = variants.into_keys().map(VariantKey).collect();
        Self { variants, cells: cells.into_iter().collect(), stale, dropped: BTreeSet::new() }
    }
}

/// What a sweep's segments say, in the order of keys.
#[derive(Debug, Default)]
pub struct Kept {
    /// None while records are being deleted.
    generation: Option<Digest>,
    rows: Vec<Row>,
}

impl Kept {
    /// The records' generation when they were read; `None` if some were being deleted.
    pub fn generation(&self) -> Option<Digest> {
        self.generation
    }
}

/// Reads a sweep's segments.
pub async fn kept(bucket: &Bucket, name: &Name) -> Result<Kept, RecordsError> {
    let generation = generation::current(bucket).await?;
    let mut rows = match generation {
        Some(generation) => from_segments(bucket, name, generation).await?,
        None => Vec::new(),
    };
    // Most segments are in this order, each by itself.
    rows.sort();
    rows.dedup_by_key(|row| (row.cell, row.key));
    Ok(Kept { generation, rows })
}

/// Reads what is there of a sweep. `compact`: what had to be read record by record is put into segments, if it is much.
pub async fn present(bucket: &Bucket, sweep: &ResolvedSweep, compact: bool) -> Result<Present, RecordsError> {
    beside(bucket, sweep, kept(bucket, &sweep.name).await?, compact).await
}

/// Reads what is there beside what is kept in segments.
async fn beside(
    bucket: &Bucket,
    sweep: &ResolvedSweep,
    kept: Kept,
    compact: bool,
) -> Result<Present, RecordsError> {
    let mut wanted: Vec<(bool, Digest)> = sweep.variants.iter().map(|v| (false, v.key.0)).collect();
    wanted.extend(sweep.cells.iter().map(|c| (true, c.key.0)));
    wanted.sort_unstable();
    wanted.dedup();
    let cells = wanted.iter().filter(|(cell, _)| *cell).count();
    let (mut rows, missing) = join(kept.rows, wanted);
    let in_segments = rows.len();
    let read = read(bucket, loose::there(bucket, missing).await?).await?;
    rows.extend(read.iter().map(|(row, _)| *row));
    tracing::debug!(sweep = %sweep.name, in_segments, one_by_one = read.len(), "records read");
    if let Some(generation) = kept.generation.filter(|_| compact && read.len() >= WORTH) {
        write(bucket, &sweep.name, generation, read).await;
    }
    let mut there = Present::new(&rows);
    if there.cells.len() < cells || cells == 0 || sweep.checkpoints == Checkpoints::Dense {
        let has_variant = |key: &VariantKey| there.variants.contains(key);
        there.dropped = dropped(bucket, sweep, has_variant, |key| there.cells.contains(key)).await?;
    }
    Ok(there)
}

/// Those of `rows` that are wanted, and what of `wanted` none of them is; both are in the order of keys.
fn join(rows: Vec<Row>, wanted: Vec<(bool, Digest)>) -> (Vec<Row>, Vec<(bool, Digest)>) {
    let mut rows = rows.into_iter().peekable();
    let (mut found, mut missing) = (Vec::with_capacity(rows.len().min(wanted.len())), Vec::new());
    for key in wanted {
        while rows.next_if(|row| (row.cell, row.key) < key).is_some() {}
        match rows.next_if(|row| (row.cell, row.key) == key) {
            Some(row) => found.push(row),
            None => missing.push(key),
        }
    }
    (found, missing)
}

/// As [`present`], before work begins: the records of stale cells are removed. A record is written once, and while it is there its
/// cell could not be measured anew.
pub async fn present_without_stale(
    bucket: &Bucket,
    sweep: &ResolvedSweep,
    kept: Kept,
) -> Result<Present, RecordsError> {
    let there = beside(bucket, sweep, kept, true).await?;
    if there.stale.is_empty() {
        return Ok(there);
    }
    generation::deleting(bucket, async {
        for cell in &there.stale {
            tracing::warn!(%cell, "the cell was measured on other weights than its variant's record names; it is run again");
            bucket.delete(&layout::cell_record(*cell)).await?;
        }
        Ok::<_, RecordsError>(())
    })
    .await?;
    Ok(there)
}

/// Rows of all segments of this generation. One that cannot be read is as good as absent.
async fn from_segments(bucket: &Bucket, name: &Name, generation: Digest) -> Result<Vec<Row>, BucketError> {
    let paths = bucket.list(&layout::segments(name)).await?;
    let keys = paths.into_iter().filter(|path| layout::parse_segment_keys(path).is_some());
    let segments = futures::stream::iter(keys.collect::<Vec<_>>()).map(|path| async move {
        let Some(bytes) = bucket.read(&path).await? else { return Ok(Vec::new()) };
        let read = tokio::task::spawn_blocking(move || segment::read_keys(bytes, generation)).await;
        Ok::<_, BucketError>(match read {
            Ok(Ok(rows)) => rows,
            Ok(Err(error)) => {
                tracing::debug!(%path, %error, "segment left out");
                Vec::new()
            }
            Err(error) => {
                tracing::warn!(%path, %error, "segment left out");
                Vec::new()
            }
        })
    });
    let rows: Vec<Vec<Row>> = segments.buffer_unordered(AT_ONCE).try_collect().await?;
    Ok(rows.concat())
}

async fn read(bucket: &Bucket, keys: Vec<(bool, Digest)>) -> Result<Vec<(Row, Bytes)>, RecordsError> {
    let records = futures::stream::iter(keys).map(|(cell, key)| async move {
        let (row, body) = if cell {
            let path = layout::cell_record(CellKey(key));
            let Some((record, body)) = read_bytes::<CellRecord>(bucket, path).await? else { return Ok(None) };
            (Row { cell, key, variant: record.variant.0, weights: record.weights }, body)
        } else {
            let path = layout::variant_record(VariantKey(key));
            let Some((record, body)) = read_bytes::<VariantRecord>(bucket, path).await? else {
                return Ok(None);
            };
            (Row { cell, key, variant: key, weights: record.weights }, body)
        };
        Ok::<_, RecordsError>(Some((row, body)))
    });
    let found: Vec<Option<(Row, Bytes)>> = records.buffer_unordered(read::AT_ONCE).try_collect().await?;
    Ok(found.into_iter().flatten().collect())
}

/// Puts records into segments. What cannot be written is read one by one again the next time.
async fn write(bucket: &Bucket, name: &Name, generation: Digest, mut rows: Vec<(Row, Bytes)>) {
    rows.sort_unstable_by_key(|(row, _)| *row);
    for part in rows.chunks(LARGEST) {
        let part = part.to_vec();
        let made = tokio::task::spawn_blocking(move || segment::write(generation, &part)).await;
        let (keys, bodies) = match made {
            Ok(Ok(made)) => made,
            Ok(Err(error)) => return tracing::warn!(%error, "segment not made"),
            Err(error) => return tracing::warn!(%error, "segment not made"),
        };
        let id = Digest::of(&keys);
        // Whoever reads the keys may want the bodies.
        for (part, bytes) in [("bodies", bodies), ("keys", keys)] {
            if let Err(error) = bucket.put(&layout::segment(name, id, part), bytes).await {
                return tracing::warn!(%error, "segment not written");
            }
        }
    }
}

/// Bodies of records of a sweep's segments, those of `wanted` only; what is damaged is left out.
pub(super) async fn bodies(
    bucket: &Bucket,
    name: &Name,
    wanted: &BTreeSet<Digest>,
) -> Result<Vec<(Row, Bytes)>, BucketError> {
    let Some(generation) = generation::current(bucket).await? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for id in bucket.list(&layout::segments(name)).await?.iter().filter_map(layout::parse_segment_keys) {
        let of = |part| layout::segment(name, id, part);
        let (keys, bodies) = (bucket.read(&of("keys")).await?, bucket.read(&of("bodies")).await?);
        let (Some(keys), Some(bodies)) = (keys, bodies) else { continue };
        let Ok(rows) = segment::read_keys(keys, generation) else { continue };
        let whole = segment::read_bodies(bodies, generation, |at, body| {
            if let Some(row) = rows.get(at).filter(|row| wanted.contains(&row.key)) {
                found.push((*row, Bytes::copy_from_slice(body)));
            }
        });
        if let Err(error) = whole {
            tracing::warn!(segment = %id, %error, "segment is damaged");
        }
    }
    Ok(found)
}
