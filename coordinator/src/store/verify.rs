//! Holds one object of a sweep against its key, against what it names, and against what it can be made of again.
//!
//! In: a bucket and what is to be looked at. Out: [`Seen`]: what was read and what is wrong. Changes nothing.
//!
//! A cell's outcome is made again from its scores, by the code that a worker has for it. What was measured about the doing, and how many
//! zeros a model's own weights hold, is in no other object.

use super::StoreError;
use crate::records::scores;
use bytes::Bytes;
use espalier_proto::bucket::{Bucket, BucketError, Formatted, object};
use espalier_proto::checkpoint::{Compact, FILE_NAME, dense_weights};
use espalier_proto::ids::{Digest, InputsDigest, ModelDigest};
use espalier_proto::inputs::Inputs;
use espalier_proto::keys::variant_key;
use espalier_proto::records::{Blob, CellRecord, SCORES, VariantRecord};
use espalier_proto::sweep::{CellEntry, VariantEntry};
use espalier_proto::{layout, methods, mirror};
use object_store::path::Path;
use serde_json::Value;
use std::collections::BTreeMap;

/// One thing to look at.
pub(super) struct Look<'a> {
    /// `model`, `inputs`, `variant` or `cell`.
    pub(super) kind: &'static str,
    /// What users call it.
    pub(super) name: String,
    /// The object that is deleted if something is wrong.
    pub(super) path: Path,
    pub(super) is: Is<'a>,
}

