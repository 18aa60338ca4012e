//! A folder as a store, one that may go away: unmounted, or moved. Where it was nothing is made, and nothing counts as absent.
//!
//! In: a folder that is there. Out: a store that waits for it as long as it was told to. The folder is the same one while its device
//! and inode are; where those are others, as after it was mounted anew, while it holds the object that it is known by. Before it is
//! known by one, whatever folder is there: of some file systems inodes change.

use super::Patience;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often a folder that is away is looked for.
const AGAIN: Duration = Duration::from_millis(500);

/// The folder is not there.
#[derive(Debug, thiserror::Error)]
#[error("the bucket is away: the folder {folder} is not there, or another one is in its place")]
struct Away {
    folder: String,
}

/// The folder itself, and whether it is there.
#[derive(Debug)]
pub(super) struct Root {
    folder: PathBuf,
    /// It may be made: until something is in it that it is known by, another command may remove it as empty.
    made: bool,
    patience: Duration,
    /// Its device and inode.
    same: Mutex<(u64, u64)>,
    known_by: Mutex<Option<PathBuf>>,
    away: AtomicBool,
}

impl Root {
    fn new(folder: PathBuf, made: bool, patience: Duration) -> std::io::Result<Self> {
        let found = std::fs::metadata(&folder)?;
        if !found.is_dir() {
            return Err(std::io::ErrorKind::NotADirectory.into());
        }
        let same = Mutex::new((found.dev(), found.ino()));
        Ok(Self { folder, made, patience, same, known_by: Mutex::default(), away: AtomicBool::new(false) })
    }

    /// Only this folder holds this object: by it the folder is known again.
    pub(super) fn known_by(&self, path: &Path) {
        *locked(&self.known_by) = Some(self.folder.join(path.as_ref()));
    }

    /// What is wrong, if it was away when it was last looked for.
    pub(super) fn trouble(&self) -> Option<String> {
        self.away.load(Ordering::Relaxed).then(|| self.gone().to_string())
    }

    fn gone(&self) -> Away {
        Away { folder: self.folder.display().to_string() }
    }

    async fn is_here(&self) -> bool {
        let mut found = tokio::fs::metadata(&self.folder).await;
        if found.is_err() && self.made && locked(&self.known_by).is_none() {
            // One that cannot be made is away.
            let _ = tokio::fs::create_dir_all(&self.folder).await;
            found = tokio::fs::metadata(&self.folder).await;
        }
        let here = match found {
            Ok(found) => self.is_same((found.dev(), found.ino())).await,
            Err(_) => false,
        };
        match (self.away.swap(!here, Ordering::Relaxed), here) {
            (false, false) => tracing::warn!("{}; it is waited for", self.gone()),
            (true, true) => tracing::info!(folder = %self.folder.display(), "the bucket is there again"),
            (true, false) | (false, true) => {}
        }
        here
    }

    async fn is_same(&self, found: (u64, u64)) -> bool {
        if *locked(&self.same) == found {
            return true;
        }
        let known_by = locked(&self.known_by).clone();
        let same = match known_by {
            Some(file) => tokio::fs::try_exists(file).await.unwrap_or(false),
            None => true,
        };
        if same {
            *locked(&self.same) = found;
        }
        same
    }

    /// Waits until it is there.
    async fn wait(&self) -> Result<()> {
        let since = Instant::now();
        while !self.is_here().await {
            if since.elapsed() >= self.patience {
                return Err(Error::Generic { store: "folder", source: Box::new(self.gone()) });
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }
}

fn locked<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lock.lock().expect("nothing panics while it holds it")
}

/// The store.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    store: Arc<LocalFileSystem>,
    root: Arc<Root>,
}

/// Opens a folder that is there; `made`: that was made for it, if need be.
pub(super) fn open(folder: PathBuf, made: bool, patience: Patience) -> std::io::Result<(Folder, Arc<Root>)> {
    opened(folder, made, patience.longest())
}

fn opened(folder: PathBuf, made: bool, patience: Duration) -> std::io::Result<(Folder, Arc<Root>)> {
    let store = LocalFileSystem::new_with_prefix(&folder).map_err(std::io::Error::other)?.with_fsync(true);
    let root = Arc::new(Root::new(folder, made, patience)?);
    Ok((Folder { store: Arc::new(store), root: root.clone() }, root))
}

impl Folder {
    /// Does what changes the folder: what was done while it went away is done again.
    async fn changing<T, F>(&self, work: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        loop {
            self.root.wait().await?;
            let done = work().await;
            if self.root.is_here().await {
                return done;
            }
        }
    }

    /// Looks into the folder: what is not found while it is away is looked for again.
    async fn looking<T, F>(&self, work: impl Fn() -> F, found: impl Fn(&T) -> bool) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        loop {
            let seen = work().await;
            let sure = seen.as_ref().is_ok_and(&found) && self.root.trouble().is_none();
            if sure || self.root.is_here().await {
                return seen;
            }
            self.root.wait().await?;
        }
    }
}

