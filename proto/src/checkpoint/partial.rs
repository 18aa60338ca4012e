//! Masks of finished blocks of a pruning that has not ended: what a later attempt at the same variant goes on from.
//!
//! A compact checkpoint of a few blocks with two more fields of metadata: `partial`, what it is of, and `digest`, over that and the
//! masks, so that an altered file is known for one. Read only under an equal key and an equal fingerprint: other devices give other bits.

use super::{Compact, CompactError};
use crate::ids::{Digest, VariantKey};
use crate::keys::Canonical;
use bytes::Bytes;
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const ABOUT: &str = "partial";
const DIGEST: &str = "digest";

/// The masks of the blocks `from..to` of a variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Partial {
    /// The variant.
    pub key: VariantKey,
    /// Fingerprint of the device that pruned.
    pub fingerprint: String,
    /// The first block.
    pub from: u32,
    /// One past the last block.
    pub to: u32,
    /// Seconds by stage that these blocks took.
    pub seconds: BTreeMap<String, f64>,
    /// Their masks.
    pub compact: Compact,
}

/// A file that cannot be gone on from.
#[derive(Debug, thiserror::Error)]
pub enum PartialError {
    /// Its masks cannot be read.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// What it says of itself is missing or altered.
    #[error("masks of finished blocks: metadata {field}: found {found:?}, expected {expected}")]
    Metadata {
        /// The field.
        field: &'static str,
        /// What was found.
        found: Option<String>,
        /// What was expected.
        expected: String,
    },
}

/// What the file says of itself.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct About {
    variant: VariantKey,
    fingerprint: String,
    from: u32,
    to: u32,
    seconds: BTreeMap<String, f64>,
}

fn digest(about: &str, compact: &Compact) -> Digest {
    let mut c = Canonical::new("partial");
    c.text("about", about);
    c.text("weights", &compact.weights().to_string());
    c.finish()
}

impl Partial {
    /// The file's bytes.
    pub fn encode(&self) -> Bytes {
        let about = About {
            variant: self.key,
            fingerprint: self.fingerprint.clone(),
            from: self.from,
            to: self.to,
            seconds: self.seconds.clone(),
        };
        let about = serde_json::to_string(&about).expect("names and finite numbers are JSON");
        let digest = digest(&about, &self.compact).to_string();
        self.compact.encode_with(&[(ABOUT, about), (DIGEST, digest)])
    }

    /// Reads a file's bytes and holds them against the digest inside.
    pub fn decode(file: &[u8]) -> Result<Self, PartialError> {
        let compact = Compact::decode(file)?;
        let (_, header) =
            SafeTensors::read_metadata(file).map_err(|e| CompactError::File { why: e.to_string() })?;
        let get = |field: &str| header.metadata().as_ref().and_then(|m| m.get(field)).cloned();
        let bad = |field, expected: String| PartialError::Metadata { field, found: get(field), expected };
        let text = get(ABOUT).ok_or_else(|| bad(ABOUT, "what it is of".to_owned()))?;
        let expected = digest(&text, &compact).to_string();
        if get(DIGEST).as_ref() != Some(&expected) {
            return Err(bad(DIGEST, expected));
        }
        let about: About =
            serde_json::from_str(&text).map_err(|e| bad(ABOUT, format!("what it is of ({e})")))?;
        let About { variant: key, fingerprint, from, to, seconds } = about;
        Ok(Self { key, fingerprint, from, to, seconds, compact })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mask;
    use super::*;
    use crate::ids::ModelDigest;
    use crate::recipe::Dtype;

    fn partial() -> Partial {
        let masks = [("a.0.fc".to_owned(), Mask::from_kept(2, 9, &[1, 0, 1, 1, 0, 1, 0, 1, 1].repeat(2)))];
        Partial {
            key: VariantKey(Digest::of(b"v")),
            fingerprint: "f".to_owned(),
            from: 0,
            to: 1,
            seconds: [("prune".to_owned(), 0.25)].into(),
            compact: Compact {
                model: ModelDigest(Digest::of(b"m")),
                dtype: Dtype::Float32,
                masks: masks.into(),
            },
        }
    }

    #[test]
    fn masks_of_finished_blocks_read_back_with_what_they_are_of() {
        let file = partial().encode();
        assert_eq!(Partial::decode(&file).unwrap(), partial());
        // Whoever reads checkpoints reads these masks too.
        assert_eq!(Compact::decode(&file).unwrap(), partial().compact);
    }

    #[test]
    fn every_truncation_and_every_flipped_byte_is_known() {
        let file = partial().encode();
        for n in 0..file.len() {
            assert!(Partial::decode(&file[..n]).is_err(), "{n} bytes");
        }
        for at in 0..file.len() {
            let mut altered = file.to_vec();
            altered[at] ^= 4;
            // Spaces that fill the header up may read as nothing else; what is said must stay the same.
            assert!(Partial::decode(&altered).map_or(true, |p| p == partial()), "byte {at}");
        }
        let plain = partial().compact.encode();
        assert!(matches!(Partial::decode(&plain), Err(PartialError::Metadata { field: ABOUT, .. })));
    }
}
