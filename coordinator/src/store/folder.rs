//! A variant as a Hugging Face folder: on this machine, or at a place of a bucket.
//!
//! In: a variant's record and the files of its base model, from a folder or from the bucket's mirror. Out: a folder that `transformers`
//! loads. What is made anew here is a copy: it decides nothing.

use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::checkpoint::{Compact, CompactError, ExportError, FILE_NAME, export};
use espalier_proto::ids::{ModelDigest, VariantKey};
use espalier_proto::layout;
use espalier_proto::mirror::{self, MirrorError};
use espalier_proto::model_folder::folder_digest;
use espalier_proto::records::VariantRecord;
use object_store::path::Path as Place;
use std::path::{Path, PathBuf};

/// Why there is no folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The checkpoint is not what its record says.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// The folder cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The base model cannot be had.
    #[error("the base model is not in {folder}, and not in the bucket either")]
    Base {
        /// Where it was when the sweep was resolved.
        folder: String,
        /// Why the bucket does not give it.
        #[source]
        source: MirrorError,
    },
    /// The checkpoint was dropped.
    #[error(
        "the checkpoint of variant {key} was dropped when a sweep that keeps none (checkpoints: none) was over and no other sweep kept it; it \
         is pruned again when a sweep wants a cell of it that is not measured, or its folder (checkpoints: dense), or by espalier prune"
    )]
    Dropped {
        /// The variant.
        key: VariantKey,
    },
    /// The checkpoint is gone.
    #[error("{path} is not in the bucket, though the variant's record names it")]
    Missing {
        /// The object.
        path: String,
    },
    /// This machine.
    #[error("{path}")]
    Scratch {
        /// The file or folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A base model's files on this machine; fetched ones go with it.
#[derive(Debug)]
pub struct Base {
    /// The folder.
    pub folder: PathBuf,
    _fetched: Option<tempfile::TempDir>,
}

/// The files of a model: `folder` if it holds them, else the bucket's mirror, which has weights and configuration but no tokenizer.
pub async fn base(bucket: &Bucket, folder: &Path, model: ModelDigest) -> Result<Base, FolderError> {
    let path = folder.to_owned();
    let found = tokio::task::spawn_blocking(move || folder_digest(&path, None)).await;
    if found.expect("reading files does not panic").ok() == Some(model) {
        return Ok(Base { folder: folder.to_owned(), _fetched: None });
    }
    let scratch = scratch()?;
    let fetched = scratch.path().join("model");
    let absent = |source| FolderError::Base { folder: folder.display().to_string(), source };
    mirror::fetch(bucket, model, &fetched).await.map_err(absent)?;
    Ok(Base { folder: fetched, _fetched: Some(scratch) })
}

fn scratch() -> Result<tempfile::TempDir, FolderError> {
    let failed = |source| FolderError::Scratch { path: std::env::temp_dir().display().to_string(), source };
    tempfile::Builder::new().prefix("espalier-export-").tempdir().map_err(failed)
}

/// Writes the variant of this record, of the model in `base`, to the folder `to`, which must be empty or absent.
pub async fn write(
    bucket: &Bucket,
    record: &VariantRecord,
    base: &Path,
    to: &Path,
) -> Result<(), FolderError> {
    let compact = match record.blobs.iter().find(|blob| blob.name == FILE_NAME) {
        None => None,
        Some(blob) => {
            let path = layout::variant_blob(record.key, &record.attempt, &blob.name);
            let Some(bytes) = bucket.read(&path).await? else {
                return Err(match bucket.exists(&layout::variant_dropped(record.key)).await? {
                    true => FolderError::Dropped { key: record.key },
                    false => FolderError::Missing { path: path.to_string() },
                });
            };
            Some(Compact::verified(&bytes, record.weights)?)
        }
    };
    let (base, to) = (base.to_owned(), to.to_owned());
    let written = tokio::task::spawn_blocking(move || export(&base, compact.as_ref(), &to)).await;
    Ok(written.expect("writing files does not panic")?)
}

/// The same to a place of a bucket.
pub async fn put(
    bucket: &Bucket,
    record: &VariantRecord,
    base: &Path,
    (to, place): (&Bucket, &Place),
) -> Result<(), FolderError> {
    let scratch = scratch()?;
    let folder = scratch.path().join("folder");
    write(bucket, record, base, &folder).await?;
    let failed = |source| FolderError::Scratch { path: folder.display().to_string(), source };
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        to.put_file(&place.clone().join(name), &path).await?;
    }
    Ok(())
}