impl std::fmt::Display for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.store.fmt(f)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Folder {
    async fn put_opts(&self, at: &Path, body: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.changing(|| self.store.put_opts(at, body.clone(), options.clone())).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.changing(|| self.store.put_multipart_opts(at, options.clone())).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.looking(|| self.store.get_opts(at, options.clone()), |_| true).await
    }

    fn delete_stream(&self, at: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let deleted = at.then(move |path| {
            let this = this.clone();
            async move {
                let path = path?;
                this.changing(|| this.store.delete(&path)).await.map(|()| path)
            }
        });
        deleted.boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned());
        // A part of a list looks like a whole one.
        let whole = async move {
            let list = || this.store.list(prefix.as_ref()).try_collect::<Vec<_>>();
            this.looking(list, |_| false).await
        };
        let metas = |found: Vec<_>| futures::stream::iter(found.into_iter().map(Ok));
        futures::stream::once(whole).map_ok(metas).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.looking(|| self.store.list_with_delimiter(prefix), |_| false).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.changing(|| self.store.copy_opts(from, to, options.clone())).await
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Bucket, Commit};
    use super::*;
    use bytes::Bytes;

    fn bucket(folder: &std::path::Path) -> Bucket {
        let (store, root) = opened(folder.to_owned(), true, Duration::ZERO).unwrap();
        Bucket { root: Some(root), ..Bucket::over(Arc::new(store), folder.to_str().unwrap()) }
    }

    #[tokio::test]
    async fn where_a_folder_was_nothing_is_made_and_nothing_is_absent_until_it_is_back() {
        let place = tempfile::tempdir().unwrap();
        let (here, away) = (place.path().join("bucket"), place.path().join("away"));
        std::fs::create_dir(&here).unwrap();
        let (bucket, path) = (bucket(&here), Path::from("a/b.json"));
        let body = Bytes::from("body");
        assert_eq!(bucket.commit_once(&path, body.clone()).await.unwrap(), Commit::Won);
        bucket.known_by(&path);
        std::fs::rename(&here, &away).unwrap();
        // Gone, then with a stranger in its place.
        for stranger in [false, true] {
            if stranger {
                std::fs::create_dir(&here).unwrap();
            }
            let results = [
                bucket.commit_once(&Path::from("a/c.json"), body.clone()).await.map(drop),
                bucket.put(&Path::from("d.json"), body.clone()).await,
                bucket.delete(&path).await,
                bucket.read(&path).await.map(drop),
                bucket.exists(&path).await.map(drop),
                bucket.list(&Path::from("a")).await.map(drop),
                bucket.folders(&Path::from("")).await.map(drop),
            ];
            for result in results {
                let error = result.unwrap_err();
                let why = std::error::Error::source(&error).unwrap().to_string();
                assert!(why.contains("the bucket is away: the folder "), "{why}");
            }
            assert!(bucket.trouble().is_some());
            let left = std::fs::read_dir(&here).map(|entries| entries.count()).unwrap_or(0);
            assert!(here.exists() == stranger && left == 0, "nothing was made");
        }
        std::fs::remove_dir(&here).unwrap();
        std::fs::rename(&away, &here).unwrap();
        assert_eq!(bucket.read(&path).await.unwrap(), Some(body));
        assert_eq!(bucket.trouble(), None);
    }

    #[tokio::test]
    async fn a_new_folder_that_another_command_removed_as_empty_is_made_again() {
        let place = tempfile::tempdir().unwrap();
        let here = place.path().join("bucket");
        std::fs::create_dir(&here).unwrap();
        let (bucket, path) = (bucket(&here), Path::from("probe.json"));
        std::fs::remove_dir(&here).unwrap();
        assert_eq!(bucket.read(&path).await.unwrap(), None);
        std::fs::remove_dir(&here).unwrap();
        bucket.probe(&path, "nonce").await.unwrap();
        assert!(here.join("probe.json").exists());
    }

    #[tokio::test]
    async fn a_folder_that_is_mounted_anew_is_known_by_what_it_holds() {
        let place = tempfile::tempdir().unwrap();
        let (here, away) = (place.path().join("bucket"), place.path().join("away"));
        std::fs::create_dir(&here).unwrap();
        let (bucket, path) = (bucket(&here), Path::from("probe.json"));
        bucket.probe(&path, "nonce").await.unwrap();
        std::fs::rename(&here, &away).unwrap();
        std::fs::create_dir(&here).unwrap();
        assert!(bucket.read(&path).await.is_err(), "it is another folder");
        // As a mount of the same: another inode, the same content.
        std::fs::copy(away.join("probe.json"), here.join("probe.json")).unwrap();
        assert_eq!(bucket.read(&path).await.unwrap().unwrap(), "nonce");
        bucket.put(&Path::from("more.json"), Bytes::from("more")).await.unwrap();
    }
}
