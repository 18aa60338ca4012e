//! Models of the bucket on this node: a folder that its workers share, each model fetched once, verified, oldest first out.
//!
//! In: a model's digest. Out: a folder with its files, held by a lock until it is let go. One worker fetches, the others wait
//! for it; nothing that is held is removed. A copy is believed only as long as its files are what the digest says.

use super::ShardError;
use crate::clock;
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::ModelDigest;
use espalier_proto::mirror::{self, MirrorError};
use espalier_proto::model_folder::folder_digest;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long it is waited for workers that read a damaged copy to the end, as all do that start together.
const OTHERS_LOOK: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(100);

/// The folder, and how much it may hold.
#[derive(Clone, Debug)]
pub struct ModelCache {
    folder: PathBuf,
    /// Bytes; `None` is without end.
    limit: Option<u64>,
    /// [`OTHERS_LOOK`].
    patience: Duration,
}

/// A model that is held.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) digest: ModelDigest,
    pub(super) folder: PathBuf,
    /// Of its files when they were what they should be.
    stamps: Vec<Stamp>,
    /// Shared; let go when this is dropped.
    _lock: File,
}

impl ModelCache {
    /// A cache in this folder, made when it is first needed.
    pub fn new(folder: PathBuf, limit: Option<u64>) -> Self {
        Self { folder, limit, patience: OTHERS_LOOK }
    }

    /// Makes the folder, tries whether it can be written, and removes what killed workers left in it; the error names it.
    pub fn try_out(&self) -> Result<(), MirrorError> {
        let tried = std::fs::create_dir_all(&self.folder)
            .and_then(|()| tempfile::tempfile_in(&self.folder))
            // A full disk still takes a file of no bytes.
            .and_then(|mut file| file.write_all(b"."));
        tried.map_err(|source| MirrorError::Write { path: self.folder.display().to_string(), source })?;
        self.remove_left(None);
        Ok(())
    }

    /// The model on this node, fetched if it is not there or was damaged. `digests`: where digests of files are remembered.
    pub(super) async fn hold(
        &self,
        bucket: &Bucket,
        digest: ModelDigest,
        digests: Option<&Path>,
    ) -> Result<Held, ShardError> {
        let failed = |source| MirrorError::Write { path: self.folder.display().to_string(), source };
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        let folder = self.folder.join(digest.to_string());
        let mut fetched = false;
        loop {
            // Held is shared; whoever removes a model takes it alone.
            let lock = open(self.lock_path(digest)).map_err(failed)?;
            lock.lock_shared().map_err(failed)?;
            let stamps = stamps(&folder);
            let damaged = damage(&folder, digest, digests).await;
            if damaged.is_none() && folder.is_dir() {
                // Its time says when it was last asked for.
                (&lock).write_all(b".").and_then(|()| lock.set_len(0)).map_err(failed)?;
                return Ok(Held { digest, folder, stamps, _lock: lock });
            }
            drop(lock);
            if let Some(why) = damaged.filter(|_| fetched) {
                return Err(ShardError::DamagedCopy { folder: folder.display().to_string(), why });
            }
            let fetching = self.fetch_lock(digest).await.map_err(failed)?;
            // Who had the right before may have fetched it.
            if let Some(why) = damage(&folder, digest, digests).await {
                tracing::warn!(folder = %folder.display(), why, "this copy of a model is damaged, and is fetched anew");
                if !self.remove_soon(digest).await.map_err(failed)? {
                    let why = format!("{why}; another worker of this node still uses it");
                    return Err(ShardError::DamagedCopy { folder: folder.display().to_string(), why });
                }
            }
            if !folder.is_dir() {
                self.remove_left(Some(digest));
                self.make_room(bucket, digest).await?;
                tracing::info!(model = %digest.0.short(), folder = %folder.display(), "model is fetched");
                mirror::fetch(bucket, digest, &folder).await?;
                fetched = true;
            }
            drop(fetching);
        }
    }

    /// As [`Self::remove`], for as long as others may need to find out that it is damaged: meanwhile they hold it too.
    async fn remove_soon(&self, digest: ModelDigest) -> std::io::Result<bool> {
        let since = clock::now();
        loop {
            match self.remove(digest) {
                Ok(false) if since.elapsed() < self.patience => tokio::time::sleep(AGAIN).await,
                ended => return ended,
            }
        }
    }

