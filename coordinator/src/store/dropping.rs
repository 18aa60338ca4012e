//! Drops compact checkpoints that no sweep of the bucket needs, while others go on submitting sweeps that may need them.
//!
//! In: a bucket and a sweep that keeps none. Out: how many were dropped. A checkpoint's note is written, then everything is held against what
//! sweeps need now, and only then its bytes go. Whoever submits a sweep looks for notes after its log says so: of a drop and a submission at
//! the same time at least one sees the other.

use super::checkpoints::CheckpointsError;
use super::{delete_all, inventory};
use crate::clock;
use crate::records::generation;
use crate::records::list::look_for;
use chrono::{DateTime, Utc};
use espalier_proto::bucket::{Bucket, BucketError, Commit};
use espalier_proto::ids::{CellKey, Digest, Name, VariantKey};
use espalier_proto::layout::{self, Owner};
use espalier_proto::records::{DroppedRecord, RECORD_FORMAT, VariantRecord};
use espalier_proto::sweep::{Checkpoints, ResolvedSweep};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};

/// Checkpoints that are dropped together.
const TOGETHER: usize = 32;

/// Drops those of the sweep's checkpoints that no sweep needs.
pub(super) async fn drop_all(bucket: &Bucket, sweep: &ResolvedSweep) -> Result<usize, CheckpointsError> {
    let mut dropped = 0;
    loop {
        let mut asked = Asked::now(bucket).await?;
        let unneeded = unneeded(bucket, sweep, &asked.grids(bucket).await?).await?;
        let mut some = unneeded.chunks(TOGETHER);
        loop {
            let Some(records) = some.next() else { return Ok(dropped) };
            match drop_some(bucket, records, &mut asked).await? {
                Some(n) => dropped += n,
                // Something else is needed now.
                None => break,
            }
        }
    }
}

/// Records of the variants whose checkpoints none of these sweeps needs.
async fn unneeded(
    bucket: &Bucket,
    sweep: &ResolvedSweep,
    grids: &[ResolvedSweep],
) -> Result<Vec<VariantRecord>, CheckpointsError> {
    let mut keys: BTreeSet<VariantKey> = sweep.variants.iter().map(|v| v.key).collect();
    // A sweep without tasks is about its checkpoints; one that says nothing, or dense, keeps them.
    for grid in grids.iter().filter(|g| g.checkpoints != Checkpoints::None || g.cells.is_empty()) {
        for variant in &grid.variants {
            keys.remove(&variant.key);
        }
    }
    let cells = grids.iter().flat_map(|g| &g.cells).filter(|c| keys.contains(&c.variant));
    let cells: BTreeSet<(VariantKey, CellKey)> = cells.map(|c| (c.variant, c.key)).collect();
    let mut there = look_for(bucket, keys.clone(), cells.iter().map(|(_, cell)| *cell).collect()).await?;
    for (variant, cell) in &cells {
        if !there.cells.contains_key(cell) {
            there.variants.remove(variant);
        }
    }
    Ok(there.variants.into_values().collect())
}

