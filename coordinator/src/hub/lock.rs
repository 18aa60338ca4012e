//! One fetch of a blob at a time, among all processes of the machine: `flock`, which Hugging Face's tools use on the same files.

use super::error::HubError;
use super::layout::{cache_error, make_folder};
use crate::clock;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

/// The kernel tells nobody that a lock is free but those who block on it, and a blocked thread cannot be stopped.
const LOOK: Duration = Duration::from_millis(200);

/// Waits for the lock; it is free again when the file is dropped.
pub(super) async fn hold(path: &Path) -> Result<File, HubError> {
    make_folder(path)?;
    let mut open = File::options();
    let file = open.create(true).append(true).open(path).map_err(|source| cache_error(path, source))?;
    let mut told = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                if !told {
                    tracing::info!(lock = %path.display(), "another process fetches this file: waiting for it");
                    told = true;
                }
                clock::sleep(LOOK).await;
            }
            Err(TryLockError::Error(source)) => return Err(cache_error(path, source)),
        }
    }
}
