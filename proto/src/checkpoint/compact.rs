//! The compact checkpoint as a file, and the digest of what it stands for.
//!
//! A safetensors file: per pruned linear `<linear>.mask`, u8 `[O, ⌈I/8⌉]` (see `mask.rs`); metadata `format`, `base_model`,
//! `dtype` and `columns` (linear → I, as JSON). `<linear>.values` is kept for methods that change surviving weights: the survivors
//! row by row, in the stored dtype. The digest is of content, never of this encoding.

use super::Mask;
use crate::ids::{Digest, ModelDigest};
use crate::keys::Canonical;
use crate::recipe::Dtype;
use bytes::Bytes;
use safetensors::SafeTensors;
use serde_json::json;
use std::collections::BTreeMap;

/// Name of the compact checkpoint under its attempt.
pub const FILE_NAME: &str = "compact.safetensors";

const FORMAT: &str = "espalier.compact/1";
const MASK: &str = ".mask";

/// A variant as its base model and what was kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compact {
    /// The model that was pruned.
    pub model: ModelDigest,
    /// The number format in which it is evaluated.
    pub dtype: Dtype,
    /// Masks by linear; a linear that is not here is dense.
    pub masks: BTreeMap<String, Mask>,
}

/// A file that is no compact checkpoint of this variant.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// Not safetensors.
    #[error("compact checkpoint: {why}")]
    File {
        /// The reader's message.
        why: String,
    },
    /// Metadata is missing or says something else.
    #[error("compact checkpoint: metadata {field}: found {found:?}, expected {expected}")]
    Metadata {
        /// The field.
        field: &'static str,
        /// What was found.
        found: Option<String>,
        /// What was expected.
        expected: String,
    },
    /// A tensor is not as the format says.
    #[error("compact checkpoint: tensor {tensor}: {why}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// What is wrong.
        why: String,
    },
    /// It stands for other weights than those of the record.
    #[error("compact checkpoint stands for weights {found}, the variant's record names {expected}")]
    OtherWeights {
        /// Its digest.
        found: Digest,
        /// The record's.
        expected: Digest,
    },
}

/// The digest of the weights of a model that nothing was pruned of.
pub fn dense_weights(model: ModelDigest) -> Digest {
    let mut c = Canonical::new("weights.dense");
    c.text("model", &model.to_string());
    c.finish()
}

impl Compact {
    /// The digest of the pruned weights: base model, number format, and every mask by name.
    pub fn weights(&self) -> Digest {
        let mut c = Canonical::new("weights.masked");
        c.text("model", &self.model.to_string());
        c.text("dtype", self.dtype.as_str());
        for (linear, mask) in &self.masks {
            c.text("linear", linear);
            c.number("rows", mask.rows() as u64);
            c.number("columns", mask.columns() as u64);
            c.field("mask", mask.bits());
        }
        c.finish()
    }

    /// The file's bytes.
    pub fn encode(&self) -> Bytes {
        self.encode_with(&[])
    }

    /// The file's bytes with more fields of metadata.
    pub(super) fn encode_with(&self, more: &[(&str, String)]) -> Bytes {
        let columns: BTreeMap<&String, usize> =
            self.masks.iter().map(|(name, m)| (name, m.columns())).collect();
        let mut metadata = json!({
            "format": FORMAT,
            "base_model": self.model.to_string(),
            "dtype": self.dtype.as_str(),
            "columns": serde_json::to_string(&columns).expect("names and numbers are JSON"),
        });
        for (name, value) in more {
            metadata[*name] = value.as_str().into();
        }
        let mut header = serde_json::Map::new();
        header.insert("__metadata__".to_owned(), metadata);
        let mut offset = 0;
        for (linear, mask) in &self.masks {
            let end = offset + mask.bits().len();
            let shape = [mask.rows(), mask.columns().div_ceil(8)];
            let entry = json!({"dtype": "U8", "shape": shape, "data_offsets": [offset, end]});
            header.insert(format!("{linear}{MASK}"), entry);
            offset = end;
        }
        let mut header = serde_json::to_vec(&header).expect("names and numbers are JSON");
        header.resize(header.len().next_multiple_of(8), b' ');
        let mut file = Vec::with_capacity(8 + header.len() + offset);
        file.extend_from_slice(&(header.len() as u64).to_le_bytes());
        file.extend_from_slice(&header);
        for mask in self.masks.values() {
            file.extend_from_slice(mask.bits());
        }
        Bytes::from(file)
    }