    /// Removes a model's folder; `false` if somebody holds it.
    pub(super) fn remove(&self, digest: ModelDigest) -> std::io::Result<bool> {
        let lock = open(self.lock_path(digest))?;
        match lock.try_lock() {
            Ok(()) => match std::fs::remove_dir_all(self.folder.join(digest.to_string())) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
                _ => Ok(true),
            },
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The right to fetch a model. Waiting for another worker's fetch may take minutes, so it waits on a thread of its own.
    async fn fetch_lock(&self, digest: ModelDigest) -> std::io::Result<File> {
        let path = self.fetch_path(digest);
        let locked = tokio::task::spawn_blocking(move || {
            let file = open(path)?;
            file.lock()?;
            Ok(file)
        });
        locked.await.map_err(std::io::Error::other)?
    }

    fn fetch_path(&self, digest: ModelDigest) -> PathBuf {
        self.folder.join(format!("{digest}.fetch"))
    }

    fn lock_path(&self, digest: ModelDigest) -> PathBuf {
        self.folder.join(format!("{digest}.lock"))
    }

    /// Removes models that nobody holds, those first that were asked for longest ago, until there is room.
    async fn make_room(&self, bucket: &Bucket, coming: ModelDigest) -> Result<(), MirrorError> {
        let Some(limit) = self.limit else { return Ok(()) };
        let list = mirror::list(bucket, coming).await?.ok_or(MirrorError::Absent { digest: coming })?;
        let mut there = self.models();
        there.sort_by_key(|(_, asked, _)| *asked);
        let coming: u64 = list.files.iter().map(|f| f.size).sum();
        // What others are fetching, or left and could not be removed.
        let partial: u64 = self.partials().iter().map(|(_, path)| bytes(path)).sum();
        let mut total: u64 = coming + partial + there.iter().map(|(_, _, bytes)| bytes).sum::<u64>();
        for (digest, _, bytes) in there {
            if total <= limit {
                break;
            }
            if self.remove(digest).is_ok_and(|removed| removed) {
                tracing::info!(model = %digest.0.short(), "model removed to make room");
                total -= bytes;
            }
        }
        Ok(())
    }

    /// Removes what nobody is fetching any more. Whoever fetches a model has the right to, on whatever host, for as long as his process
    /// lives: process ids say nothing, another host or a later process may have the same. `ours`: the model whose right we have.
    fn remove_left(&self, ours: Option<ModelDigest>) {
        for (digest, path) in self.partials() {
            let right = if ours == Some(digest) { None } else { Some(open(self.fetch_path(digest))) };
            let gone = match &right {
                None => true,
                Some(right) => right.as_ref().is_ok_and(|file| file.try_lock().is_ok()),
            };
            if !gone {
                continue;
            }
            let folder = path.display();
            match std::fs::remove_dir_all(&path) {
                Ok(()) => tracing::info!(%folder, "what a killed worker had fetched of a model is removed"),
                Err(error) => {
                    tracing::warn!(%folder, %error, "what a killed worker had fetched of a model cannot be removed");
                }
            }
        }
    }

    /// What is being fetched, or was left by who fetched it.
    fn partials(&self) -> Vec<(ModelDigest, PathBuf)> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let partials = entries.filter_map(|entry| {
            let digest = entry.file_name().to_str()?.split_once(mirror::PARTIAL)?.0.parse().ok()?;
            Some((digest, entry.path()))
        });
        partials.collect()
    }

    /// Models in the folder: when each was last asked for, and its bytes.
    fn models(&self) -> Vec<(ModelDigest, std::time::SystemTime, u64)> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let models = entries.filter_map(|entry| {
            let digest: ModelDigest = entry.file_name().to_str()?.parse().ok()?;
            let asked = std::fs::metadata(self.lock_path(digest)).and_then(|m| m.modified()).ok()?;
            Some((digest, asked, bytes(&entry.path())))
        });
        models.collect()
    }
}

impl Held {
    /// Nobody has written to its files, or taken one away, since they were looked at.
    pub(super) fn is_untouched(&self) -> bool {
        stamps(&self.folder) == self.stamps
    }
}

/// What tells that a file was written to, without reading it: name, size, inode, and times of its content and of itself.
type Stamp = (std::ffi::OsString, u64, u64, [i64; 4]);

/// Of every file of a folder, by name.
fn stamps(folder: &Path) -> Vec<Stamp> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let stamp = |entry: std::fs::DirEntry| {
        let m = entry.metadata().ok()?;
        let times = [m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()];
        Some((entry.file_name(), m.len(), m.ino(), times))
    };
    let mut stamps: Vec<Stamp> = entries.filter_map(stamp).collect();
    stamps.sort();
    stamps
}

/// What is wrong with the copy of a model in this folder; `None` also where there is none.
pub(super) async fn damage(folder: &Path, expected: ModelDigest, digests: Option<&Path>) -> Option<String> {
    if !folder.is_dir() {
        return None;
    }
    let (path, digests) = (folder.to_owned(), digests.map(Path::to_owned));
    let read = tokio::task::spawn_blocking(move || folder_digest(&path, digests.as_deref()));
    match read.await.expect("reading files does not panic") {
        Ok(found) if found == expected => None,
        Ok(found) => Some(format!("its files have digest {found}, expected {expected}")),
        Err(error) => Some(espalier_proto::causes::chain(&error)),
    }
}

fn open(path: PathBuf) -> std::io::Result<File> {
    // Network file systems share only a lock of what may be read.
    OpenOptions::new().create(true).read(true).append(true).open(path)
}

