//! Newtypes of every id and how each is written. An id that parses is well formed; what it names may not exist.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// An id that is not written as ids of its kind are.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{value:?} is not {expected}")]
pub struct IdError {
    /// What was seen.
    pub value: String,
    /// What was expected, for people.
    pub expected: &'static str,
}

const DIGITS: &str = "64 lower-case hexadecimal digits";

/// A sha256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The digest with these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A finished hasher's digest.
    pub fn finish(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// The first two hexadecimal digits: the folder that keeps listings short.
    pub fn prefix(&self) -> String {
        self.digits(|text| text[..2].to_owned())
    }

    /// The first twelve digits, for people.
    pub fn short(&self) -> String {
        self.digits(|text| text[..12].to_owned())
    }

    /// A coordinator writes and reads millions of them: nothing is allocated on the way.
    fn digits<T>(&self, take: impl FnOnce(&str) -> T) -> T {
        let mut text = [0; 64];
        take(HEXLOWER.encode_mut_str(&self.0, &mut text))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.digits(|text| f.write_str(text))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.short())
    }
}

impl FromStr for Digest {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError { value: text.to_owned(), expected: DIGITS };
        let mut bytes = [0; 32];
        if HEXLOWER.decode_len(text.len()) != Ok(bytes.len()) {
            return Err(error());
        }
        HEXLOWER.decode_mut(text.as_bytes(), &mut bytes).map_err(|_| error())?;
        Ok(Self(bytes))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Digits;

        impl serde::de::Visitor<'_> for Digits {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(DIGITS)
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }
        }

        d.deserialize_str(Digits)
    }
}

/// Declares a digest with a meaning of its own.
macro_rules! digest_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                text.parse().map(Self)
            }
        }
    };
}

digest_id!(
    /// Content of a model: its config.json and the safetensors that its index names.
    ModelDigest
);
digest_id!(
    /// Canonical content of resolved inputs.
    InputsDigest
);
digest_id!(
    /// Everything that can change a variant's weights.
    VariantKey
);
digest_id!(
    /// Everything that can change a cell's numbers.
    CellKey
);

/// The name of a sweep or an instance: `[a-z0-9-]{1,63}`, for a local run's instance `run.<sweep>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(Arc<str>);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The instance under which `run` works on this sweep.
    pub fn local_instance(&self) -> Self {
        Self(format!("run.{}", self.0).into())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Name {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let stem = text.strip_prefix("run.").unwrap_or(text);
        let fits = (1..=63).contains(&stem.len())
            && stem.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if fits {
            return Ok(Self(text.into()));
        }
        Err(IdError { value: text.to_owned(), expected: "1 to 63 characters of a-z, 0-9 and -" })
    }
}

impl TryFrom<String> for Name {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// One try at a shard, written `<instance>-<epoch>-<n>`; `n` counts all attempts of that epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttemptId {
    // In this order, so that comparing two of one instance, as nearly all are, ends before its name.
    /// The coordinator's epoch.
    pub epoch: u64,
    /// The attempt's number in that epoch, from 1.
    pub n: u64,
    /// The instance whose coordinator gave it.
    pub instance: Name,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.instance, self.epoch, self.n)
    }
}

impl FromStr for AttemptId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError { value: text.to_owned(), expected: "<instance>-<epoch>-<n>" };
        let mut parts = text.rsplitn(3, '-');
        let n = parts.next().and_then(|p| p.parse().ok()).ok_or_else(error)?;
        let epoch = parts.next().and_then(|p| p.parse().ok()).ok_or_else(error)?;
        let instance = parts.next().and_then(|p| p.parse().ok()).ok_or_else(error)?;
        Ok(Self { instance, epoch, n })
    }
}

impl TryFrom<String> for AttemptId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<AttemptId> for String {
    fn from(id: AttemptId) -> Self {
        id.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_reads_back_as_written_even_with_dashes_in_its_instance() {
        let id: AttemptId = "run.phi-demo-3-17".parse().unwrap();
        assert_eq!((id.instance.as_str(), id.epoch, id.n), ("run.phi-demo", 3, 17));
        assert_eq!(id.to_string(), "run.phi-demo-3-17");
    }

    #[test]
    fn a_name_with_a_slash_or_a_capital_is_refused() {
        for bad in ["", "a/b", "Demo", "a_b", "run.", "../x"] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_digest_is_sha256_in_lower_case() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(Digest::of(b"").to_string(), empty);
        assert!(empty.to_uppercase().parse::<Digest>().is_err());
    }
}
