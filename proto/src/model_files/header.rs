//! Reads a safetensors file's header: which tensors it holds and where. Never reads a weight.

use super::ModelError;
use crate::recipe::Dtype;
use memmap2::Mmap;
use safetensors::SafeTensors;
use safetensors::tensor::SafeTensorError;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::path::Path;

/// Bytes before the header: its length.
const PREFIX: u64 = 8;
/// The longest header that safetensors allows.
const LONGEST: u64 = 100_000_000;

/// The format of a stored tensor's numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredDtype {
    /// One that is read.
    Known(Dtype),
    /// Another, as safetensors names it.
    Other(String),
}

impl fmt::Display for StoredDtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(Dtype::Float32) => f.write_str("F32"),
            Self::Known(Dtype::Float16) => f.write_str("F16"),
            Self::Known(Dtype::Bfloat16) => f.write_str("BF16"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorPlace {
    /// Index into the checkpoint's files.
    pub file: usize,
    /// Its numbers' format.
    pub dtype: StoredDtype,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its first byte in the file.
    pub start: u64,
    /// The byte after its last.
    pub end: u64,
}

/// The tensors of file number `number` by name. Their shapes, formats and places fit each other and the file's size.
pub(super) fn read(path: &Path, number: usize) -> Result<BTreeMap<String, TensorPlace>, ModelError> {
    let io = |source| ModelError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    if size < PREFIX {
        return Err(ModelError::Length { path: path.to_owned(), found: size, expected: PREFIX });
    }
    // SAFETY: the map is read only here and dropped before returning; a file changed meanwhile gives wrong bytes, which
    // the checks below or the digest refuse.
    let bytes = unsafe { Mmap::map(&file) }.map_err(io)?;
    parse(&bytes, path, number)
}

/// The tensors of a file with these bytes, as [`read`] gives them.
pub fn parse(bytes: &[u8], path: &Path, number: usize) -> Result<BTreeMap<String, TensorPlace>, ModelError> {
    let size = bytes.len() as u64;
    if size < PREFIX {
        return Err(ModelError::Length { path: path.to_owned(), found: size, expected: PREFIX });
    }
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes are eight bytes"));
    let corrupt = |why: String| ModelError::Header { path: path.to_owned(), why };
    if length > LONGEST {
        return Err(corrupt(format!("found a header of {length} bytes, expected at most {LONGEST}")));
    }
    if PREFIX + length > size {
        return Err(ModelError::Length { path: path.to_owned(), found: size, expected: PREFIX + length });
    }
    let metadata = match SafeTensors::read_metadata(bytes) {
        Ok((_, metadata)) => metadata,
        Err(SafeTensorError::MetadataIncompleteBuffer) => {
            return Err(wrong_length(path, bytes, length, size));
        }
        Err(error) => return Err(corrupt(error.to_string())),
    };
    let data = PREFIX + length;
    let places = metadata.tensors().into_iter().map(|(name, info)| {
        let dtype = match info.dtype {
            safetensors::Dtype::F32 => StoredDtype::Known(Dtype::Float32),
            safetensors::Dtype::F16 => StoredDtype::Known(Dtype::Float16),
            safetensors::Dtype::BF16 => StoredDtype::Known(Dtype::Bfloat16),
            other => StoredDtype::Other(format!("{other:?}")),
        };
        let (start, end) = info.data_offsets;
        let (start, end) = (data + start as u64, data + end as u64);
        (name, TensorPlace { file: number, dtype, shape: info.shape.clone(), start, end })
    });
    Ok(places.collect())
}

/// The error of a file whose tensors do not end where it ends.
fn wrong_length(path: &Path, bytes: &[u8], length: u64, size: u64) -> ModelError {
    let header: Option<serde_json::Value> = serde_json::from_slice(&bytes[8..8 + length as usize]).ok();
    let last = header
        .as_ref()
        .and_then(|h| h.as_object())
        .and_then(|map| map.values().filter_map(|t| t.get("data_offsets")?.get(1)?.as_u64()).max());
    let expected = (PREFIX + length).saturating_add(last.unwrap_or(0));
    ModelError::Length { path: path.to_owned(), found: size, expected }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_beyond_all_numbers_is_told_as_the_largest() {
        let header = br#"{"a": {"data_offsets": [0, 18446744073709551615]}}"#;
        let bytes = [&[0; 8], &header[..]].concat();
        let error = wrong_length(Path::new("m"), &bytes, header.len() as u64, 1);
        assert!(matches!(error, ModelError::Length { expected: u64::MAX, .. }), "{error}");
    }
}
