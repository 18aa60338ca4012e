//! Folders that a command writes for its user: looked at before the work, so that no hour ends at a folder that cannot be written.

use crate::exit::Failure;
use std::path::{Path, PathBuf};

/// Refuses a folder that holds something or cannot be made; leaves nothing behind.
pub fn is_free(folder: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::Write { path: folder.display().to_string(), source };
    if folder.exists() {
        let mut entries = std::fs::read_dir(folder).map_err(failed)?;
        if entries.next().is_some() {
            let source = std::io::Error::other("it is not empty: choose another folder or empty it");
            return Err(failed(source));
        }
    }
    can_be_written(folder)
}

/// Refuses a folder in which nothing can be written; an absent one is looked at where it would be made, and not made.
pub fn can_be_written(folder: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::Write { path: folder.display().to_string(), source };
    let there = folder.ancestors().find(|f| f.exists()).unwrap_or(Path::new("."));
    tempfile::tempfile_in(there).map(drop).map_err(failed)
}

/// Writes a file whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |source| Failure::Write { path: path.display().to_string(), source };
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(failed)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        // What could not be finished is of no use to anybody.
        let _ = std::fs::remove_file(&beside);
        failed(error)
    })
}

/// Folders on the way to `path` that are not there yet, the deepest first.
pub fn absent(path: &Path) -> Vec<PathBuf> {
    let missing = path.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists());
    missing.map(Path::to_owned).collect()
}

/// Removes those of these folders that are empty: a command that wrote nothing leaves none of them.
pub fn remove_empty(folders: &[PathBuf]) {
    for folder in folders {
        // One that holds something, or was never made, is no trouble.
        let _ = std::fs::remove_dir(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_holds_something_is_refused_and_an_absent_one_stays_absent() {
        let folder = tempfile::tempdir().unwrap();
        let new = folder.path().join("new");
        is_free(&new).unwrap();
        assert!(!new.exists());
        write(&new.join("a.txt"), b"a").unwrap();
        let error = is_free(&new).unwrap_err();
        assert!(espalier_proto::causes::chain(&error).contains("it is not empty"), "{error}");
        assert!(is_free(&new.join("a.txt/below")).is_err());
    }
}
