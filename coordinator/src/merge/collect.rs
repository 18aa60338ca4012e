//! What the bucket holds of a sweep: its current spec, the records of its grid, quarantines and failures. Reads, decides nothing.
//!
//! In: a bucket and a sweep's name. Out: [`Found`]. The order in which the store answers shows nowhere: everything is kept by key.

use crate::plan::cells::all_chosen;
use crate::records::{self, RecordsError};
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
            cancelled: BTreeSet::new(),
            failures: Vec::new(),
        }
    }
}

/// Reads what `bucket` holds of the sweep called `name`.
pub async fn collect(bucket: &Bucket, name: &Name) -> Result<Found, CollectError> {
    let log = read_log(bucket, name).await?;
    let submitted = log.iter().rev().find_map(|entry| match entry.event {
        LogEvent::Submit { spec, .. } => Some(spec),
        _ => None,
    });
    let Some(digest) = submitted else {
        return Err(unknown(bucket, name).await?);
    };
    let path = layout::spec(name, digest);
    let sweep: ResolvedSweep = bucket.read_object(&path).await?.ok_or_else(|| BucketError::Corrupt {
        path: path.to_string(),
        why: "it is absent, but the sweep's log names it".to_owned(),
    })?;
    let mut found = collect_of(bucket, sweep).await?;
    fold(&log, &mut found);
    Ok(found)
}

/// Reads what `bucket` holds of this grid, whether or not it was ever submitted; its name's log says what is given up.
pub async fn collect_grid(bucket: &Bucket, sweep: ResolvedSweep) -> Result<Found, CollectError> {
    let log = read_log(bucket, &sweep.name).await?;
    let mut found = collect_of(bucket, sweep).await?;
    fold(&log, &mut found);
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

async fn read_log(bucket: &Bucket, name: &Name) -> Result<Vec<LogEntry>, CollectError> {
    let paths = bucket.list(&layout::log_folder(name)).await?;
    let last = paths.iter().filter_map(layout::parse_log_entry).max().unwrap_or(0);
    let mut log = Vec::new();
    for n in 1..=last {
        let path = layout::log_entry(name, n);
        // Without it what follows says something else.
        let gone = || BucketError::Corrupt {
            path: path.to_string(),
            why: format!("it is absent, but entry {last} is listed"),
        };
        log.push(bucket.read_object::<LogEntry>(&path).await?.ok_or_else(gone)?);
    }
    // Whoever lost the name, and did not know it yet, said nothing that counts.
    let mut owner: Option<Name> = None;
    log.retain(|entry| {
        let owner = owner.get_or_insert_with(|| entry.instance.clone());
        if matches!(entry.event, LogEvent::Submit { take_over: true, .. }) {
            *owner = entry.instance.clone();
        }
        *owner == entry.instance
    });
    Ok(log)
}

/// The cells of a part of the grid, as `--only` says it; of none that cannot be read.
fn cells(sweep: &ResolvedSweep, only: Option<&str>) -> BTreeSet<CellKey> {
    only.unwrap_or_default().parse().map(|only| all_chosen(sweep, &only)).unwrap_or_default()
}

/// What the log says about giving up: quarantines since a key's last retry, none from an epoch that was over by then.
fn fold(log: &[LogEntry], found: &mut Found) {
    let mut epochs: BTreeMap<&Name, u64> = BTreeMap::new();
    let mut fell: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
    for entry in log {
        let epoch = epochs.entry(&entry.instance).or_default();
        *epoch = entry.epoch.max(*epoch);
        match &entry.event {
            LogEvent::Submit { only, .. } => {
                // Whoever submits asks for all that was given up.
                found.given_up.clear();
                // Of nearly every sweep nothing was cancelled: the keys of a million cells are not put together for nothing.
                if !found.cancelled.is_empty() {
                    let again = cells(&found.sweep, only.as_deref());
                    found.cancelled.retain(|cell| !again.contains(cell));
                }
            }
            LogEvent::Cancel { only } => found.cancelled.extend(cells(&found.sweep, only.as_deref())),
            LogEvent::Pause | LogEvent::Resume | LogEvent::Priority { .. } | LogEvent::Stop => {}
            LogEvent::Quarantine { .. } if entry.epoch < *epoch => {}
            LogEvent::Quarantine { key, code } => drop(found.given_up.insert(*key, *code)),
            LogEvent::Canary { .. } if entry.epoch < *epoch => {}
            LogEvent::Canary { code: None, .. } => {}
            LogEvent::Canary { key, model, code: Some(code) } => {
                let of_model = found.sweep.variants.iter().filter(|v| v.spec.model == *model);
                let lost = of_model.filter(|v| !found.variants.contains_key(&v.key)).map(|v| v.key.0);
                let lost: Vec<Digest> = lost.collect();
                found.given_up.extend(lost.iter().map(|variant| (*variant, *code)));
                fell.insert(*key, lost);
            }
            LogEvent::Retry { keys } if keys.is_empty() => found.given_up.clear(),
            LogEvent::Retry { keys } => {
                for key in keys {
                    found.given_up.remove(key);
                    // Whoever tries a canary again tries what fell with it.
                    for variant in fell.remove(key).into_iter().flatten() {
                        found.given_up.remove(&variant);
                    }
                }
            }
        }
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
