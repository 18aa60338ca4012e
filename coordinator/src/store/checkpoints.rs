//! What a sweep's `checkpoints:` asks for, once nothing is left to do: `dense` adds a Hugging Face folder of every pruned variant,
//! `none` drops compact checkpoints that no sweep of the bucket needs any more.
//!
//! In: a bucket, a sweep, and what of it is asked for. Out: [`Settled`]. Said again it does nothing again. A dropped checkpoint costs whoever
//! wants another cell of it its pruning, and no more: the record stays, and what is pruned again must be what it names.

use super::StoreError;
use super::dropping::drop_all;
use super::folder::{self, Base, FolderError};
use crate::records::RecordsError;
use crate::records::list::look_for;
use crate::serve::canary::fallen;
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::causes::chain;
use espalier_proto::formatted;
use espalier_proto::ids::{CellKey, Digest, VariantKey};
use espalier_proto::layout;
use espalier_proto::records::{FailureCode, RECORD_FORMAT, VariantRecord};
use espalier_proto::sweep::{Checkpoints, ModelEntry, ResolvedSweep, VariantEntry};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
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

impl CheckpointsError {
    /// A checkpoint that a folder is asked for of was dropped: the variant is to be pruned again.
    pub fn lacks_checkpoint(&self) -> bool {
        matches!(self, Self::Folder { source: FolderError::Dropped { .. }, .. })
    }
}

/// The variants of which a checkpoint is asked for: those of these cells (`None`: all), but for what was given up.
pub fn asked(
    sweep: &ResolvedSweep,
    cells: Option<&BTreeSet<CellKey>>,
    given_up: &BTreeMap<Digest, FailureCode>,
) -> BTreeSet<VariantKey> {
    let mut asked: BTreeSet<VariantKey> = match cells {
        None => sweep.variants.iter().map(|v| v.key).collect(),
        Some(cells) => sweep.cells.iter().filter(|c| cells.contains(&c.key)).map(|c| c.variant).collect(),
    };
    let fallen = fallen(sweep, given_up, cells).into_iter();
    let fallen: BTreeSet<VariantKey> = fallen.map(|(cell, _)| cell.variant).collect();
    asked.retain(|key| !given_up.contains_key(&key.0) && !fallen.contains(key));
    asked
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

/// Does what the sweep asks for with the variants that are there. Of those that are `asked` for it fails where a checkpoint was dropped.
pub async fn settle(
    bucket: &Bucket,
    sweep: &ResolvedSweep,
    asked: &BTreeSet<VariantKey>,
) -> Result<Settled, CheckpointsError> {
    match sweep.checkpoints {
        Checkpoints::Compact => Ok(Settled::default()),
        Checkpoints::Dense => {
            Ok(Settled { exported: export_all(bucket, sweep, asked).await?, ..Settled::default() })
        }
        Checkpoints::None => Ok(Settled { dropped: drop_all(bucket, sweep).await?, ..Settled::default() }),
    }
}

/// One that fails keeps no other from being written.
async fn export_all(
    bucket: &Bucket,
    sweep: &ResolvedSweep,
    asked: &BTreeSet<VariantKey>,
) -> Result<usize, CheckpointsError> {
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
                Err(error) if error.lacks_checkpoint() && !asked.contains(&variant.key) => {}
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
    folder::put(bucket, record, &base.folder, (bucket, &place)).await.map_err(failed)?;
    bucket.put(&note, espalier_proto::bucket::json_bytes(&whole)).await?;
    Ok(true)
}
