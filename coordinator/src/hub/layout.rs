//! The Hugging Face cache as `huggingface_hub` lays it out: `blobs/<hash>`, `snapshots/<commit>/<file>` as relative links to
//! them, `refs/<revision>` with the commit; beside them `.locks/`.

use super::error::HubError;
use super::repository::Repository;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A repository's folder in a cache.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    folder: String,
}

impl Layout {
    /// The place of `repository` in the cache at `root`.
    pub fn new(root: &Path, repository: &Repository) -> Self {
        Self { root: root.to_owned(), folder: repository.folder() }
    }

    fn repository(&self) -> PathBuf {
        self.root.join(&self.folder)
    }

    /// Content of this hash.
    pub fn blob(&self, hex: &str) -> PathBuf {
        self.repository().join("blobs").join(hex)
    }

    /// The part of it that has come so far.
    pub fn incomplete(&self, hex: &str) -> PathBuf {
        self.repository().join("blobs").join(format!("{hex}.incomplete"))
    }

    /// Whoever fetches it holds this file locked.
    pub fn lock(&self, hex: &str) -> PathBuf {
        self.root.join(".locks").join(&self.folder).join(format!("{hex}.lock"))
    }

    /// Makes `file` of a commit's snapshot the content of this hash.
    pub fn link(&self, commit: &str, file: &str, hex: &str) -> Result<(), HubError> {
        let link = self.repository().join("snapshots").join(commit).join(file);
        let up = "../".repeat(file.split('/').count() + 1);
        let target = PathBuf::from(format!("{up}blobs/{hex}"));
        if std::fs::read_link(&link).is_ok_and(|known| known == target) {
            return Ok(());
        }
        make_folder(&link)?;
        let new = beside(&link);
        let made = std::os::unix::fs::symlink(&target, &new).and_then(|()| std::fs::rename(&new, &link));
        made.map_err(|source| cache_error(&link, source))
    }

    /// Notes which commit a branch, tag or reference is.
    pub fn refer(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if revision == commit {
            return Ok(());
        }
        let path = self.repository().join("refs").join(revision);
        make_folder(&path)?;
        let new = beside(&path);
        let written = std::fs::write(&new, commit).and_then(|()| std::fs::rename(&new, &path));
        written.map_err(|source| cache_error(&path, source))
    }
}

/// A name beside a file that nobody else uses: no other process, and no other sweep that this one resolves.
pub fn beside(path: &Path) -> PathBuf {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let n = MADE.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}-{n}", std::process::id()))
}

/// Makes the folder of a file.
pub(super) fn make_folder(file: &Path) -> Result<(), HubError> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder).map_err(|source| cache_error(folder, source))
}

/// The cache cannot be written.
pub(super) fn cache_error(path: &Path, source: std::io::Error) -> HubError {
    HubError::Cache { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::Kind;

    #[test]
    fn links_are_relative_and_lead_to_the_blob_from_any_depth() {
        let root = tempfile::tempdir().unwrap();
        let repository = Repository::new(Kind::Dataset, "org/d").unwrap();
        let layout = Layout::new(root.path(), &repository);
        let blob = layout.blob("abc");
        make_folder(&blob).unwrap();
        std::fs::write(&blob, "content").unwrap();
        let folder = root.path().join("datasets--org--d");
        for file in ["a.json", "default/test/0000.parquet"] {
            // Twice: what is there stays.
            layout.link("c1", file, "abc").unwrap();
            layout.link("c1", file, "abc").unwrap();
            let link = folder.join("snapshots/c1").join(file);
            assert!(std::fs::read_link(&link).unwrap().is_relative());
            assert_eq!(std::fs::read_to_string(link).unwrap(), "content", "{file}");
        }
        layout.refer("refs/convert/parquet", "c1").unwrap();
        assert_eq!(std::fs::read_to_string(folder.join("refs/refs/convert/parquet")).unwrap(), "c1");
    }
}
