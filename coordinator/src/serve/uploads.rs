//! Files of users' machines, by content: kept on this host until the sweeps that read them are resolved, then removed.
//!
//! In: chunks named by the sha256 of their whole file. Out: a tree of links in which a sweep's files lie under the paths that
//! they had. A path of a user's never leaves the tree; content that is not its name is refused. Nothing here is needed later:
//! what a sweep reads is in its inputs and in the mirrored models.

use espalier_proto::ids::Digest;
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

/// How the folders of uploaded files are called; their process's id follows.
const PREFIX: &str = "espalier-uploads-";

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
    needs: Needs,
}

/// A file that is being taken.
pub struct Incoming {
    expected: Digest,
    hasher: Sha256,
    file: File,
    partial: PathBuf,
    to: PathBuf,
}

/// Who still needs a file.
#[derive(Debug, Default)]
struct Need {
    /// Users who were told that it is here, or asked for it, and have not submitted yet.
    asked: usize,
    /// Trees that have it.
    trees: usize,
}

type Needs = Arc<Mutex<BTreeMap<Digest, Need>>>;

fn locked(needs: &Needs) -> std::sync::MutexGuard<'_, BTreeMap<Digest, Need>> {
    needs.lock().expect("nothing panics while it holds the needs")
}

/// The files of one sweep under the paths that they had, below [`Tree::root`]. What only it needs goes with it.
#[derive(Debug)]
pub struct Tree {
    folder: tempfile::TempDir,
    files: BTreeSet<Digest>,
    needs: Needs,
    from: PathBuf,
}

impl Drop for Tree {
    fn drop(&mut self) {
        let mut needs = locked(&self.needs);
        for digest in &self.files {
            let need = needs.entry(*digest).or_default();
            need.trees -= 1;
            if need.trees == 0 && need.asked == 0 {
                needs.remove(digest);
                // What cannot be removed now goes with the process.
                let _ = std::fs::remove_file(self.from.join(digest.to_string()));
            }
        }
    }
}

impl Uploads {
    /// Nothing is there yet. What coordinators of this host left that were killed is removed.
    pub fn new() -> std::io::Result<Self> {
        remove_left(&std::env::temp_dir());
        let prefix = format!("{PREFIX}{}-{}-", std::process::id(), namespace());
        Ok(Self { folder: tempfile::Builder::new().prefix(&prefix).tempdir()?, needs: Needs::default() })
    }

    /// Files of these that are not here. Whoever asks is going to submit a sweep that reads all of them.
    pub fn missing(&self, wanted: &[Digest]) -> Vec<Digest> {
        let mut needs = locked(&self.needs);
        wanted.iter().for_each(|digest| needs.entry(*digest).or_default().asked += 1);
        wanted.iter().copied().filter(|digest| !self.has(*digest)).collect()
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
        let folder = folder.map_err(keep(self.folder.path()))?;
        let wanted: BTreeSet<Digest> = files.values().copied().collect();
        let mut needs = locked(&self.needs);
        for digest in &wanted {
            let need = needs.entry(*digest).or_default();
            (need.asked, need.trees) = (need.asked.saturating_sub(1), need.trees + 1);
        }
        drop(needs);
        let (needs, from) = (self.needs.clone(), self.folder.path().to_owned());
        let tree = Tree { folder, files: wanted, needs, from };
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

/// Removes the folders of processes that are no more.
fn remove_left(temporary: &Path) {
    let Ok(entries) = std::fs::read_dir(temporary) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some((pid, rest)) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.split_once('-'))
        else {
            continue;
        };
        let ours = rest.starts_with(&format!("{}-", namespace()));
        if ours && pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists() {
            // Another user's stays.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Which processes' ids these are: containers that share a folder for temporary files do not see each other's.
fn namespace() -> String {
    let link = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    link.to_string_lossy().chars().filter(char::is_ascii_digit).collect()
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

    fn upload(uploads: &Uploads, text: &[u8]) -> Digest {
        let digest = Digest::of(text);
        let mut incoming = uploads.begin(digest).unwrap();
        incoming.take(text).unwrap();
        incoming.end().unwrap();
        digest
    }

    #[test]
    fn a_file_goes_with_the_last_sweep_that_needs_it() {
        let uploads = Uploads::new().unwrap();
        let digest = Digest::of(b"text");
        assert_eq!(uploads.missing(&[digest]), [digest]);
        upload(&uploads, b"text");
        assert!(uploads.missing(&[digest]).is_empty(), "another user's");
        let files = [("/a".to_owned(), digest)].into();
        drop(uploads.tree(&files).unwrap());
        assert!(uploads.has(digest), "the other user was told that it is here");
        drop(uploads.tree(&files).unwrap());
        assert!(!uploads.has(digest));
    }

    #[test]
    fn what_a_killed_coordinator_left_is_removed_and_what_a_living_one_has_is_not() {
        let folder = tempfile::tempdir().unwrap();
        // No process has such a number.
        let folder_of = |pid, namespace: &str| format!("{PREFIX}{pid}-{namespace}-x");
        let (left, living) =
            (folder_of(4_194_305, &namespace()), folder_of(std::process::id(), &namespace()));
        let unseen = folder_of(4_194_305, "1");
        for name in [&left, &living, &unseen] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        remove_left(folder.path());
        assert!(!folder.path().join(left).exists());
        assert!(folder.path().join(living).exists() && folder.path().join(unseen).exists());
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
