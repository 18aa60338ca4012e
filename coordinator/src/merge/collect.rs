//! What the bucket holds of a sweep: its current spec, the records of its grid, quarantines and failures. Reads, decides nothing.
//!
//! In: a bucket and a sweep's name. Out: [`Found`]. The order in which the store answers shows nowhere: everything is kept by key.

use crate::plan::cells::all_chosen;
use crate::records::{self, RecordsError};
use crate::serve::fold::Fold;
use crate::serve::{canary, log};
use espalier_proto::bucket::{Bucket, BucketError, Formatted};
use espalier_proto::ids::{CellKey, Digest, Name, VariantKey};
use espalier_proto::layout;
use espalier_proto::records::{CellRecord, FailureCode, FailureRecord, VariantRecord};
use espalier_proto::sweep::{LogEntry, LogEvent, ResolvedSweep};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};

/// Objects read at once.
const READS_AT_ONCE: usize = 32;

/// Why a sweep's results cannot be collected.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The bucket failed or holds something unreadable.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// Nobody submitted it here.
    #[error("bucket {bucket} holds no sweep {sweep:?}; it holds: {known}")]
    UnknownSweep {
        /// The bucket.
        bucket: String,
        /// The name asked for.
        sweep: String,
        /// The sweeps that are there, for people.
        known: String,
    },
}

impl From<RecordsError> for CollectError {
    fn from(error: RecordsError) -> Self {
        match error {
            RecordsError::Bucket(error) => Self::Bucket(error),
        }
    }
}

/// What the bucket holds of a sweep.
#[derive(Clone, Debug)]
pub struct Found {
    /// The grid: the spec of the latest submission.
    pub sweep: ResolvedSweep,
    /// Records of variants of the grid.
    pub variants: BTreeMap<VariantKey, VariantRecord>,
    /// Records of cells of the grid.
    pub cells: BTreeMap<CellKey, CellRecord>,
    /// Variants and cells given up, by the sweep's log.
    pub given_up: BTreeMap<Digest, FailureCode>,
    /// Cells that are not run since their model's canary was given up.
    pub fallen: BTreeMap<CellKey, FailureCode>,
    /// Cells of which the latest word of the log is a cancel.
    pub cancelled: BTreeSet<CellKey>,
    /// Failed attempts of variants and cells of the grid; shown in costs only.
    pub failures: Vec<FailureRecord>,
}

impl Found {
    /// A grid of which nothing is measured yet.
    pub fn empty(sweep: ResolvedSweep) -> Self {
        Self {
            sweep,
            variants: BTreeMap::new(),
            cells: BTreeMap::new(),
            given_up: BTreeMap::new(),
            fallen: BTreeMap::new(),
            cancelled: BTreeSet::new(),
            failures: Vec::new(),
        }
    }
}

/// Reads what `bucket` holds of the sweep called `name`.
pub async fn collect(bucket: &Bucket, name: &Name) -> Result<Found, CollectError> {
    let log = Log::read(bucket, name).await?;
    let Some(digest) = log.fold.spec else {
        return Err(unknown(bucket, name).await?);
    };
    let path = layout::spec(name, digest);
    let sweep: ResolvedSweep = bucket.read_object(&path).await?.ok_or_else(|| BucketError::Corrupt {
        path: path.to_string(),
        why: "it is absent, but the sweep's log names it".to_owned(),
    })?;
    let mut found = collect_of(bucket, sweep).await?;
    log.tell(bucket, &mut found).await?;
    Ok(found)
}

/// Reads what `bucket` holds of this grid, whether or not it was ever submitted; its name's log says what is given up.
pub async fn collect_grid(bucket: &Bucket, sweep: ResolvedSweep) -> Result<Found, CollectError> {
    let log = Log::read(bucket, &sweep.name).await?;
    let mut found = collect_of(bucket, sweep).await?;
    log.tell(bucket, &mut found).await?;
    Ok(found)
}

