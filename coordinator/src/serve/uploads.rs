//! Files of users' machines, by content: kept on this host until the sweeps that read them are resolved.
//!
//! In: chunks named by the sha256 of their whole file. Out: a tree of links in which a sweep's files lie under the paths that
//! they had. A path of a user's never leaves the tree; content that is not its name is refused. Nothing here is needed later:
//! what a sweep reads is in its inputs and in the mirrored models.

use espalier_proto::ids::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};

/// A file that cannot be taken or laid out.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// What came is not what was announced.
    #[error("upload: found content with sha256 {found}, expected {expected}")]
    Content {
        /// Of what came.
        found: Digest,
        /// Announced.
        expected: Digest,
    },
    /// A path that would leave the tree.
    #[error("file {path:?}: expected an absolute path without `..`")]
    Path {
        /// As sent.
        path: String,
    },
    /// The file was not sent.
    #[error("file {path} (sha256 {digest}) was not uploaded")]
    Absent {
        /// On the user's host.
        path: String,
        /// Its content.
        digest: Digest,
    },
    /// This host.
    #[error("the coordinator cannot keep {path}")]
    Keep {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Where uploaded files are kept: a private folder, removed when the coordinator ends.
#[derive(Debug)]
pub struct Uploads {
    folder: tempfile::TempDir,
}

/// A file that is being taken.
pub struct Incoming {
    expected: Digest,
    hasher: Sha256,
    file: File,
    partial: PathBuf,
    to: PathBuf,
}

/// The files of one sweep under the paths that they had, below [`Tree::root`].
#[derive(Debug)]
pub struct Tree {
    folder: tempfile::TempDir,
}

impl Uploads {
    /// Nothing is there yet.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { folder: tempfile::Builder::new().prefix("espalier-uploads-").tempdir()? })
    }

    fn place(&self, digest: Digest) -> PathBuf {
        self.folder.path().join(digest.to_string())
    }

    /// True if the file is here.
    pub fn has(&self, digest: Digest) -> bool {
        self.place(digest).is_file()
    }

    /// Begins to take a file.
    pub fn begin(&self, expected: Digest) -> Result<Incoming, UploadError> {
        let to = self.place(expected);
        // Two users may send the same file at once.
        let partial = tempfile::NamedTempFile::new_in(self.folder.path())
            .and_then(|file| file.into_temp_path().keep().map_err(|e| e.error))
            .map_err(keep(&to))?;
        let file = File::create(&partial).map_err(keep(&partial))?;
        Ok(Incoming { expected, hasher: Sha256::new(), file, partial, to })
    }

    /// Lays out a sweep's files.
    pub fn tree(&self, files: &BTreeMap<String, Digest>) -> Result<Tree, UploadError> {
        let folder = tempfile::Builder::new().prefix("sweep-").tempdir_in(self.folder.path());
        let tree = Tree { folder: folder.map_err(keep(self.folder.path()))? };
        for (path, digest) in files {
            let inside = inside(path).ok_or_else(|| UploadError::Path { path: path.clone() })?;
            if !self.has(*digest) {
                return Err(UploadError::Absent { path: path.clone(), digest: *digest });
            }
            let at = tree.root().join(inside);
            let parent = at.parent().unwrap_or(tree.root());
            std::fs::create_dir_all(parent).map_err(keep(&at))?;
            std::os::unix::fs::symlink(self.place(*digest), &at).map_err(keep(&at))?;
        }
        Ok(tree)
    }
}

impl Incoming {
    /// Takes the next piece.
    pub fn take(&mut self, data: &[u8]) -> Result<(), UploadError> {
        self.hasher.update(data);
        self.file.write_all(data).map_err(keep(&self.to))
    }

    /// The file is whole: it is kept if it is what was announced.
    pub fn end(self) -> Result<(), UploadError> {
        let found = Digest::finish(self.hasher);
        let result = if found == self.expected {
            std::fs::rename(&self.partial, &self.to).map_err(keep(&self.to))
        } else {
            Err(UploadError::Content { found, expected: self.expected })
        };
        if result.is_err() {
            // It is in a folder that goes with the process.
            let _ = std::fs::remove_file(&self.partial);
        }
        result
    }
}

impl Tree {
    /// The folder that stands for the root of the user's host.
    pub fn root(&self) -> &Path {
        self.folder.path()
    }
}

/// An absolute path without its root, if it has no `..` and nothing else that leaves a tree.
fn inside(path: &str) -> Option<PathBuf> {
    let rest = Path::new(path).strip_prefix("/").ok()?;
    let plain = rest.components().all(|c| matches!(c, Component::Normal(_)));
    (plain && !rest.as_os_str().is_empty() && !path.contains('\0')).then(|| rest.to_owned())
}

fn keep(path: &Path) -> impl FnOnce(std::io::Error) -> UploadError {
    let path = path.display().to_string();
    move |source| UploadError::Keep { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_laid_out_under_its_path_and_other_content_than_announced_is_refused() {
        let uploads = Uploads::new().unwrap();
        let digest = Digest::of(b"text");
        let mut incoming = uploads.begin(digest).unwrap();
        incoming.take(b"te").unwrap();
        incoming.take(b"xt").unwrap();
        incoming.end().unwrap();
        let tree = uploads.tree(&[("/home/me/a.txt".to_owned(), digest)].into()).unwrap();
        assert_eq!(std::fs::read(tree.root().join("home/me/a.txt")).unwrap(), b"text");
        let mut wrong = uploads.begin(Digest::of(b"other")).unwrap();
        wrong.take(b"text").unwrap();
        assert!(matches!(wrong.end(), Err(UploadError::Content { .. })));
        assert!(!uploads.has(Digest::of(b"other")));
    }

    #[test]
    fn a_path_that_leaves_the_tree_is_refused() {
        for path in ["/a/../../etc/passwd", "a.txt", "/", ""] {
            assert_eq!(inside(path), None, "{path}");
        }
        let uploads = Uploads::new().unwrap();
        let error = uploads.tree(&[("/x/../y".to_owned(), Digest::of(b""))].into()).unwrap_err();
        assert!(matches!(error, UploadError::Path { .. }));
    }
}
