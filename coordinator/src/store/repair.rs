//! Holds everything that a sweep's records name against them: every blob is read, its size and sha256 compared.
//!
//! In: a bucket and a sweep. Out: [`Repaired`]: what was damaged. Its record is deleted, so that the key is missing again and the
//! next run does it anew; a blob is never mended, and never deleted here.

use super::StoreError;
use crate::records::generation;
use crate::serve::log;
use espalier_proto::bucket::{Bucket, BucketError, Formatted, object};
use espalier_proto::ids::{CellKey, Digest, InputsDigest, Name, VariantKey};
use espalier_proto::inputs::Inputs;
use espalier_proto::layout;
use espalier_proto::records::{Blob, CellRecord, VariantRecord};
use espalier_proto::sweep::ResolvedSweep;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Blobs in memory at once.
const BLOBS_AT_ONCE: usize = 4;

/// What is damaged: `(kind, what users call it, why)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// `variant`, `cell` or `inputs`.
    pub kind: &'static str,
    /// Model and variant, of a cell its task as well; of inputs the tasks that read them.
    pub name: String,
    /// The object that is deleted: a record, or inputs.
    pub path: String,
    /// What is wrong.
    pub why: String,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// Records and inputs that are there.
    pub objects: u64,
    /// Blobs that they name, read whole.
    pub blobs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// In order of paths.
    pub damaged: Vec<Damage>,
    /// Whose sweep it is.
    pub owner: Option<Name>,
}

/// One thing to look at.
struct Look {
    kind: &'static str,
    name: String,
    path: Path,
    is: Is,
}

enum Is {
    Variant(VariantKey),
    Cell(CellKey),
    Inputs(InputsDigest),
}

/// What one look found: the bytes and blobs that were read, and what is wrong.
type Seen = (u64, u64, Option<String>);

/// Looks at everything; deletes the records of what is damaged unless only `looking`.
pub async fn repair(bucket: &Bucket, name: &Name, looking: bool) -> Result<Repaired, StoreError> {
    let fold = log::read(bucket, name).await?;
    let sweep = current(bucket, name, fold.spec).await?;
    let looks = looks(&sweep).into_iter().map(|look| async move {
        let seen = look_at(bucket, &look).await?;
        Ok::<_, StoreError>((look, seen))
    });
    let looks: Vec<_> = looks.collect();
    let mut seen: Vec<(Look, Option<Seen>)> =
        futures::stream::iter(looks).buffer_unordered(BLOBS_AT_ONCE).try_collect().await?;
    seen.sort_by(|a, b| a.0.path.cmp(&b.0.path));
    let repaired = if looking {
        mend(bucket, seen, true).await
    } else {
        // Also where nothing is damaged: what segments say of records that somebody deleted is no longer believed.
        generation::deleting(bucket, mend(bucket, seen, false)).await
    };
    Ok(Repaired { owner: fold.owner, ..repaired? })
}

async fn mend(
    bucket: &Bucket,
    seen: Vec<(Look, Option<Seen>)>,
    looking: bool,
) -> Result<Repaired, StoreError> {
    let mut all = Repaired::default();
    for (look, seen) in seen {
        let Some((blobs, bytes, why)) = seen else { continue };
        all.objects += 1;
        all.blobs += blobs;
        all.bytes += bytes;
        let Some(why) = why else { continue };
        if !looking {
            bucket.delete(&look.path).await?;
        }
        all.damaged.push(Damage { kind: look.kind, name: look.name, path: look.path.to_string(), why });
    }
    Ok(all)
}

/// The grid of the latest submission.
async fn current(bucket: &Bucket, name: &Name, spec: Option<Digest>) -> Result<ResolvedSweep, StoreError> {
    let Some(spec) = spec else {
        let known = super::inventory::sweeps(bucket).await?;
        let known: Vec<&str> = known.keys().map(Name::as_str).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(StoreError::UnknownSweep { bucket: bucket.url().to_owned(), sweep: name.clone(), known });
    };
    let path = layout::spec(name, spec);
    let corrupt = |why: String| BucketError::Corrupt { path: path.to_string(), why };
    let again = "submit the sweep again, which writes it anew";
    let bytes = bucket.read(&path).await?;
    let bytes =
        bytes.ok_or_else(|| corrupt(format!("it is absent, but the sweep's log names it; {again}")))?;
    if Digest::of(&bytes) != spec {
        return Err(corrupt(format!("its sha256 is {}; delete it and {again}", Digest::of(&bytes))).into());
    }
    Ok(serde_json::from_slice(&bytes).map_err(|e| corrupt(e.to_string()))?)
}