/// Reads what `bucket` holds of this grid, without a log: nothing is given up.
async fn collect_of(bucket: &Bucket, sweep: ResolvedSweep) -> Result<Found, CollectError> {
    let mut found = Found::empty(sweep);
    let (variants, cells) = records::list::all(bucket, &found.sweep).await?;
    (found.variants, found.cells) = (variants.into_iter().collect(), cells.into_iter().collect());
    let grid = &found.sweep;
    let cells = grid.cells.iter().map(|c| c.key.0);
    let keys: BTreeSet<Digest> = grid.variants.iter().map(|v| v.key.0).chain(cells).collect();
    let folders = bucket.list(&Path::from("failures")).await?;
    let of_grid = folders.into_iter().filter(|path| {
        path.parts().nth(1).and_then(|key| key.as_ref().parse().ok()).is_some_and(|key| keys.contains(&key))
    });
    found.failures = read_all(bucket, of_grid).await?;
    found.failures.sort_by(|a, b| (a.key, &a.at, &a.attempt).cmp(&(b.key, &b.at, &b.attempt)));
    Ok(found)
}

/// The names of sweeps that the bucket holds.
pub async fn sweeps(bucket: &Bucket) -> Result<BTreeSet<String>, BucketError> {
    let paths = bucket.list(&layout::sweeps()).await?;
    Ok(paths.iter().filter_map(|path| path.parts().nth(1).map(|part| part.as_ref().to_owned())).collect())
}

async fn unknown(bucket: &Bucket, name: &Name) -> Result<CollectError, BucketError> {
    let known: Vec<String> = sweeps(bucket).await?.into_iter().collect();
    Ok(CollectError::UnknownSweep {
        bucket: bucket.url().to_owned(),
        sweep: name.to_string(),
        known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
    })
}

/// The cells of a part of the grid, as `--only` says it; of none that cannot be read.
fn cells(sweep: &ResolvedSweep, only: Option<&str>) -> BTreeSet<CellKey> {
    only.unwrap_or_default().parse().map(|only| all_chosen(sweep, &only)).unwrap_or_default()
}

/// A sweep's log: what it comes to, and the entries that count.
struct Log {
    fold: Fold,
    entries: Vec<LogEntry>,
}

impl Log {
    async fn read(bucket: &Bucket, name: &Name) -> Result<Self, BucketError> {
        let mut fold = Fold::default();
        let mut entries = log::entries(bucket, name).await?;
        let mut seq = 0;
        entries.retain(|entry| {
            seq += 1;
            fold.apply(seq, entry)
        });
        Ok(Self { fold, entries })
    }

    /// Adds what it says is given up, and of which cells its latest word is a cancel.
    async fn tell(&self, bucket: &Bucket, found: &mut Found) -> Result<(), CollectError> {
        for entry in &self.entries {
            match &entry.event {
                // Of nearly every sweep nothing was cancelled: the keys of a million cells are not put together for nothing.
                LogEvent::Submit { only, .. } if !found.cancelled.is_empty() => {
                    let again = cells(&found.sweep, only.as_deref());
                    found.cancelled.retain(|cell| !again.contains(cell));
                }
                LogEvent::Cancel { only } => found.cancelled.extend(cells(&found.sweep, only.as_deref())),
                _ => {}
            }
        }
        let given_up = &self.fold.given_up;
        if given_up.is_empty() {
            return Ok(());
        }
        found.given_up.clone_from(given_up);
        // Made meanwhile, by whomever, a variant is given up only where it is to be made again.
        let made = given_up.keys().map(|key| VariantKey(*key)).filter(|key| found.variants.contains_key(key));
        for key in records::list::usable(bucket, made).await? {
            found.given_up.remove(&key.0);
        }
        // What cannot be read limits nothing.
        let wanted = self.fold.wanted(&found.sweep).unwrap_or_default();
        let fallen = canary::fallen(&found.sweep, given_up, wanted.as_ref());
        found.fallen.extend(fallen.into_iter().map(|(cell, code)| (cell.key, code)));
        Ok(())
    }
}

async fn read_all<T: Formatted>(
    bucket: &Bucket,
    paths: impl Iterator<Item = Path>,
) -> Result<Vec<T>, BucketError> {
    // Collected first: a stream over a borrowing iterator would tie the future to it.
    let reads: Vec<_> = paths.map(|path| async move { bucket.read_object::<T>(&path).await }).collect();
    stream::iter(reads).buffered(READS_AT_ONCE).try_filter_map(async |found| Ok(found)).try_collect().await
}
