//! A checkpoint's folder: config.json and safetensors, single or sharded with an index, checked against its `Arch` without
//! reading a weight. The coordinator checks before any work is spent, the worker when it opens the model.
//!
//! In: a folder. Out: [`ModelFiles`], which says where every tensor lies; or a [`ModelError`] naming file and tensor.

mod header;
#[cfg(test)]
mod tests;

pub use header::{StoredDtype, TensorPlace, parse as parse_header};

use crate::arch::{Arch, ConfigError};
use crate::families;
use crate::model_folder::{self, ModelFilesError};
use crate::recipe::Dtype;
use crate::small_file::{self, MOST_INDEX, MOST_WRITTEN};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// A checkpoint whose headers have been read and fit its architecture.
#[derive(Clone, Debug)]
pub struct ModelFiles {
    /// The folder.
    pub folder: PathBuf,
    /// The architecture.
    pub arch: Arch,
    /// The number format that config.json states, else the embedding's.
    pub dtype: Dtype,
    /// The safetensors files, sorted by name.
    pub files: Vec<PathBuf>,
    /// Where each tensor of the architecture lies, by name.
    pub tensors: BTreeMap<String, TensorPlace>,
}

/// A model's folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// config.json cannot be used.
    #[error("{}: {source}", folder.display())]
    Config {
        /// The folder.
        folder: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// The files that make a model are not there.
    #[error(transparent)]
    Folder(#[from] ModelFilesError),
    /// The index is not one.
    #[error("{}: {why}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A safetensors file's header is corrupt.
    #[error("{}: corrupt header: {why}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A safetensors file is shorter or longer than its header says.
    #[error("{}: found {found} bytes, expected {expected} by its header", path.display())]
    Length {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
        /// What the header needs.
        expected: u64,
    },
    /// A tensor of the architecture is not in the checkpoint.
    #[error("{}: tensor {tensor} is missing, expected by config.json", path.display())]
    MissingTensor {
        /// Where it should be: a file, or the folder.
        path: PathBuf,
        /// The tensor.
        tensor: String,
    },
    /// A tensor has another shape than the architecture.
    #[error("{}: tensor {tensor}: found shape {found:?}, expected {expected:?} by config.json", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its shape.
        found: Vec<usize>,
        /// By config.json.
        expected: Vec<usize>,
    },
    /// A tensor holds numbers that are not read.
    #[error("{}: tensor {tensor}: found {found}, expected F32, F16 or BF16", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// Its format, as safetensors names it.
        found: String,
    },
}

impl ModelFiles {
    /// Reads config.json and the headers, and checks that every tensor of the architecture is there as it must be. Tensors
    /// that the architecture does not know are left alone, as transformers does.
    pub fn open(folder: &Path) -> Result<Self, ModelError> {
        let files = model_folder::model_files(folder)?;
        let config = read(&files.config, MOST_WRITTEN)?;
        let at = |source| ModelError::Config { folder: folder.to_owned(), source };
        let arch = families::arch(&config).map_err(at)?;
        let stated = families::stated_dtype(&config).map_err(at)?;
        let shards = Shards::find(files)?;
        let headers: Vec<_> = shards
            .files
            .iter()
            .enumerate()
            .map(|(number, path)| header::read(path, number))
            .collect::<Result<_, _>>()?;
        let mut tensors = BTreeMap::new();
        for spec in arch.tensors() {
            let place = shards.place(&headers, &spec.name)?;
            let path = || shards.files[place.file].clone();
            let StoredDtype::Known(_) = place.dtype else {
                let found = place.dtype.to_string();
                return Err(ModelError::Kind { path: path(), tensor: spec.name, found });
            };
            if place.shape != spec.shape {
                let (found, expected) = (place.shape.clone(), spec.shape);
                return Err(ModelError::Shape { path: path(), tensor: spec.name, found, expected });
            }
            tensors.insert(spec.name, place);
        }
        let embedding = match tensors[arch.names.embedding].dtype {
            StoredDtype::Known(dtype) => dtype,
            StoredDtype::Other(_) => unreachable!("other formats were refused above"),
        };
        let dtype = stated.unwrap_or(embedding);
        Ok(Self { folder: folder.to_owned(), arch, dtype, files: shards.files, tensors })
    }

    /// Bytes of all safetensors files' tensors of the architecture.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.values().map(|place| place.end - place.start).sum()
    }
}

/// The safetensors files of a folder, and which of them holds which tensor.
struct Shards {
    files: Vec<PathBuf>,
    /// Of a sharded checkpoint: its index, and file name by tensor.
    map: Option<(PathBuf, BTreeMap<String, String>)>,
}

impl Shards {
    fn find(files: model_folder::ModelFiles) -> Result<Self, ModelError> {
        let map = match files.index {
            None => None,
            Some(path) => {
                let text = read(&path, MOST_INDEX)?;
                let index: Index = serde_json::from_str(&text)
                    .map_err(|e| ModelError::Index { path: path.clone(), why: e.to_string() })?;
                Some((path, index.weight_map))
            }
        };
        Ok(Self { files: files.weights, map })
    }

    fn place(
        &self,
        headers: &[BTreeMap<String, TensorPlace>],
        tensor: &str,
    ) -> Result<TensorPlace, ModelError> {
        let missing =
            |path: &Path| ModelError::MissingTensor { path: path.to_owned(), tensor: tensor.to_owned() };
        let file = match &self.map {
            None => 0,
            Some((index, map)) => {
                let name = map.get(tensor).ok_or_else(|| missing(index))?;
                let of = |path: &PathBuf| path.file_name().is_some_and(|n| n == name.as_str());
                self.files.iter().position(of).expect("the files are those that the index names")
            }
        };
        headers[file].get(tensor).cloned().ok_or_else(|| missing(&self.files[file]))
    }
}

#[derive(serde::Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

fn read(path: &Path, most: u64) -> Result<String, ModelError> {
    small_file::read_text(path, most).map_err(|source| ModelError::Io { path: path.to_owned(), source })
}
