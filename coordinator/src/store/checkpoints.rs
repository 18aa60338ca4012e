//! What a sweep's `checkpoints:` asks for, once nothing is left to do: `dense` adds a Hugging Face folder of every pruned variant,
//! `none` drops compact checkpoints that no sweep of the bucket needs any more.
//!
//! In: a bucket and a sweep. Out: [`Settled`]. Said again it does nothing again. A dropped checkpoint costs whoever wants another cell of
//! it its pruning, and no more: the record stays, and what is pruned again must be what it names.

use super::folder::{self, Base, FolderError};
use super::{StoreError, delete_all};
use crate::clock;
use crate::records::RecordsError;
use crate::records::list::look_for;
use crate::serve::log;
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::causes::chain;
use espalier_proto::formatted;
use espalier_proto::ids::{CellKey, Digest, Name, VariantKey};
use espalier_proto::layout;
use espalier_proto::records::{DroppedRecord, RECORD_FORMAT, VariantRecord};
use espalier_proto::sweep::{Checkpoints, ModelEntry, ResolvedSweep, VariantEntry};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::path::Path;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Folders that were written.
    pub exported: usize,
    /// Checkpoints that were dropped.
    pub dropped: usize,
}

/// Why not all that was asked for was done.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointsError {
    /// The bucket's sweeps.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Records.
    #[error(transparent)]
    Records(#[from] RecordsError),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A folder could not be written.
    #[error("variant {variant} of {model} could not be exported")]
    Folder {
        /// As tables show it.
        variant: String,
        /// The model's id.
        model: String,
        /// Why.
        #[source]
        source: FolderError,
    },
}

/// What is said in an exported folder.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    format: u32,
    variant: VariantKey,
    weights: Digest,
}

formatted!(Note, "note of an exported folder", RECORD_FORMAT);

/// Does what the sweep asks for with the variants that are there.
pub async fn settle(bucket: &Bucket, sweep: &ResolvedSweep) -> Result<Settled, CheckpointsError> {
    match sweep.checkpoints {
        Checkpoints::Compact => Ok(Settled::default()),
        Checkpoints::Dense => {
            Ok(Settled { exported: export_all(bucket, sweep).await?, ..Settled::default() })
        }
        Checkpoints::None => Ok(Settled { dropped: drop_all(bucket, sweep).await?, ..Settled::default() }),
    }
}

/// One that fails keeps no other from being written.
async fn export_all(bucket: &Bucket, sweep: &ResolvedSweep) -> Result<usize, CheckpointsError> {
    let keys = sweep.variants.iter().map(|v| v.key).collect();
    let there = look_for(bucket, keys, BTreeSet::new()).await?.variants;
    let (mut exported, mut first) = (0, None);
    for model in &sweep.models {
        let mut base = None;
        for variant in sweep.variants.iter().filter(|v| v.model == model.id) {
            let pruned = there.get(&variant.key).filter(|record| !record.blobs.is_empty());
            let Some(record) = pruned else { continue };
            match export_one(bucket, (model, &mut base), variant, record).await {
                Ok(written) => exported += usize::from(written),
                Err(error) => {
                    let why = chain(&error);
                    tracing::warn!(
                        variant = variant.name,
                        model = model.id,
                        why,
                        "a variant could not be exported"
                    );
                    let no_base =
                        matches!(&error, CheckpointsError::Folder { source: FolderError::Base { .. }, .. });
                    first.get_or_insert(error);
                    if no_base {
                        break;
                    }
                }
            }
        }
    }
    first.map_or(Ok(exported), Err)
}

/// Exports a variant; `false` if it is there already.
async fn export_one(
    bucket: &Bucket,
    (model, base): (&ModelEntry, &mut Option<Base>),
    variant: &VariantEntry,
    record: &VariantRecord,
) -> Result<bool, CheckpointsError> {
    let (place, note) = (layout::export_folder(variant.key), layout::export_note(variant.key));
    let whole = Note { format: RECORD_FORMAT, variant: variant.key, weights: record.weights };
    if bucket.read_object::<Note>(&note).await?.as_ref() == Some(&whole) {
        return Ok(false);
    }
    let failed =
        |source| CheckpointsError::Folder { variant: variant.name.clone(), model: model.id.clone(), source };
    let base = match base {
        Some(base) => base,
        slot => {
            let found = folder::base(bucket, Path::new(&model.folder), model.digest).await;
            slot.insert(found.map_err(failed)?)
        }
    };
    match folder::put(bucket, record, &base.folder, (bucket, &place)).await {
        // It is not asked for, else it had been pruned again; where that failed, the sweep says so.
        Err(FolderError::Dropped { .. }) => return Ok(false),
        put => put.map_err(failed)?,
    }
    bucket.put(&note, espalier_proto::bucket::json_bytes(&whole)).await?;
    Ok(true)
}

async fn drop_all(bucket: &Bucket, sweep: &ResolvedSweep) -> Result<usize, CheckpointsError> {
    let grids = grids(bucket).await?;
    let mut keys: BTreeSet<VariantKey> = sweep.variants.iter().map(|v| v.key).collect();
    // A sweep without tasks is about its checkpoints; one that says nothing, or dense, keeps them.
    for grid in grids.iter().filter(|g| g.checkpoints != Checkpoints::None || g.cells.is_empty()) {
        for variant in &grid.variants {
            keys.remove(&variant.key);
        }
    }
    let cells = grids.iter().flat_map(|g| &g.cells).filter(|c| keys.contains(&c.variant));
    let cells: BTreeSet<(VariantKey, CellKey)> = cells.map(|c| (c.variant, c.key)).collect();
    let there = look_for(bucket, keys.clone(), cells.iter().map(|(_, cell)| *cell).collect()).await?;
    for (variant, cell) in &cells {
        if !there.cells.contains_key(cell) {
            keys.remove(variant);
        }
    }
    let mut dropped = 0;
    for key in keys {
        if let Some(record) = there.variants.get(&key) {
            dropped += usize::from(drop_one(bucket, record).await?);
        }
    }
    Ok(dropped)
}

/// Drops a checkpoint; `false` if there is none.
async fn drop_one(bucket: &Bucket, record: &VariantRecord) -> Result<bool, CheckpointsError> {
    let blobs = record.blobs.iter().map(|b| layout::variant_blob(record.key, &record.attempt, &b.name));
    let mut there = Vec::new();
    for path in blobs {
        if bucket.exists(&path).await? {
            there.push(path);
        }
    }
    if there.is_empty() {
        return Ok(false);
    }
    let note =
        DroppedRecord { format: RECORD_FORMAT, key: record.key, weights: record.weights, at: clock::utc() };
    // Said before it is done: nobody takes what is on its way out for damaged.
    bucket.commit_json(&layout::variant_dropped(record.key), &note).await?;
    delete_all(bucket, there).await?;
    Ok(true)
}

/// The current grid of every sweep of the bucket. One that cannot be read stops everything: what it needs is not known.
async fn grids(bucket: &Bucket) -> Result<Vec<ResolvedSweep>, CheckpointsError> {
    let mut grids = Vec::new();
    for name in bucket.folders(&layout::sweeps()).await? {
        let Ok(name) = name.parse::<Name>() else { continue };
        let Some(spec) = log::read(bucket, &name).await.map_err(StoreError::from)?.spec else { continue };
        let path = layout::spec(&name, spec);
        let gone = || BucketError::Corrupt { path: path.to_string(), why: "it is absent".to_owned() };
        grids.push(bucket.read_object(&path).await?.ok_or_else(gone)?);
    }
    Ok(grids)
}
