//! The object store: opened from a URL, and the one helper that does every create-only write.
//!
//! Create-only is the only conditional write that anything needs: it works alike on S3 and in a local folder.

mod error;
mod folder;
pub mod meter;
mod object;
mod open;
mod parts;
mod pieces;
mod probe;
mod profile;
mod s3;
mod whole;

use crate::ids::Digest;
use bytes::Bytes;
use folder::Root;
use futures::TryStreamExt;
use meter::{Meter, Operation};
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

pub use error::{BucketError, Commit};
pub use object::{Formatted, object, written_by};
use open::Patience;
use parts::Body;
pub use pieces::Pieces;
pub use s3::place;

/// Tries of a write whose answer is in doubt. The store waits longer and longer between its own tries; these follow at once.
const TRIES: usize = 8;
/// Bodies larger than this are uploaded to an object store in parts of it, so that a slow network fails by the part.
const PART: usize = 16 << 20;

/// A bucket and where it is.
#[derive(Clone)]
pub struct Bucket {
    store: Arc<dyn ObjectStore>,
    url: String,
    meter: Arc<Meter>,
    /// Of a folder.
    root: Option<Arc<Root>>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bucket").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Bucket {
    /// A bucket over any store: tests put faults in between.
    pub fn over(store: Arc<dyn ObjectStore>, url: &str) -> Self {
        Self { store, url: url.to_owned(), meter: Arc::default(), root: None }
    }

    /// Where it is; for a folder its absolute path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What was done with it since it was opened.
    pub fn meter(&self) -> &Arc<Meter> {
        &self.meter
    }

    /// The folder, if this bucket is one.
    pub fn folder(&self) -> Option<&std::path::Path> {
        (!self.url.contains("://")).then(|| std::path::Path::new(&self.url))
    }

    /// Only this bucket holds this object: a folder that goes away is known again by it.
    pub fn known_by(&self, path: &Path) {
        if let Some(root) = &self.root {
            root.known_by(path);
        }
    }

    /// What is wrong with it now, as far as it was looked at: a folder that is away.
    pub fn trouble(&self) -> Option<String> {
        self.root.as_ref()?.trouble()
    }

    /// Writes `body` at `path` if nothing is there.
    ///
    /// object_store retries a create after a 5xx, and a conflict or a timeout is ambiguous: "already exists" may be our own
    /// write. So bodies must differ between writers (they carry an attempt or a nonce); on doubt the object is read back:
    /// ours = won, another's = lost, absent = again.
    pub async fn commit_once(&self, path: &Path, body: Bytes) -> Result<Commit, BucketError> {
        let size = body.len();
        let commit = self.meter.timed(Operation::Create, self.create(path, body)).await?;
        if commit == Commit::Won {
            self.meter.wrote(size);
        }
        Ok(commit)
    }

    async fn create(&self, path: &Path, body: Bytes) -> Result<Commit, BucketError> {
        let mut last = None;
        for _ in 0..TRIES {
            let put =
                self.store.put_opts(path, PutPayload::from_bytes(body.clone()), PutMode::Create.into()).await;
            match put {
                Ok(_) => return Ok(Commit::Won),
                Err(error) => last = Some(error),
            }
            if let Some(found) = self.read(path).await? {
                self.sync_folder_of(path);
                return Ok(if found == body { Commit::Won } else { Commit::Lost });
            }
        }
        Err(BucketError::Store {
            action: "creating",
            path: path.to_string(),
            source: last.expect("failed writes left an error"),
        })
    }

    /// `commit_once` of a JSON body.
    pub async fn commit_json<T: Serialize + Sync>(
        &self,
        path: &Path,
        value: &T,
    ) -> Result<Commit, BucketError> {
        self.commit_once(path, json_bytes(value)).await
    }

    /// Writes a blob, replacing what is there: only for paths that belong to one attempt, or for derived files.
    pub async fn put(&self, path: &Path, body: Bytes) -> Result<(), BucketError> {
        let size = body.len();
        let written = async {
            if size > PART && self.folder().is_none() {
                self.put_in_parts(path, &Body::Memory(body)).await
            } else {
                self.store.put(path, PutPayload::from_bytes(body)).await.map(drop)
            }
        };
        let written = self.meter.timed(Operation::Put, written).await;
        self.meter.wrote(if written.is_ok() { size } else { 0 });
        written.map_err(|source| BucketError::Store { action: "writing", path: path.to_string(), source })
    }

    /// Reads an object, `None` if it is absent.
    pub async fn read(&self, path: &Path) -> Result<Option<Bytes>, BucketError> {
        self.read_at_most(path, u64::MAX).await
    }

    /// Reads an object of at most `most` bytes, `None` if it is absent.
    pub async fn read_at_most(&self, path: &Path, most: u64) -> Result<Option<Bytes>, BucketError> {
        let failed = |source| BucketError::Store { action: "reading", path: path.to_string(), source };
        let mut options = GetOptions::default();
        options.extensions.insert(whole::Wanted(most));
        let found = async {
            match self.store.get_opts(path, options).await {
                Ok(got) if got.meta.size > most => Err(too_large(path, got.meta.size, most)),
                Ok(got) => got.bytes().await.map(Some),
                Err(error) if is_absent(&error) => Ok(None),
                Err(source) => Err(source),
            }
        };
        let found = self.meter.timed(Operation::Read, found).await.map_err(failed)?;
        self.meter.was_read(found.as_ref().map_or(0, Bytes::len));
        Ok(found)
    }

