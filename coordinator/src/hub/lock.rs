//! One fetch of a blob at a time, among all processes of the machine: `flock`, which Hugging Face's tools use on the same files.

use crate::clock;
use std::fs::{File, TryLockError};
use std::path::Path;
use std::time::Duration;

/// The kernel tells nobody that a lock is free but those who block on it, and a blocked thread cannot be stopped.
const LOOK: Duration = Duration::from_millis(200);

/// Waits for the lock; it is free again when the file is dropped.
pub async fn hold(path: &Path) -> std::io::Result<File> {
    std::fs::create_dir_all(path.parent().unwrap_or(path))?;
    let mut open = File::options();
    let file = open.create(true).append(true).open(path)?;
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
            Err(TryLockError::Error(source)) => return Err(source),
        }
    }
}