fn bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|e| e.metadata().ok()).map(|m| m.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bucket with models whose weights are these texts.
    async fn mirrored(weights: &[&str]) -> (tempfile::TempDir, Bucket, Vec<ModelDigest>) {
        let store = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(store.path().to_str().unwrap()).unwrap();
        let mut digests = Vec::new();
        for text in weights {
            let model = tempfile::tempdir().unwrap();
            std::fs::write(model.path().join("config.json"), "{}").unwrap();
            std::fs::write(model.path().join("model.safetensors"), text).unwrap();
            let digest = folder_digest(model.path(), None).unwrap();
            mirror::put(&bucket, model.path(), digest, None).await.unwrap();
            digests.push(digest);
        }
        (store, bucket, digests)
    }

    #[tokio::test]
    async fn workers_of_a_node_fetch_a_model_once_and_at_once_all_have_it() {
        let (_store, bucket, digests) = mirrored(&["a"]).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = ModelCache::new(folder.path().join("models"), None);
        let holds = (0..8).map(|_| cache.hold(&bucket, digests[0], None));
        for held in futures::future::join_all(holds).await {
            assert_eq!(folder_digest(&held.unwrap().folder, None).unwrap(), digests[0]);
        }
    }

    #[tokio::test]
    async fn the_model_asked_for_longest_ago_goes_first_and_a_held_one_stays() {
        let (_store, bucket, digests) = mirrored(&["aaaa", "bbbb", "cccc"]).await;
        let folder = tempfile::tempdir().unwrap();
        // Each model has 6 bytes.
        let cache = ModelCache::new(folder.path().to_owned(), Some(13));
        let there = |d: ModelDigest| folder.path().join(d.to_string()).is_dir();
        let first = cache.hold(&bucket, digests[0], None).await.unwrap();
        // Some kernels tell times by their tick, a hundredth of a second at most.
        let tick = || tokio::time::sleep(Duration::from_millis(30));
        tick().await;
        drop(cache.hold(&bucket, digests[1], None).await.unwrap());
        tick().await;
        drop(cache.hold(&bucket, digests[2], None).await.unwrap());
        assert!(there(digests[0]) && !there(digests[1]) && there(digests[2]), "the held one stayed");
        drop(first);
        tick().await;
        drop(cache.hold(&bucket, digests[1], None).await.unwrap());
        assert!(!there(digests[0]) && there(digests[1]) && there(digests[2]));
    }

    #[tokio::test]
    async fn a_damaged_copy_is_fetched_anew_unless_another_worker_uses_it() {
        let (_store, bucket, digests) = mirrored(&["aaaa"]).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = ModelCache::new(folder.path().to_owned(), None);
        let copy = folder.path().join(digests[0].to_string());
        let weights = copy.join("model.safetensors");
        let cache = ModelCache { patience: Duration::from_millis(300), ..cache };
        let hold = || cache.hold(&bucket, digests[0], None);
        drop(hold().await.unwrap());
        let flipped = || std::fs::write(&weights, "abaa").unwrap();
        let [lacking, emptied] = [["config.json"].as_slice(), &["config.json", "model.safetensors"]];
        let lacks =
            |names: &[&str]| names.iter().for_each(|name| std::fs::remove_file(copy.join(name)).unwrap());
        for damages in [&flipped as &dyn Fn(), &|| lacks(lacking), &|| lacks(emptied)] {
            damages();
            let held = hold().await.unwrap();
            assert_eq!(folder_digest(&copy, None).unwrap(), digests[0]);
            assert!(held.is_untouched());
        }
        let held = hold().await.unwrap();
        // Some kernels tell times by their tick, a hundredth of a second at most.
        tokio::time::sleep(Duration::from_millis(30)).await;
        flipped();
        assert!(!held.is_untouched());
        let error = hold().await.unwrap_err();
        assert!(error.to_string().contains("another worker of this node still uses it"), "{error}");
        assert_eq!(error.code(), espalier_proto::records::FailureCode::NodeFault);
        assert!(weights.is_file(), "not under the other's feet");
        drop(held);
        assert!(hold().await.unwrap().is_untouched());
    }

    #[tokio::test]
    async fn what_a_killed_worker_left_of_a_fetch_goes_and_what_is_being_fetched_stays_and_counts() {
        let (_store, bucket, digests) = mirrored(&["aaaa", "bbbb", "cccc"]).await;
        let folder = tempfile::tempdir().unwrap();
        let cache = ModelCache::new(folder.path().to_owned(), Some(13));
        let partial = |digest: ModelDigest| {
            let path = folder.path().join(format!("{digest}.partial-1"));
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("model.safetensors"), "bb").unwrap();
            path
        };
        let (left, living) = (partial(digests[0]), partial(digests[1]));
        // As if on another host: it has our process id, or whichever.
        let right = cache.fetch_lock(digests[1]).await.unwrap();
        cache.try_out().unwrap();
        assert!(!left.exists() && living.exists());
        drop(cache.hold(&bucket, digests[0], None).await.unwrap());
        // 6 bytes, 2 and 6 are more than 13.
        drop(cache.hold(&bucket, digests[2], None).await.unwrap());
        assert!(living.exists() && !folder.path().join(digests[0].to_string()).exists());
        drop(right);
        drop(cache.hold(&bucket, digests[1], None).await.unwrap());
        assert!(!living.exists());
    }
}