    /// Reads a file's bytes.
    pub fn decode(file: &[u8]) -> Result<Self, CompactError> {
        let not_a_file = |e: safetensors::SafeTensorError| CompactError::File { why: e.to_string() };
        let (_, header) = SafeTensors::read_metadata(file).map_err(not_a_file)?;
        let tensors = SafeTensors::deserialize(file).map_err(not_a_file)?;
        let get = |field: &str| header.metadata().as_ref().and_then(|m| m.get(field)).cloned();
        let bad = |field, expected: &str| CompactError::Metadata {
            field,
            found: get(field),
            expected: expected.to_owned(),
        };
        if get("format").as_deref() != Some(FORMAT) {
            return Err(bad("format", FORMAT));
        }
        let model = get("base_model")
            .and_then(|v| v.parse().ok())
            .ok_or_else(|| bad("base_model", "a model digest"))?;
        let dtype = get("dtype")
            .and_then(|v| serde_json::from_value(v.into()).ok())
            .ok_or_else(|| bad("dtype", "float32, float16 or bfloat16"))?;
        let columns: BTreeMap<String, usize> = get("columns")
            .and_then(|v| serde_json::from_str(&v).ok())
            .ok_or_else(|| bad("columns", "a width for each linear"))?;
        let mut masks = BTreeMap::new();
        for (name, view) in tensors.iter() {
            let wrong = |why: String| CompactError::Tensor { tensor: name.to_owned(), why };
            let linear =
                name.strip_suffix(MASK).ok_or_else(|| wrong("expected a name ending in .mask".to_owned()))?;
            let width = *columns.get(linear).ok_or_else(|| wrong("metadata columns lacks it".to_owned()))?;
            let &[rows, _] = view.shape() else {
                return Err(wrong(format!("shape {:?}, expected two dimensions", view.shape())));
            };
            let mask = (view.dtype() == safetensors::Dtype::U8)
                .then(|| Mask::from_bits(rows, width, view.data().to_vec()))
                .flatten()
                .ok_or_else(|| {
                    wrong(format!(
                        "{} {:?}, expected U8 [{rows}, ceil({width} / 8)] and no stray bits",
                        view.dtype(),
                        view.shape()
                    ))
                })?;
            masks.insert(linear.to_owned(), mask);
        }
        if let Some(lost) = columns.keys().find(|linear| !masks.contains_key(*linear)) {
            return Err(CompactError::Tensor { tensor: format!("{lost}{MASK}"), why: "missing".to_owned() });
        }
        Ok(Self { model, dtype, masks })
    }

    /// Reads a file's bytes and holds them against the digest that a record names.
    pub fn verified(file: &[u8], expected: Digest) -> Result<Self, CompactError> {
        let this = Self::decode(file)?;
        let found = this.weights();
        if found == expected { Ok(this) } else { Err(CompactError::OtherWeights { found, expected }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compact() -> Compact {
        let masks = [
            ("b.fc", Mask::from_kept(2, 9, &[1, 0, 1, 1, 0, 1, 0, 1, 1].repeat(2))),
            ("a.fc", Mask::from_kept(1, 2, &[0, 1])),
        ];
        Compact {
            model: ModelDigest(Digest::of(b"m")),
            dtype: Dtype::Bfloat16,
            masks: masks.into_iter().map(|(n, m)| (n.to_owned(), m)).collect(),
        }
    }

    #[test]
    fn a_compact_checkpoint_reads_back_bit_by_bit() {
        let (c, file) = (compact(), compact().encode());
        assert_eq!(Compact::decode(&file).unwrap(), c);
        assert_eq!(Compact::verified(&file, c.weights()).unwrap(), c);
        assert_eq!(file, c.encode());
    }

    #[test]
    fn one_flipped_bit_is_other_weights() {
        let mut file = compact().encode().to_vec();
        let last = file.len() - 2;
        file[last] ^= 1;
        assert!(matches!(
            Compact::verified(&file, compact().weights()),
            Err(CompactError::OtherWeights { .. })
        ));
    }

    #[test]
    fn model_dtype_name_and_shape_change_the_digest() {
        let base = compact().weights();
        let changes: [fn(&mut Compact); 4] = [
            |c| c.model = ModelDigest(Digest::of(b"n")),
            |c| c.dtype = Dtype::Float32,
            |c| drop(c.masks.remove("a.fc").map(|m| c.masks.insert("a.fd".to_owned(), m))),
            |c| drop(c.masks.insert("a.fc".to_owned(), Mask::from_kept(2, 1, &[0, 1]))),
        ];
        for (i, change) in changes.iter().enumerate() {
            let mut changed = compact();
            change(&mut changed);
            assert_ne!(changed.weights(), base, "change {i}");
        }
        assert_ne!(dense_weights(compact().model), base);
    }

    #[test]
    fn truncated_files_and_other_formats_are_refused() {
        let file = compact().encode();
        for n in [0, 7, 8, 60, file.len() - 1] {
            assert!(Compact::decode(&file[..n]).is_err(), "{n} bytes");
        }
        let other = String::from_utf8_lossy(&file).replace("compact/1", "compact/2");
        let error = Compact::decode(other.as_bytes()).map_err(|e| e.to_string());
        assert!(error.is_err());
    }
}