/// What it should be.
pub(super) enum Is<'a> {
    /// `needed`: whoever submitted the sweep put it there.
    Model {
        digest: ModelDigest,
        needed: bool,
    },
    Inputs(InputsDigest),
    Variant(&'a VariantEntry),
    Cell(&'a CellEntry),
}

/// What one look found.
#[derive(Default)]
pub(super) struct Seen {
    /// Blobs, or files of a model, that were read whole.
    pub(super) blobs: u64,
    /// Bytes of all.
    pub(super) bytes: u64,
    /// What is wrong, the first thing.
    pub(super) wrong: Option<String>,
}

/// `Ok(Err(_))`: it is damaged, and how.
type Sound<T> = Result<Result<T, String>, StoreError>;

/// `None` where nothing is.
pub(super) async fn look_at(bucket: &Bucket, look: &Look<'_>) -> Result<Option<Seen>, StoreError> {
    let mut seen = Seen::default();
    let Some(bytes) = bucket.read(&look.path).await? else {
        let gone = Seen { wrong: Some("it is missing".to_owned()), ..Seen::default() };
        // A record that is not there is not made yet. The rest was there when the sweep was submitted, and nobody else puts it back.
        return Ok(matches!(look.is, Is::Model { needed: true, .. } | Is::Inputs(_)).then_some(gone));
    };
    seen.bytes = bytes.len() as u64;
    let found = match &look.is {
        Is::Model { digest, .. } => model(bucket, *digest, &bytes, &mut seen).await?,
        Is::Inputs(digest) => inputs(*digest, &bytes),
        Is::Variant(entry) => match record(&look.path, &bytes)? {
            Ok(record) => variant(bucket, entry, &record, &mut seen).await?,
            Err(why) => Err(why),
        },
        Is::Cell(entry) => match record(&look.path, &bytes)? {
            Ok(record) => cell(bucket, entry, &record, &mut seen).await?,
            Err(why) => Err(why),
        },
    };
    Ok(Some(Seen { wrong: found.err(), ..seen }))
}

/// Reads a record. One of another version is not damaged: nothing is done to it.
fn record<R: Formatted>(path: &Path, bytes: &[u8]) -> Sound<R> {
    sound(object(path.as_ref(), bytes))
}

fn sound<T>(read: Result<T, BucketError>) -> Sound<T> {
    match read {
        Ok(value) => Ok(Ok(value)),
        Err(BucketError::Corrupt { why, .. }) => Ok(Err(why)),
        Err(error) => Err(error.into()),
    }
}

fn inputs(digest: InputsDigest, bytes: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<Inputs>(bytes).map(|inputs| inputs.digest()) {
        Ok(found) if found == digest => Ok(()),
        Ok(found) => Err(format!("its content's digest is {found}")),
        Err(error) => Err(error.to_string()),
    }
}

async fn model(bucket: &Bucket, digest: ModelDigest, list: &[u8], seen: &mut Seen) -> Sound<()> {
    let list = match sound(mirror::parse_list(layout::model_list(digest).as_ref(), list))? {
        Ok(list) if list.model() == digest => list,
        Ok(list) => return Ok(Err(format!("its list of files is that of model {}", list.model()))),
        Err(why) => return Ok(Err(why)),
    };
    let mut all = Ok(());
    for file in &list.files {
        let path = layout::model_file(digest, &file.name);
        let found = bucket.content(&path).await?;
        seen.blobs += 1;
        seen.bytes += found.map_or(0, |(size, _)| size);
        all = all.and(held(&path, found, (file.size, file.sha256), "its list"));
    }
    Ok(all)
}

async fn variant(
    bucket: &Bucket,
    entry: &VariantEntry,
    record: &VariantRecord,
    seen: &mut Seen,
) -> Sound<()> {
    let VariantRecord { key, spec, attempt, blobs, weights, linears, bytes, .. } = record;
    if *key != entry.key {
        return Ok(Err(format!("it is the record of {key}")));
    }
    if variant_key(spec) != variant_key(&entry.spec) {
        return Ok(Err("its spec is another variant's".to_owned()));
    }
    if let Some((name, _)) = linears.iter().find(|(_, linear)| linear.zeros > linear.weights) {
        return Ok(Err(format!("linear {name} has more zeros than weights")));
    }
    if *bytes != blobs.iter().map(|blob| blob.size).sum::<u64>() {
        return Ok(Err(format!("it says {bytes} bytes, which its blobs do not add up to")));
    }
    if spec.method == methods::DENSE && *weights != dense_weights(spec.model) {
        return Ok(Err(format!("it names weights {weights}, which are not its model's")));
    }
    // What was dropped is missing on purpose.
    if bucket.exists(&layout::variant_dropped(*key)).await? {
        return Ok(Ok(()));
    }
    let at = |blob: &Blob| layout::variant_blob(*key, attempt, &blob.name);
    let read = match read_blobs(bucket, blobs, at, seen).await? {
        Ok(read) => read,
        Err(why) => return Ok(Err(why)),
    };
    let Some(compact) = read.get(FILE_NAME) else { return Ok(Ok(())) };
    let compact = match Compact::verified(compact, *weights) {
        Ok(compact) => compact,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let other = compact.masks.iter().find(|(name, mask)| {
        linears.get(*name).is_none_or(|l| l.weights != mask.weights() || l.zeros < mask.pruned())
    });
    Ok(other.map_or(Ok(()), |(name, _)| Err(format!("its counts of linear {name} are not its mask's"))))
}

async fn cell(bucket: &Bucket, entry: &CellEntry, record: &CellRecord, seen: &mut Seen) -> Sound<()> {
    let CellRecord { key, variant, inputs, attempt, blobs, outcome, .. } = record;
    if *key != entry.key {
        return Ok(Err(format!("it is the record of {key}")));
    }
    if (*variant, *inputs) != (entry.variant, entry.inputs) {
        return Ok(Err(format!("it names variant {variant} and inputs {inputs}, which are another cell's")));
    }
    let at = |blob: &Blob| layout::cell_blob(*key, attempt, &blob.name);
    let mut read = match read_blobs(bucket, blobs, at, seen).await? {
        Ok(read) => read,
        Err(why) => return Ok(Err(why)),
    };
    let Some(scores) = read.remove(SCORES) else { return Ok(Ok(())) };
    Ok(match scores::outcome(scores, outcome) {
        Ok(again) if again == *outcome => Ok(()),
        Ok(again) => Err(difference("outcome", &json(outcome), &json(&again))
            .unwrap_or_else(|| "its outcome does not follow from its scores".to_owned())),
        Err(error) => Err(format!("its scores: {error}")),
    })
}

fn json(value: &impl serde::Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Where a record first differs from what its scores give.
fn difference(at: &str, recorded: &Value, again: &Value) -> Option<String> {
    let inner: Vec<(String, &Value, &Value)> = match (recorded, again) {
        (Value::Object(a), Value::Object(b)) => a
            .iter()
            .map(|(name, a)| (format!("{at}.{name}"), a, b.get(name).unwrap_or(&Value::Null)))
            .collect(),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().map(|(i, (a, b))| (format!("{at}.{i}"), a, b)).collect()
        }
        (Value::Array(a), Value::Array(b)) => {
            return Some(format!("{at} has {} entries, its scores give {}", a.len(), b.len()));
        }
        (a, b) => return (a != b).then(|| format!("{at} is {a}, its scores give {b}")),
    };
    inner.into_iter().find_map(|(at, a, b)| difference(&at, a, b))
}

/// Reads all of a record's blobs, by name; says of the first that is not as the record says what is wrong.
async fn read_blobs(
    bucket: &Bucket,
    blobs: &[Blob],
    at: impl Fn(&Blob) -> Path,
    seen: &mut Seen,
) -> Sound<BTreeMap<String, Bytes>> {
    let (mut read, mut all) = (BTreeMap::new(), Ok(()));
    for blob in blobs {
        let path = at(blob);
        let bytes = bucket.read(&path).await?;
        let found = bytes.as_ref().map(|bytes| (bytes.len() as u64, Digest::of(bytes)));
        seen.blobs += 1;
        seen.bytes += found.map_or(0, |(size, _)| size);
        all = all.and(held(&path, found, (blob.size, blob.sha256), "its record"));
        read.extend(bytes.map(|bytes| (blob.name.clone(), bytes)));
    }
    Ok(all.map(|()| read))
}

/// What lies at `path` against what `whose` says of it.
fn held(
    path: &Path,
    found: Option<(u64, Digest)>,
    (size, sha256): (u64, Digest),
    whose: &str,
) -> Result<(), String> {
    match found {
        None => Err(format!("{path} is missing")),
        Some((bytes, _)) if bytes != size => Err(format!("{path} has {bytes} bytes, {whose} says {size}")),
        Some((_, found)) if found != sha256 => {
            Err(format!("{path} has sha256 {found}, {whose} says {sha256}"))
        }
        Some(_) => Ok(()),
    }
}