/// Drops the checkpoints of these records that are there; `None`, and nothing is dropped, where sweeps no longer ask for the same.
async fn drop_some(
    bucket: &Bucket,
    records: &[VariantRecord],
    asked: &mut Asked,
) -> Result<Option<usize>, CheckpointsError> {
    let blobs = records.iter().flat_map(|record| record.blobs.iter().map(move |blob| (record, blob)));
    let looks = blobs.map(|(record, blob)| async move {
        let path = layout::variant_blob(record.key, &record.attempt, &blob.name);
        Ok::<_, BucketError>(bucket.exists(&path).await?.then_some((record, path)))
    });
    let looks: Vec<_> = looks.collect();
    let there: Vec<_> = futures::stream::iter(looks).buffered(TOGETHER).try_collect().await?;
    let there: Vec<(&VariantRecord, Path)> = there.into_iter().flatten().collect();
    let about: BTreeMap<VariantKey, &VariantRecord> =
        there.iter().map(|(record, _)| (record.key, *record)).collect();
    if about.is_empty() {
        return Ok(Some(0));
    }
    // Said before it is done: nobody takes what is on its way out for damaged.
    let notes: Vec<_> = about
        .values()
        .map(|record| async move { Ok::<_, BucketError>((*record, commit_note(bucket, record).await?)) })
        .collect();
    let notes: Vec<_> = futures::stream::iter(notes).buffered(TOGETHER).try_collect().await?;
    let (ours, others): (Vec<_>, Vec<_>) =
        notes.into_iter().partition(|(_, committed)| *committed == Commit::Won);
    generation::dropping(bucket).await?;
    if !asked.holds(bucket).await? {
        delete_all(bucket, ours.iter().map(|(record, _)| layout::variant_dropped(record.key))).await?;
        return Ok(None);
    }
    delete_all(bucket, there.iter().map(|(_, path)| path.clone())).await?;
    // Whoever else was about to drop these may have thought better of it.
    for (record, _) in others {
        commit_note(bucket, record).await?;
    }
    Ok(Some(about.len()))
}

async fn commit_note(bucket: &Bucket, record: &VariantRecord) -> Result<Commit, BucketError> {
    let note =
        DroppedRecord { format: RECORD_FORMAT, key: record.key, weights: record.weights, at: clock::utc() };
    bucket.commit_json(&layout::variant_dropped(record.key), &note).await
}

/// The last entry of a log: its number, and when the store took it.
type Last = (u64, DateTime<Utc>);

/// What the sweeps of a bucket ask for, at one moment.
struct Asked {
    logs: BTreeMap<Name, Last>,
    specs: BTreeMap<Name, Option<Digest>>,
}

impl Asked {
    async fn now(bucket: &Bucket) -> Result<Self, CheckpointsError> {
        let mut asked = Self { logs: last_entries(bucket).await?, specs: BTreeMap::new() };
        for name in asked.logs.keys() {
            asked.specs.insert(name.clone(), spec(bucket, name).await?);
        }
        Ok(asked)
    }

    /// True if no sweep came since, went, or was submitted otherwise. What else logs say is passed over.
    async fn holds(&mut self, bucket: &Bucket) -> Result<bool, CheckpointsError> {
        let now = last_entries(bucket).await?;
        if !now.keys().eq(self.logs.keys()) {
            return Ok(false);
        }
        for (name, last) in &now {
            if self.logs.get(name) != Some(last) && self.specs.get(name) != Some(&spec(bucket, name).await?) {
                return Ok(false);
            }
        }
        self.logs = now;
        Ok(true)
    }

    /// The current grid of every sweep. One that cannot be read stops everything: what it needs is not known.
    async fn grids(&self, bucket: &Bucket) -> Result<Vec<ResolvedSweep>, CheckpointsError> {
        let mut grids = Vec::new();
        for (name, spec) in &self.specs {
            let Some(spec) = spec else { continue };
            let path = layout::spec(name, *spec);
            let gone = || BucketError::Corrupt { path: path.to_string(), why: "it is absent".to_owned() };
            grids.push(bucket.read_object(&path).await?.ok_or_else(gone)?);
        }
        Ok(grids)
    }
}

async fn spec(bucket: &Bucket, name: &Name) -> Result<Option<Digest>, CheckpointsError> {
    Ok(inventory::fold(bucket, name).await?.spec)
}

async fn last_entries(bucket: &Bucket) -> Result<BTreeMap<Name, Last>, BucketError> {
    let mut logs: BTreeMap<Name, Last> = BTreeMap::new();
    for meta in bucket.list_sizes(&layout::sweeps()).await? {
        let Owner::Sweep(name) = layout::owner(&meta.location) else { continue };
        let entry = layout::parse_log_entry(&meta.location);
        let Some(n) = entry.filter(|n| meta.location == layout::log_entry(&name, *n)) else { continue };
        let last = logs.entry(name).or_insert((n, meta.last_modified));
        *last = (*last).max((n, meta.last_modified));
    }
    Ok(logs)
}
