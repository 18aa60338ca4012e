//! The bucket as a store of bytes: what is in it, who needs it, what may go, what is damaged.
//!
//! * [`inventory`]: every object and every sweep's specs, read once. * [`usage`]: bytes by sweep and by kind.
//! * [`checkpoints`]: what a sweep that is over asked for: Hugging Face folders, or nothing to stay, by `dropping`. * [`folder`]: a model's folder in a bucket.
//! * [`claim`]: a place of a bucket that a folder is written to. * [`remove`]: a sweep and what only it needs. * [`collect`]: what nobody needs any more. * [`repair`]: what is damaged becomes
//!   missing; `verify`: whether it is.
//!
//! One rule for all: what this version does not know by its path is never touched.

pub mod checkpoints;
pub mod claim;
pub mod collect;
mod dropping;
pub mod folder;
pub mod inventory;
pub mod remove;
pub mod repair;
pub mod usage;
mod verify;

pub use inventory::{Inventory, StoreError};

use crate::records::generation;
use espalier_proto::bucket::{Bucket, BucketError};
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;

/// Requests in flight.
const AT_ONCE: usize = 32;

/// Deletes these objects, in any order.
async fn delete_all(bucket: &Bucket, paths: impl IntoIterator<Item = Path>) -> Result<(), BucketError> {
    let deletions: Vec<_> = paths.into_iter().map(|path| async move { bucket.delete(&path).await }).collect();
    futures::stream::iter(deletions).buffer_unordered(AT_ONCE).try_collect().await
}

/// Deletes records: what segments say of them is believed no more.
async fn delete_records(bucket: &Bucket, paths: Vec<Path>) -> Result<(), BucketError> {
    if paths.is_empty() {
        return Ok(());
    }
    generation::deleting(bucket, delete_all(bucket, paths)).await
}
