//! Looks at everything that a sweep is made of: its models, its inputs, its records and every blob that they name (see `verify`).
//!
//! In: a bucket and a sweep. Out: [`Repaired`]: what was damaged. Its record, or a model's list, is deleted, so that it is missing
//! again and the next run or submission does it anew; a blob is never mended, and never deleted here.

use super::verify::{Is, Look, Seen, look_at};
use super::{StoreError, inventory};
use crate::records::generation;
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::ids::{Digest, InputsDigest, Name, VariantKey};
use espalier_proto::layout;
use espalier_proto::sweep::ResolvedSweep;
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// Blobs in memory at once.
const BLOBS_AT_ONCE: usize = 4;

/// What is damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// `model`, `inputs`, `variant` or `cell`.
    pub kind: &'static str,
    /// Model and variant, of a cell its task as well; of inputs the tasks that read them.
    pub name: String,
    /// The object that is deleted: a record, inputs, or a model's list of files.
    pub path: String,
    /// What is wrong.
    pub why: String,
}

/// How many of a sweep's variants, or cells, have a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Recorded {
    /// Those that have one, a damaged one too.
    pub recorded: u64,
    /// All of its latest submission.
    pub of: u64,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Repaired {
    /// The sweep's cells: one without a record is not measured yet, or lost, and nothing here can tell which.
    pub cells: Recorded,
    /// The sweep's variants.
    pub variants: Recorded,
    /// Records, inputs and models' lists that are there.
    pub objects: u64,
    /// Blobs and files that they name, read whole.
    pub blobs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// In order of paths.
    pub damaged: Vec<Damage>,
    /// Whose sweep it is.
    pub owner: Option<Name>,
    /// It was stopped, by its user or its failures: nothing of it is done anew before it is submitted again.
    pub stopped: bool,
}

/// Looks at everything; deletes the records of what is damaged unless only `looking`.
pub async fn repair(bucket: &Bucket, name: &Name, looking: bool) -> Result<Repaired, StoreError> {
    let fold = inventory::fold(bucket, name).await?;
    let sweep = current(bucket, name, fold.spec).await?;
    // A coordinator puts every model into the bucket before it takes a sweep up; a local run has no need to.
    let mirrored = fold.owner.as_ref().is_some_and(|owner| *owner != name.local_instance());
    let looks = looks(&sweep, mirrored).into_iter().map(|look| async move {
        let seen = look_at(bucket, &look).await?;
        Ok::<_, StoreError>((look, seen))
    });
    let looks: Vec<_> = looks.collect();
    let mut seen: Vec<(Look<'_>, Option<Seen>)> =
        futures::stream::iter(looks).buffer_unordered(BLOBS_AT_ONCE).try_collect().await?;
    seen.sort_by(|a, b| a.0.path.cmp(&b.0.path));
    let repaired = if looking {
        mend(bucket, seen, true).await
    } else {
        // Also where nothing is damaged: what segments say of records that somebody deleted is no longer believed.
        generation::deleting(bucket, mend(bucket, seen, false)).await
    };
    Ok(Repaired { stopped: fold.is_stopped(), owner: fold.owner, ..repaired? })
}

async fn mend(
    bucket: &Bucket,
    seen: Vec<(Look<'_>, Option<Seen>)>,
    looking: bool,
) -> Result<Repaired, StoreError> {
    let mut all = Repaired::default();
    for (look, seen) in seen {
        let grid = match look.is {
            Is::Cell(_) => Some(&mut all.cells),
            Is::Variant(_) => Some(&mut all.variants),
            Is::Model { .. } | Is::Inputs(_) => None,
        };
        if let Some(grid) = grid {
            grid.of += 1;
            grid.recorded += u64::from(seen.is_some());
        }
        let Some(Seen { blobs, bytes, wrong }) = seen else { continue };
        all.objects += 1;
        all.blobs += blobs;
        all.bytes += bytes;
        let Some(why) = wrong else { continue };
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
        let known = bucket.folders(&layout::sweeps()).await?;
        let (bucket, sweep) = (bucket.url().to_owned(), name.clone());
        return Err(if known.iter().any(|known| known == name.as_str()) {
            StoreError::Unlogged { bucket, sweep, path: layout::log_entry(name, 1).to_string() }
        } else {
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            StoreError::UnknownSweep { bucket, sweep, known }
        });
    };
    let path = layout::spec(name, spec);
    let corrupt = |why: String| BucketError::Corrupt { path: path.to_string(), why };
    let again = "submit the sweep again, which writes it anew";
    let bytes = bucket.read(&path).await?;
    let bytes =
        bytes.ok_or_else(|| corrupt(format!("it is absent, but the sweep's log names it; {again}")))?;
    if Digest::of(&bytes) != spec {
        return Err(corrupt(format!("its sha256 is {}; {again}", Digest::of(&bytes))).into());
    }
    Ok(serde_json::from_slice(&bytes).map_err(|e| corrupt(e.to_string()))?)
}

/// `mirrored`: its models are to be in the bucket.
fn looks(sweep: &ResolvedSweep, mirrored: bool) -> Vec<Look<'_>> {
    let names: BTreeMap<VariantKey, String> =
        sweep.variants.iter().map(|v| (v.key, format!("{} {}", v.model, v.name))).collect();
    let mut inputs: BTreeMap<InputsDigest, BTreeSet<String>> = BTreeMap::new();
    let mut looks = BTreeMap::new();
    for model in &sweep.models {
        let (path, name) = (layout::model_list(model.digest), model.id.clone());
        let is = Is::Model { digest: model.digest, needed: mirrored };
        looks.insert(path.clone(), Look { kind: "model", name, path, is });
    }
    for variant in &sweep.variants {
        if let Some(digest) = variant.spec.calibration {
            inputs.entry(digest).or_default().insert("calibration".to_owned());
        }
        let (path, name) = (layout::variant_record(variant.key), names[&variant.key].clone());
        looks.insert(path.clone(), Look { kind: "variant", name, path, is: Is::Variant(variant) });
    }
    for cell in &sweep.cells {
        inputs.entry(cell.inputs).or_default().insert(cell.task.clone());
        let variant = names.get(&cell.variant).cloned().unwrap_or_default();
        let (path, name) = (layout::cell_record(cell.key), format!("{variant} {}", cell.task));
        looks.insert(path.clone(), Look { kind: "cell", name, path, is: Is::Cell(cell) });
    }
    for (digest, tasks) in inputs {
        let name = tasks.into_iter().collect::<Vec<_>>().join(", ");
        let path = layout::inputs(digest);
        looks.insert(path.clone(), Look { kind: "inputs", name, path, is: Is::Inputs(digest) });
    }
    looks.into_values().collect()
}
