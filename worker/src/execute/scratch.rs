//! A worker's private folder under the system's temporary one, removed at its end; after a killed worker by the next one that starts on
//! the host.
//!
//! A folder is its worker's for as long as that holds it locked, which the kernel ends with the process. Making and removing is done by
//! one worker at a time: a folder that is made and not locked yet is nobody's prey. Folders of versions that did not lock them have
//! another name and are left alone.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use tempfile::TempDir;

const PREFIX: &str = "espalier-scratch-";

/// The folder.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: TempDir,
    /// Held as long as this lives. A child does not inherit it.
    _owned: File,
}

impl Scratch {
    /// Makes one in `temporary` and removes those whose workers are gone.
    pub(super) fn new(temporary: &Path) -> io::Result<Self> {
        // SAFETY: geteuid touches no memory.
        let me = unsafe { libc::geteuid() };
        let one_at_a_time = temporary.join(format!("{PREFIX}{me}.lock"));
        // Nobody else may hold it, or lead it elsewhere.
        let mut open = File::options();
        let open = open.create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let one_at_a_time = open.open(one_at_a_time)?;
        one_at_a_time.lock()?;
        remove_left(temporary, me);
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(temporary)?;
        let owned = File::open(folder.path())?;
        owned.lock()?;
        Ok(Self { folder, _owned: owned })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// What cannot be looked at or removed stays; it costs room and nothing else.
fn remove_left(temporary: &Path, me: u32) {
    for entry in std::fs::read_dir(temporary).into_iter().flatten().flatten() {
        let named = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let mine = entry.metadata().is_ok_and(|meta| meta.is_dir() && meta.uid() == me);
        if !named || !mine {
            continue;
        }
        let Ok(folder) = File::open(entry.path()) else { continue };
        match folder.try_lock() {
            Ok(()) => match std::fs::remove_dir_all(entry.path()) {
                Ok(()) => {
                    tracing::info!(folder = %entry.path().display(), "what a killed worker left is removed")
                }
                Err(error) => {
                    tracing::warn!(folder = %entry.path().display(), %error, "what a killed worker left cannot be removed");
                }
            },
            Err(TryLockError::WouldBlock) => {}
            Err(TryLockError::Error(error)) => tracing::debug!(%error, "this file system locks no folder"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_worker_left_goes_and_what_lives_or_is_anothers_stays() {
        let temporary = tempfile::tempdir().unwrap();
        let at = |name: &str| temporary.path().join(name);
        let alive = Scratch::new(temporary.path()).unwrap();
        std::fs::write(alive.path().join("part"), "mine").unwrap();
        for name in ["espalier-scratch-killed", "espalier-worker-older", "somebodys"] {
            std::fs::create_dir_all(at(name).join("deep")).unwrap();
        }
        std::os::unix::fs::symlink(at("somebodys"), at("espalier-scratch-link")).unwrap();
        let second = Scratch::new(temporary.path()).unwrap();
        assert!(alive.path().join("part").exists() && second.path().exists());
        assert!(!at("espalier-scratch-killed").exists());
        assert!(at("espalier-worker-older/deep").exists() && at("somebodys/deep").exists());
        let (first, path) = (alive.path().to_owned(), second.path().to_owned());
        drop((alive, second));
        assert!(!first.exists() && !path.exists());
    }
}
