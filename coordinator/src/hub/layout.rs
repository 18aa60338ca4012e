//! The Hugging Face cache as `huggingface_hub` lays it out: `blobs/<hash>`, `snapshots/<commit>/<file>` as relative links to
//! them, `refs/<revision>` with the commit; beside them `.locks/`.

use super::error::HubError;
use super::placed;
use super::repository::Repository;
use std::path::{Path, PathBuf};

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
        Ok(placed::link(&self.repository(), commit, file, hex)?)
    }

    /// Notes which commit a branch, tag or reference is.
    pub fn refer(&self, revision: &str, commit: &str) -> Result<(), HubError> {
        if revision == commit {
            return Ok(());
        }
        Ok(placed::write(&self.repository().join("refs").join(revision), commit)?)
    }
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
        placed::make_folder(&blob).unwrap();
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
