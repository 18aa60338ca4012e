//! Which files of a Hugging Face folder are the model, and what digest names them.
//!
//! In: a folder. Out: config.json, the safetensors that its index names, and the digest of their content. Both sides compute
//! it: the coordinator when it resolves a sweep, a worker before it trusts the folder that it was told.

use crate::ids::{Digest, ModelDigest};
use crate::keys;
use crate::small_file::{self, MOST_INDEX};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files that make a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// config.json.
    pub config: PathBuf,
    /// model.safetensors.index.json, where the weights are sharded.
    pub index: Option<PathBuf>,
    /// The safetensors, sorted by name.
    pub weights: Vec<PathBuf>,
}

/// A folder that is no model, or that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ModelFilesError {
    /// A file is missing.
    #[error("{folder}: no {file}, expected a Hugging Face folder with config.json and model.safetensors")]
    Missing {
        /// The folder.
        folder: String,
        /// The file.
        file: String,
    },
    /// The index is not one.
    #[error("{path}: {why}")]
    Index {
        /// The index.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file cannot be read.
    #[error("{path} cannot be read")]
    Read {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What an index holds; its metadata does not matter here.
#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// Finds the files of the model in `folder`. One model.safetensors wins over an index, as in transformers.
pub fn model_files(folder: &Path) -> Result<ModelFiles, ModelFilesError> {
    let missing =
        |file: &str| ModelFilesError::Missing { folder: folder.display().to_string(), file: file.to_owned() };
    let config = folder.join("config.json");
    if !config.is_file() {
        return Err(missing("config.json"));
    }
    let single = folder.join(SINGLE);
    if single.is_file() {
        return Ok(ModelFiles { config, index: None, weights: vec![single] });
    }
    let index = folder.join(INDEX);
    if !index.is_file() {
        return Err(missing("model.safetensors or model.safetensors.index.json"));
    }
    let text = small_file::read(&index, MOST_INDEX).map_err(|source| read_error(&index, source))?;
    let mut weights = Vec::new();
    for name in shards(&text, &index)? {
        let path = folder.join(&name);
        if !path.is_file() {
            return Err(missing(&name));
        }
        weights.push(path);
    }
    Ok(ModelFiles { config, index: Some(index), weights })
}

/// The files that an index of these bytes names: at least one, each a file name and nothing more.
pub fn shards(text: &[u8], index: &Path) -> Result<BTreeSet<String>, ModelFilesError> {
    let bad = |why: String| ModelFilesError::Index { path: index.display().to_string(), why };
    let parsed: Index = serde_json::from_slice(text).map_err(|e| bad(e.to_string()))?;
    let names: BTreeSet<String> = parsed.weight_map.into_values().collect();
    if names.is_empty() {
        return Err(bad("weight_map is empty, expected tensor names with their files".to_owned()));
    }
    // An index names files of its own folder; anything else would read, or an export write, elsewhere.
    let leaves = |name: &&String| {
        Path::new(name).components().count() != 1 || name.starts_with('.') || name.contains(['/', '\0'])
    };
    match names.iter().find(leaves) {
        Some(name) => Err(bad(format!("weight_map names {name:?}, expected a file name"))),
        None => Ok(names),
    }
}

/// The digest of the model in `folder`. With `cache` (a folder, made if absent) a file that has not changed by path, size,
/// times and inode is not read again.
pub fn folder_digest(folder: &Path, cache: Option<&Path>) -> Result<ModelDigest, ModelFilesError> {
    let files = model_files(folder)?;
    let mut parts = Vec::new();
    for path in std::iter::once(&files.config).chain(&files.weights) {
        let name = path.file_name().expect("joined from a folder and a name").to_string_lossy().into_owned();
        let (size, digest) = file_digest(path, cache)?;
        parts.push((name, size, digest));
    }
    Ok(keys::model_digest(&parts))
}

/// Size and digest of one file, see [`folder_digest`].
pub fn file_digest(path: &Path, cache: Option<&Path>) -> Result<(u64, Digest), ModelFilesError> {
    let failed = |source| read_error(path, source);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let real = std::fs::canonicalize(path).map_err(failed)?;
    let mut c = keys::Canonical::new("file");
    c.text("path", &real.to_string_lossy());
    for (name, number) in [("size", meta.len()), ("inode", meta.ino()), ("mtime", meta.mtime() as u64)] {
        c.number(name, number);
    }
    c.number("mtime_ns", meta.mtime_nsec() as u64);
    // What is written in place with the old mtime put back still has a new one of these.
    c.number("ctime", meta.ctime() as u64);
    c.number("ctime_ns", meta.ctime_nsec() as u64);
    let remembered = cache.map(|folder| folder.join(c.finish().to_string()));
    if let Some(digest) =
        remembered.as_ref().and_then(|p| std::fs::read_to_string(p).ok()?.trim().parse().ok())
    {
        return Ok((meta.len(), digest));
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        let n = file.read(&mut buffer).map_err(failed)?;
        if n == 0 {
            break;
        }
        hasher.update(&buffer[..n]);
    }
    let digest = Digest::finish(hasher);
    if let Some(entry) = remembered {
        remember(&entry, digest);
    }
    Ok((meta.len(), digest))
}

/// Keeps a digest; a cache that cannot be written costs time, nothing else.
fn remember(entry: &Path, digest: Digest) {
    let Some(folder) = entry.parent() else { return };
    let partial = entry.with_extension(format!("{}.partial", std::process::id()));
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::write(&partial, format!("{digest}\n")))
        .and_then(|()| std::fs::rename(&partial, entry));
    if let Err(error) = written {
        tracing::debug!(entry = %entry.display(), %error, "digest could not be remembered");
    }
}

fn read_error(path: &Path, source: std::io::Error) -> ModelFilesError {
    ModelFilesError::Read { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, body) in files {
            std::fs::write(folder.path().join(name), body).unwrap();
        }
        folder
    }

    #[test]
    fn the_digest_names_config_and_indexed_weights_and_nothing_else() {
        let index = r#"{"weight_map": {"a": "x.safetensors", "b": "x.safetensors"}}"#;
        let files = [("config.json", "{}"), ("model.safetensors.index.json", index), ("x.safetensors", "w")];
        let (a, b) = (folder(&files), folder(&files));
        std::fs::write(b.path().join("tokenizer.json"), "{}").unwrap();
        std::fs::write(b.path().join("y.safetensors"), "z").unwrap();
        let cache = tempfile::tempdir().unwrap();
        let digest = folder_digest(a.path(), None).unwrap();
        assert_eq!(digest, folder_digest(b.path(), Some(cache.path())).unwrap());
        assert_eq!(digest, folder_digest(b.path(), Some(cache.path())).unwrap());
        std::fs::write(b.path().join("config.json"), "{\"a\":1}").unwrap();
        assert_ne!(digest, folder_digest(b.path(), Some(cache.path())).unwrap());
    }

    #[test]
    fn an_index_that_leaves_its_folder_is_refused() {
        let index = r#"{"weight_map": {"a": "../x.safetensors"}}"#;
        let f = folder(&[("config.json", "{}"), ("model.safetensors.index.json", index)]);
        let error = folder_digest(f.path(), None).unwrap_err().to_string();
        assert!(error.contains("expected a file name"), "{error}");
    }

    #[test]
    fn a_missing_shard_is_named() {
        let index = r#"{"weight_map": {"a": "x.safetensors"}}"#;
        let f = folder(&[("config.json", "{}"), ("model.safetensors.index.json", index)]);
        let error = folder_digest(f.path(), None).unwrap_err().to_string();
        assert!(error.contains("no x.safetensors"), "{error}");
    }
}
