//! JSON objects with a format number: read if this version knows the format, else refused as what they are, never as damaged.
//!
//! Every change of an object's shape is a new number, an added field or a new word of an enum too: to a version before it the object
//! would be damaged. A version reads the formats before its own that were released. Every format from the second on has `written_by`
//! beside `format`, so that whoever does not know it can say whose it is.

use super::BucketError;
use crate::records::{CellRecord, DroppedRecord, FailureRecord, RECORD_FORMAT, VariantRecord};
use crate::sweep::{LOG_FORMAT, LogEntry, ResolvedSweep, SWEEP_FORMAT};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// This version, as objects say by whom they were written.
pub fn written_by() -> String {
    format!("espalier {}", env!("CARGO_PKG_VERSION"))
}

/// A kind of object.
pub trait Formatted: DeserializeOwned {
    /// What people call it.
    const WHAT: &'static str;
    /// The format that this version writes; it reads those before it too.
    const FORMAT: u32;

    /// The format that this object says.
    fn format(&self) -> u32;
}

/// Makes a struct with a field `format` a kind of object.
#[macro_export]
macro_rules! formatted {
    ($kind:ty, $what:literal, $format:expr) => {
        impl $crate::bucket::Formatted for $kind {
            const WHAT: &'static str = $what;
            const FORMAT: u32 = $format;

            fn format(&self) -> u32 {
                self.format
            }
        }
    };
}

formatted!(VariantRecord, "record of a variant", RECORD_FORMAT);
formatted!(DroppedRecord, "note of a dropped checkpoint", RECORD_FORMAT);
formatted!(CellRecord, "record of a cell", RECORD_FORMAT);
formatted!(FailureRecord, "record of a failure", RECORD_FORMAT);
formatted!(LogEntry, "entry of a sweep's log", LOG_FORMAT);
formatted!(ResolvedSweep, "resolved sweep", SWEEP_FORMAT);

/// What every format begins with.
#[derive(Deserialize)]
struct Head {
    format: u32,
    written_by: Option<String>,
}

/// Reads an object that lies at `path`.
pub fn object<T: Formatted>(path: &str, bytes: &[u8]) -> Result<T, BucketError> {
    let error = match serde_json::from_slice::<T>(bytes) {
        Ok(value) if (1..=T::FORMAT).contains(&value.format()) => return Ok(value),
        Ok(_) => None,
        Err(error) => Some(error),
    };
    // Of a later format the head alone is known.
    let head = serde_json::from_slice::<Head>(bytes).ok().filter(|head| head.format > T::FORMAT);
    let path = path.to_owned();
    Err(match (head, error) {
        (Some(Head { format: found, written_by }), _) => BucketError::Format {
            path,
            what: T::WHAT,
            found,
            known: T::FORMAT,
            by: written_by.unwrap_or_else(|| "another version".to_owned()),
        },
        (None, error) => BucketError::Corrupt {
            path,
            why: error.map_or_else(|| "no format".to_owned(), |e| e.to_string()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bucket::{Bucket, MOST_JSON};

    #[test]
    fn an_object_of_a_later_format_is_called_that_and_whose_it_is_and_damage_is_called_damage() {
        let later =
            br#"{"format": 4, "written_by": "espalier 0.9.0", "event": {"event": "merge"}, "new": [1]}"#;
        let error = object::<LogEntry>("sweeps/s/log/00000002.json", later).unwrap_err();
        let said = error.to_string();
        assert!(matches!(error, BucketError::Format { found: 4, known: 3, .. }), "{said}");
        for needle in ["sweeps/s/log/00000002.json", "format 4", "espalier 0.9.0", env!("CARGO_PKG_VERSION")]
        {
            assert!(said.contains(needle), "{needle}: {said}");
        }
        let nameless = object::<LogEntry>("p", br#"{"format": 7}"#).unwrap_err().to_string();
        assert!(nameless.contains("written by another version"), "{nameless}");
        for damaged in [&b"{\"format\": 1"[..], b"", b"{}", b"{\"format\": 1, \"unknown\": 2}", b"[1]"] {
            assert!(matches!(object::<LogEntry>("p", damaged), Err(BucketError::Corrupt { .. })));
        }
    }

    #[tokio::test]
    async fn an_object_that_is_too_large_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
        let path = object_store::path::Path::from("large.json");
        // A file with a hole: as a whole it would be a gigabyte of memory.
        std::fs::File::create(folder.path().join("large.json")).unwrap().set_len(MOST_JSON + 1).unwrap();
        let error = bucket.read_json::<serde_json::Value>(&path).await.unwrap_err();
        let BucketError::Store { source, .. } = error else { panic!("{error}") };
        assert!(
            source.to_string().contains("found 1073741825 bytes, expected at most 1073741824"),
            "{source}"
        );
        bucket.put(&path, bytes::Bytes::from_static(b"12")).await.unwrap();
        assert!(bucket.read_at_most(&path, 1).await.is_err());
        assert_eq!(bucket.read_at_most(&path, 2).await.unwrap().unwrap(), "12");
    }
}