fn looks(sweep: &ResolvedSweep) -> Vec<Look> {
    let names: BTreeMap<VariantKey, String> =
        sweep.variants.iter().map(|v| (v.key, format!("{} {}", v.model, v.name))).collect();
    let mut inputs: BTreeMap<InputsDigest, BTreeSet<String>> = BTreeMap::new();
    let mut looks = BTreeMap::new();
    for variant in &sweep.variants {
        if let Some(digest) = variant.spec.calibration {
            inputs.entry(digest).or_default().insert("calibration".to_owned());
        }
        let (path, name) = (layout::variant_record(variant.key), names[&variant.key].clone());
        looks.insert(path.clone(), Look { kind: "variant", name, path, is: Is::Variant(variant.key) });
    }
    for cell in &sweep.cells {
        inputs.entry(cell.inputs).or_default().insert(cell.task.clone());
        let variant = names.get(&cell.variant).cloned().unwrap_or_default();
        let (path, name) = (layout::cell_record(cell.key), format!("{variant} {}", cell.task));
        looks.insert(path.clone(), Look { kind: "cell", name, path, is: Is::Cell(cell.key) });
    }
    for (digest, tasks) in inputs {
        let name = tasks.into_iter().collect::<Vec<_>>().join(", ");
        let path = layout::inputs(digest);
        looks.insert(path.clone(), Look { kind: "inputs", name, path, is: Is::Inputs(digest) });
    }
    looks.into_values().collect()
}

/// `None` where nothing is.
async fn look_at(bucket: &Bucket, look: &Look) -> Result<Option<Seen>, StoreError> {
    let Some(bytes) = bucket.read(&look.path).await? else { return Ok(None) };
    let size = bytes.len() as u64;
    let blobs = match named(look, &bytes)? {
        // What was dropped is missing on purpose.
        Ok(_) if is_dropped(bucket, look).await? => Vec::new(),
        Ok(blobs) => blobs,
        Err(why) => return Ok(Some((0, size, Some(why)))),
    };
    let mut seen: Seen = (0, size, None);
    for (path, blob) in &blobs {
        let found = bucket.read(path).await?;
        seen.0 += 1;
        seen.1 += found.as_ref().map_or(0, |bytes| bytes.len() as u64);
        let why = match found {
            None => format!("{path} is missing"),
            Some(found) if found.len() as u64 != blob.size => {
                format!("{path} has {} bytes, its record says {}", found.len(), blob.size)
            }
            Some(found) if Digest::of(&found) != blob.sha256 => {
                format!("{path} has sha256 {}, its record says {}", Digest::of(&found), blob.sha256)
            }
            Some(_) => continue,
        };
        seen.2.get_or_insert(why);
    }
    Ok(Some(seen))
}

async fn is_dropped(bucket: &Bucket, look: &Look) -> Result<bool, BucketError> {
    match look.is {
        Is::Variant(key) => bucket.exists(&layout::variant_dropped(key)).await,
        Is::Cell(_) | Is::Inputs(_) => Ok(false),
    }
}

/// The blobs that this object names, and where they lie; `Ok(Err(_))` if the object itself is damaged.
fn named(look: &Look, bytes: &[u8]) -> Result<Result<Vec<(Path, Blob)>, String>, StoreError> {
    let other = |key: Digest| format!("it is the record of {key}");
    Ok(match look.is {
        Is::Inputs(digest) => match serde_json::from_slice::<Inputs>(bytes).map(|inputs| inputs.digest()) {
            Ok(found) if found == digest => Ok(Vec::new()),
            Ok(found) => Err(format!("its content's digest is {found}")),
            Err(error) => Err(error.to_string()),
        },
        Is::Variant(key) => match record::<VariantRecord>(look, bytes)? {
            Ok(VariantRecord { key: found, .. }) if found != key => Err(other(found.0)),
            Ok(VariantRecord { attempt, blobs, .. }) => {
                let at = |blob: Blob| (layout::variant_blob(key, &attempt, &blob.name), blob);
                Ok(blobs.into_iter().map(at).collect())
            }
            Err(why) => Err(why),
        },
        Is::Cell(key) => match record::<CellRecord>(look, bytes)? {
            Ok(CellRecord { key: found, .. }) if found != key => Err(other(found.0)),
            Ok(CellRecord { attempt, blobs, .. }) => {
                let at = |blob: Blob| (layout::cell_blob(key, &attempt, &blob.name), blob);
                Ok(blobs.into_iter().map(at).collect())
            }
            Err(why) => Err(why),
        },
    })
}

/// Reads a record; `Ok(Err(_))` if it is damaged. One of another version is neither: nothing is done to it.
fn record<R: Formatted>(look: &Look, bytes: &[u8]) -> Result<Result<R, String>, StoreError> {
    match object(look.path.as_ref(), bytes) {
        Ok(record) => Ok(Ok(record)),
        Err(BucketError::Corrupt { why, .. }) => Ok(Err(why)),
        Err(error) => Err(error.into()),
    }
}
