//! Models in the bucket, by content: put there once by the coordinator, fetched by workers that do not see its folder.
//!
//! In: a model's folder, or its digest. Out: the model's files under `models/<digest>/`, or a folder of this machine. The list
//! of files is written last; what it does not name does not exist. Only what makes the model is mirrored: config.json, the
//! safetensors and their index.

use crate::bucket::{Bucket, BucketError, MOST_JSON, object};
use crate::formatted;
use crate::ids::{Digest, ModelDigest};
use crate::model_folder::{INDEX, ModelFilesError, file_digest, model_files};
use crate::{keys, layout};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Format of the list.
const LIST_FORMAT: u32 = 1;

/// The files of a mirrored model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelList {
    /// The format.
    pub format: u32,
    /// Config, index and weights, sorted by name.
    pub files: Vec<MirroredFile>,
}

formatted!(ModelList, "list of a model's files", LIST_FORMAT);

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MirroredFile {
    /// Its name in the model's folder.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Of its content.
    pub sha256: Digest,
}

/// A model that cannot be mirrored or fetched.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] ModelFilesError),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The bucket does not have it.
    #[error(
        "model {digest} is not in the bucket; submitting its sweep again from where its files are puts it there"
    )]
    Absent {
        /// Which.
        digest: ModelDigest,
    },
    /// What the bucket gave is not what was put there.
    #[error(
        "{path}: found {found}, expected sha256 {expected}; `espalier repair SWEEP` makes the model missing, and submitting the sweep again from \
         where its files are puts it there anew"
    )]
    Damaged {
        /// The object.
        path: String,
        /// What was found.
        found: String,
        /// What the list says.
        expected: Digest,
    },
    /// This machine.
    #[error("{path} cannot be written")]
    Write {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl ModelList {
    /// The digest of the model that these files make: the index only says which they are.
    pub fn model(&self) -> ModelDigest {
        let made_of = self.files.iter().filter(|file| file.name != INDEX);
        let made_of: Vec<_> = made_of.map(|file| (file.name.clone(), file.size, file.sha256)).collect();
        keys::model_digest(&made_of)
    }
}

/// Puts a model into the bucket unless it is there. `cache`: remembered digests of files.
pub async fn put(
    bucket: &Bucket,
    folder: &Path,
    digest: ModelDigest,
    cache: Option<&Path>,
) -> Result<(), MirrorError> {
    match is_whole(bucket, digest).await? {
        Some(true) => return Ok(()),
        // Nobody is to believe it before its files are there.
        Some(false) => bucket.delete(&layout::model_list(digest)).await?,
        None => {}
    }
    let found = model_files(folder)?;
    let mut files = Vec::new();
    for path in std::iter::once(&found.config).chain(&found.index).chain(&found.weights) {
        let name = path.file_name().expect("joined from a folder and a name").to_string_lossy().into_owned();
        let (size, sha256) = file_digest(path, cache)?;
        bucket.put_file(&layout::model_file(digest, &name), path).await?;
        files.push(MirroredFile { name, size, sha256 });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    // Won or lost: whoever wrote it wrote the same content.
    bucket.commit_json(&layout::model_list(digest), &ModelList { format: LIST_FORMAT, files }).await?;
    Ok(())
}

/// True if the list is this model's and every file of it is there with its size, as far as can be told without reading them; `None` where
/// there is no list.
async fn is_whole(bucket: &Bucket, digest: ModelDigest) -> Result<Option<bool>, BucketError> {
    let list = match list(bucket, digest).await {
        Ok(Some(list)) => list,
        Ok(None) => return Ok(None),
        Err(BucketError::Corrupt { .. }) => return Ok(Some(false)),
        Err(error) => return Err(error),
    };
    if list.model() != digest {
        return Ok(Some(false));
    }
    for file in &list.files {
        let found = bucket.meta(&layout::model_file(digest, &file.name)).await?;
        if found.is_none_or(|meta| meta.size != file.size) {
            return Ok(Some(false));
        }
    }
    Ok(Some(true))
}

/// The list of a mirrored model's files; `None` if the bucket does not have the model.
pub async fn list(bucket: &Bucket, digest: ModelDigest) -> Result<Option<ModelList>, BucketError> {
    let path = layout::model_list(digest);
    let bytes = bucket.read_at_most(&path, MOST_JSON).await?;
    bytes.map(|bytes| parse_list(path.as_ref(), &bytes)).transpose()
}

/// The list that these bytes of `path` are.
pub fn parse_list(path: &str, bytes: &[u8]) -> Result<ModelList, BucketError> {
    let list: ModelList = object(path, bytes)?;
    match list.files.iter().find(|file| !is_file_name(&file.name)) {
        None => Ok(list),
        Some(file) => {
            let why = format!("it names {:?}, which is no file name", file.name);
            Err(BucketError::Corrupt { path: path.to_owned(), why })
        }
    }
}

/// A name from the bucket must not leave the folder that it is written to.
fn is_file_name(name: &str) -> bool {
    !name.starts_with('.') && !name.contains(['/', '\\', '\0']) && !name.is_empty()
}

/// Fetches a model into `to`, a folder that is not there yet: whole or absent. Every file is verified.
pub async fn fetch(bucket: &Bucket, digest: ModelDigest, to: &Path) -> Result<(), MirrorError> {
    let list = list(bucket, digest).await?.ok_or(MirrorError::Absent { digest })?;
    if list.model() != digest {
        let why = format!("it lists the files of model {}, expected {digest}", list.model());
        return Err(BucketError::Corrupt { path: layout::model_list(digest).to_string(), why }.into());
    }
    let partial = Partial(PathBuf::from(format!("{}{PARTIAL}{}", to.display(), std::process::id())));
    let write = |path: &Path| {
        let path = path.display().to_string();
        move |source| MirrorError::Write { path, source }
    };
    std::fs::create_dir_all(&partial.0).map_err(write(&partial.0))?;
    for file in &list.files {
        fetch_file(bucket, digest, file, &partial.0.join(&file.name)).await?;
    }
    std::fs::rename(&partial.0, to).map_err(write(to))
}

/// Between the name of a model's folder and a process id: what that process has fetched of the model so far, or has left when it was killed.
pub const PARTIAL: &str = ".partial-";

/// What is fetched so far; removed when this is dropped, also where nobody waits for the rest any more.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // Once it has its own name it is not there. What stays is in nobody's way.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn fetch_file(
    bucket: &Bucket,
    digest: ModelDigest,
    file: &MirroredFile,
    to: &Path,
) -> Result<(), MirrorError> {
    let path = layout::model_file(digest, &file.name);
    let write = |source| MirrorError::Write { path: to.display().to_string(), source };
    let mut out = std::fs::File::create(to).map_err(write)?;
    let mut hasher = Sha256::new();
    let there = bucket
        .read_pieces(&path, |piece| {
            hasher.update(piece);
            out.write_all(piece).map_err(write)
        })
        .await?;
    out.sync_all().map_err(write)?;
    let found = Digest::finish(hasher);
    if there && found == file.sha256 {
        return Ok(());
    }
    let found = if there { format!("sha256 {found}") } else { "nothing".to_owned() };
    Err(MirrorError::Damaged { path: path.to_string(), found, expected: file.sha256 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_folder::folder_digest;

    fn model() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, body) in [("config.json", "{}"), ("model.safetensors", "weights"), ("notes.txt", "mine")] {
            std::fs::write(folder.path().join(name), body).unwrap();
        }
        folder
    }

    #[tokio::test]
    async fn a_mirrored_model_comes_back_as_it_was_and_a_damaged_one_does_not() {
        let (store, model, cache) = (tempfile::tempdir().unwrap(), model(), tempfile::tempdir().unwrap());
        let bucket = Bucket::open(store.path().to_str().unwrap()).unwrap();
        let digest = folder_digest(model.path(), None).unwrap();
        let to = cache.path().join("m");
        assert!(matches!(fetch(&bucket, digest, &to).await, Err(MirrorError::Absent { .. })));
        put(&bucket, model.path(), digest, None).await.unwrap();
        fetch(&bucket, digest, &to).await.unwrap();
        assert_eq!(folder_digest(&to, None).unwrap(), digest);
        assert!(!to.join("notes.txt").exists());
        std::fs::remove_dir_all(&to).unwrap();
        bucket.put(&layout::model_file(digest, "model.safetensors"), "weighty".into()).await.unwrap();
        let error = fetch(&bucket, digest, &to).await.unwrap_err().to_string();
        assert!(error.contains("model.safetensors") && error.contains("expected sha256"), "{error}");
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0, "whole or absent");
    }

    #[tokio::test]
    async fn a_model_of_which_a_file_or_the_list_is_not_whole_is_put_there_anew() {
        let (store, model) = (tempfile::tempdir().unwrap(), model());
        let bucket = Bucket::open(store.path().to_str().unwrap()).unwrap();
        let digest = folder_digest(model.path(), None).unwrap();
        let (list, file) = (layout::model_list(digest), layout::model_file(digest, "model.safetensors"));
        let put = || put(&bucket, model.path(), digest, None);
        put().await.unwrap();
        let whole = bucket.read(&list).await.unwrap().unwrap();
        let other = String::from_utf8(whole.to_vec()).unwrap().replace("\"size\": 2", "\"size\": 3");
        for (path, body) in
            [(&file, Some("short")), (&file, None), (&list, Some("{}")), (&list, Some(&*other))]
        {
            match body {
                Some(body) => bucket.put(path, body.to_owned().into()).await.unwrap(),
                None => bucket.delete(path).await.unwrap(),
            }
            assert_eq!(is_whole(&bucket, digest).await.unwrap(), Some(false), "{path} {body:?}");
            put().await.unwrap();
            assert_eq!(is_whole(&bucket, digest).await.unwrap(), Some(true), "{path} {body:?}");
            assert_eq!(bucket.read(&list).await.unwrap().unwrap(), whole);
            assert_eq!(bucket.read(&file).await.unwrap().unwrap(), "weights");
        }
    }

    #[tokio::test]
    async fn a_fetch_that_nobody_waits_for_any_more_leaves_nothing() {
        let (store, model, cache) = (tempfile::tempdir().unwrap(), model(), tempfile::tempdir().unwrap());
        // Read in 8 KiB pieces, and a task is made to wait after 128 of them: so the fetch is seen before its end, however slow this machine is.
        std::fs::write(model.path().join("model.safetensors"), vec![0; 4 << 20]).unwrap();
        let bucket = Bucket::open(store.path().to_str().unwrap()).unwrap();
        let digest = folder_digest(model.path(), None).unwrap();
        put(&bucket, model.path(), digest, None).await.unwrap();
        let to = cache.path().join("m");
        let mut fetching = Box::pin(fetch(&bucket, digest, &to));
        let left = || std::fs::read_dir(cache.path()).unwrap().count();
        while left() == 0 {
            let waited = tokio::time::timeout(std::time::Duration::ZERO, &mut fetching).await;
            assert!(waited.is_err(), "it was over before it was looked at");
        }
        drop(fetching);
        assert_eq!(left(), 0);
    }

    #[tokio::test]
    async fn a_copy_that_cannot_be_written_is_this_machines_failure_and_not_the_buckets() {
        let (store, model, cache) = (tempfile::tempdir().unwrap(), model(), tempfile::tempdir().unwrap());
        let bucket = Bucket::open(store.path().to_str().unwrap()).unwrap();
        let digest = folder_digest(model.path(), None).unwrap();
        put(&bucket, model.path(), digest, None).await.unwrap();
        let list = list(&bucket, digest).await.unwrap().unwrap();
        let weights = list.files.iter().find(|file| file.name == "model.safetensors").unwrap();
        // Of this device every write says that it is full.
        let full = cache.path().join("model.safetensors");
        std::os::unix::fs::symlink("/dev/full", &full).unwrap();
        let error = fetch_file(&bucket, digest, weights, &full).await.unwrap_err();
        let MirrorError::Write { path, source } = error else { panic!("{error:?}") };
        assert_eq!((path, source.kind()), (full.display().to_string(), std::io::ErrorKind::StorageFull));
    }

    #[test]
    fn a_name_that_leaves_its_folder_is_none() {
        assert!(is_file_name("model-00001-of-00002.safetensors"));
        assert!(!is_file_name("../x") && !is_file_name(".x") && !is_file_name("") && !is_file_name("a/b"));
    }
}