    /// Reads an object with a format number, `None` if it is absent.
    pub async fn read_object<T: Formatted>(&self, path: &Path) -> Result<Option<T>, BucketError> {
        let bytes = self.read_at_most(path, MOST_JSON).await?;
        bytes.map(|bytes| object(path.as_ref(), &bytes)).transpose()
    }

    /// Reads JSON without a format number, or of any format, `None` if it is absent.
    pub async fn read_json<T: DeserializeOwned>(&self, path: &Path) -> Result<Option<T>, BucketError> {
        let Some(bytes) = self.read_at_most(path, MOST_JSON).await? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|e| BucketError::Corrupt { path: path.to_string(), why: e.to_string() })
    }

    /// True if the object is there.
    pub async fn exists(&self, path: &Path) -> Result<bool, BucketError> {
        Ok(self.meta(path).await?.is_some())
    }

    /// Paths under a folder, sorted.
    pub async fn list(&self, folder: &Path) -> Result<Vec<Path>, BucketError> {
        Ok(self.list_sizes(folder).await?.into_iter().map(|meta| meta.location).collect())
    }

    /// Objects under a folder with their sizes and the store's own times, sorted by path.
    pub async fn list_sizes(&self, folder: &Path) -> Result<Vec<ObjectMeta>, BucketError> {
        let listing = self.store.list(Some(folder)).try_collect::<Vec<_>>();
        let found = self.meter.timed(Operation::List, listing).await;
        let mut found = found.map_err(|source| BucketError::Store {
            action: "listing",
            path: folder.to_string(),
            source,
        })?;
        found.sort_by(|a, b| a.location.cmp(&b.location));
        Ok(found)
    }

    /// Size and the store's own time of an object, `None` if it is absent.
    pub async fn meta(&self, path: &Path) -> Result<Option<ObjectMeta>, BucketError> {
        let found = async {
            match self.store.head(path).await {
                Ok(meta) => Ok(Some(meta)),
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                Err(source) => {
                    Err(BucketError::Store { action: "looking for", path: path.to_string(), source })
                }
            }
        };
        self.meter.timed(Operation::Look, found).await
    }

    /// Names of the folders in a folder, sorted.
    pub async fn folders(&self, folder: &Path) -> Result<Vec<String>, BucketError> {
        let listing = self.store.list_with_delimiter(Some(folder));
        let listed = self
            .meter
            .timed(Operation::List, listing)
            .await
            .map_err(|source| BucketError::Store { action: "listing", path: folder.to_string(), source })?;
        let name = |path: &Path| path.filename().map(str::to_owned);
        let mut names: Vec<String> = listed.common_prefixes.iter().filter_map(name).collect();
        names.sort();
        Ok(names)
    }

    /// Removes an object; absent is as good.
    pub async fn delete(&self, path: &Path) -> Result<(), BucketError> {
        self.meter.timed(Operation::Delete, self.remove(path)).await
    }

    async fn remove(&self, path: &Path) -> Result<(), BucketError> {
        let mut last = None;
        for _ in 0..TRIES {
            match self.store.delete(path).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => return Ok(()),
                Err(error) => last = Some(error),
            }
            // Waits until the store is there again.
            if !self.exists(path).await? {
                return Ok(());
            }
        }
        let source = last.expect("failed deletions left an error");
        Err(BucketError::Store { action: "deleting", path: path.to_string(), source })
    }

    /// The loser of a create may read a local object whose folder entry is not durable yet.
    fn sync_folder_of(&self, path: &Path) {
        let Some(root) = self.folder() else { return };
        let file = root.join(path.as_ref());
        if let Some(Ok(folder)) = file.parent().map(std::fs::File::open)
            && let Err(error) = folder.sync_all()
        {
            tracing::warn!(path = %path, %error, "folder could not be synced");
        }
    }
}

/// Most bytes of an object of JSON: a resolved sweep of a million cells takes less.
pub const MOST_JSON: u64 = 1 << 30;

/// The object is not there. Of a bucket that is not there nothing is known; only answers with a body tell that.
fn is_absent(error: &object_store::Error) -> bool {
    use object_store::Error::NotFound;
    matches!(error, NotFound { source, .. } if !source.to_string().contains("NoSuchBucket"))
}

fn too_large(path: &Path, found: u64, most: u64) -> object_store::Error {
    let why = format!("{path}: found {found} bytes, expected at most {most}");
    object_store::Error::Generic { store: "bucket", source: why.into() }
}

/// Pretty JSON with a final line end: what every JSON object in the bucket looks like.
pub fn json_bytes<T: Serialize>(value: &T) -> Bytes {
    let mut bytes =
        serde_json::to_vec_pretty(value).expect("our own types have string keys and finite numbers");
    bytes.push(b'\n');
    Bytes::from(bytes)
}

/// Digest of a JSON object as it lies in the bucket.
pub fn json_digest<T: Serialize>(value: &T) -> Digest {
    Digest::of(&json_bytes(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_many_writers_of_one_path_exactly_one_wins_and_all_read_its_body() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
        let path = Path::from("cells/ab/record.json");
        let tries = (0..16).map(|i| {
            let (bucket, path) = (bucket.clone(), path.clone());
            async move { (i, bucket.commit_once(&path, Bytes::from(format!("{i}"))).await.unwrap()) }
        });
        let results = futures::future::join_all(tries).await;
        let winners: Vec<_> = results.iter().filter(|(_, c)| *c == Commit::Won).collect();
        assert_eq!(winners.len(), 1, "{results:?}");
        let body = bucket.read(&path).await.unwrap().unwrap();
        assert_eq!(body, Bytes::from(winners[0].0.to_string()));
    }
}
