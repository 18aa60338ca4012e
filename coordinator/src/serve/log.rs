//! A sweep's log: who owns the sweep and what is wanted of it. The sweep's state is the fold of its log.
//!
//! In: a bucket. Out: [`Fold`]. Who finds a number taken reads that entry, applies it, and takes the next.

use super::epoch::Epoch;
use crate::clock;
use crate::inputs::Before;
use espalier_proto::bucket::{Bucket, BucketError, Commit, json_bytes, object, written_by};
use espalier_proto::ids::{Digest, Name, VariantKey};
use espalier_proto::layout;
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::{LOG_FORMAT, LogEntry, LogEvent, ResolvedSweep};
use std::collections::{BTreeMap, BTreeSet};

/// Why a log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The name is another's.
    #[error(
        "sweep {sweep} in bucket {bucket} belongs to instance {owner}, not to {me}; take another name, another \
             bucket, or say --take-over"
    )]
    Owned {
        /// The sweep.
        sweep: Name,
        /// The bucket.
        bucket: String,
        /// Whose it is.
        owner: Name,
        /// Who asked.
        me: Name,
    },
    /// Nothing was ever submitted under the name, or it was removed since.
    #[error("bucket {bucket} has no sweep {sweep} any more; submitting it again brings it back")]
    Gone {
        /// The sweep.
        sweep: Name,
        /// The bucket.
        bucket: String,
    },
}

/// The state of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    /// Number of the last entry; 0 if there is none.
    pub last: u64,
    /// The instance that owns the sweep's name.
    pub owner: Option<Name>,
    /// The spec submitted last.
    pub spec: Option<Digest>,
    /// The parts of its grid that were asked for, as `--only` says them; `None`: all of it.
    pub only: Option<Vec<String>>,
    /// Cancelled since the last submission.
    pub cancelled: bool,
    /// Paused; submitting again does not end it.
    pub paused: bool,
    /// Its place among sweeps.
    pub priority: i32,
    /// Keys given up since the last submission or retry, and why.
    pub given_up: BTreeMap<Digest, FailureCode>,
    /// Canaries that have passed.
    pub canaries: BTreeSet<VariantKey>,
}

impl Fold {
    /// Takes in the entry with number `seq`.
    pub fn apply(&mut self, seq: u64, entry: &LogEntry) {
        self.last = seq;
        let owner = self.owner.get_or_insert_with(|| entry.instance.clone());
        let mine = *owner == entry.instance;
        match &entry.event {
            LogEvent::Submit { spec, take_over, only } if mine || *take_over => {
                self.only = self.asked_for(&entry.instance, only.as_deref());
                self.owner = Some(entry.instance.clone());
                self.spec = Some(*spec);
                self.cancelled = false;
                self.given_up.clear();
            }
            // Whoever lost the name meanwhile steers nothing any more.
            _ if !mine => {}
            LogEvent::Submit { .. } => {}
            LogEvent::Cancel => self.cancelled = true,
            LogEvent::Pause => self.paused = true,
            LogEvent::Resume => self.paused = false,
            LogEvent::Priority { priority } => self.priority = *priority,
            LogEvent::Quarantine { key, code } => drop(self.given_up.insert(*key, *code)),
            LogEvent::Canary { key, code: None, .. } => drop(self.canaries.insert(VariantKey(*key))),
            LogEvent::Canary { key, code: Some(code), .. } => drop(self.given_up.insert(*key, *code)),
            LogEvent::Retry { keys } if keys.is_empty() => self.given_up.clear(),
            LogEvent::Retry { keys } => self.given_up.retain(|k, _| !keys.contains(k)),
        }
    }
}

impl Fold {
    /// What is asked for once this instance submits `only`: a part is added to what was asked for before, unless that was stopped or was
    /// another's.
    fn asked_for(&self, instance: &Name, only: Option<&str>) -> Option<Vec<String>> {
        let only = only?;
        let goes_on = self.spec.is_some() && !self.cancelled && self.owner.as_ref() == Some(instance);
        let mut parts = if goes_on { self.only.clone()? } else { Vec::new() };
        if !parts.iter().any(|part| part == only) {
            parts.push(only.to_owned());
        }
        Some(parts)
    }

    /// The owner is this instance, and there is something to own.
    fn owned(&self, bucket: &Bucket, me: &Epoch, sweep: &Name) -> Result<(), LogError> {
        let (sweep, bucket) = (sweep.clone(), bucket.url().to_owned());
        match &self.owner {
            Some(owner) if *owner != me.instance => {
                Err(LogError::Owned { sweep, bucket, owner: owner.clone(), me: me.instance.clone() })
            }
            Some(_) if self.spec.is_some() => Ok(()),
            _ => Err(LogError::Gone { sweep, bucket }),
        }
    }
}

/// Reads a sweep's log.
pub async fn read(bucket: &Bucket, sweep: &Name) -> Result<Fold, LogError> {
    let mut fold = Fold::default();
    catch_up(bucket, sweep, &mut fold).await?;
    Ok(fold)
}

/// What the sweep was resolved to when it was submitted last. `update`: what of it moves is to be resolved anew.
pub async fn before(bucket: &Bucket, sweep: &Name, update: bool) -> Result<Before, LogError> {
    let spec = match read(bucket, sweep).await?.spec {
        None => None,
        Some(spec) => match bucket.read_object(&layout::spec(sweep, spec)).await {
            Err(error @ BucketError::Corrupt { .. }) => {
                tracing::warn!(%sweep, %error, "nothing is known of what the sweep was resolved to before");
                None
            }
            read => read?,
        },
    };
    Ok(Before::new(spec, update))
}

/// Every entry of a sweep's log, in order.
pub async fn entries(bucket: &Bucket, sweep: &Name) -> Result<Vec<LogEntry>, LogError> {
    let mut all = Vec::new();
    while let Some(entry) = bucket.read_object(&layout::log_entry(sweep, all.len() as u64 + 1)).await? {
        all.push(entry);
    }
    Ok(all)
}

/// Applies the entries that came after `fold`.
pub async fn catch_up(bucket: &Bucket, sweep: &Name, fold: &mut Fold) -> Result<(), LogError> {
    // Numbers have no gaps: an entry is only written after its predecessor was found.
    loop {
        let path = layout::log_entry(sweep, fold.last + 1);
        let Some(entry) = bucket.read_object::<LogEntry>(&path).await? else {
            return Ok(());
        };
        fold.apply(fold.last + 1, &entry);
    }
}

/// Submits a resolved sweep, or `only` a part of it: its spec, then the log entry that names it. No entry is written where the log already
/// says so.
pub async fn submit(
    bucket: &Bucket,
    me: &Epoch,
    sweep: &ResolvedSweep,
    only: Option<&str>,
    take_over: bool,
) -> Result<Fold, LogError> {
    let mut fold = read(bucket, &sweep.name).await?;
    let mut written = None;
    loop {
        let mine = fold.owner.as_ref() == Some(&me.instance);
        if !mine && !take_over && fold.owner.is_some() {
            fold.owned(bucket, me, &sweep.name)?;
        }
        let spec = match written {
            Some(spec) => spec,
            None => *written.insert(write_spec(bucket, sweep).await?),
        };
        let said = mine && fold.spec == Some(spec) && fold.only == fold.asked_for(&me.instance, only);
        if said && !fold.cancelled && fold.given_up.is_empty() {
            return Ok(fold);
        }
        let take_over = take_over && !mine && fold.owner.is_some();
        let event = LogEvent::Submit { spec, take_over, only: only.map(str::to_owned) };
        if append(bucket, me, &sweep.name, &mut fold, event).await? {
            return Ok(fold);
        }
    }
}

/// Writes a spec under its digest, also over one that was damaged since.
async fn write_spec(bucket: &Bucket, sweep: &ResolvedSweep) -> Result<Digest, BucketError> {
    let body = json_bytes(sweep);
    let spec = Digest::of(&body);
    let path = layout::spec(&sweep.name, spec);
    if bucket.commit_once(&path, body.clone()).await? == Commit::Won {
        return Ok(spec);
    }
    let there = bucket.read(&path).await?.unwrap_or_default();
    if Digest::of(&there) == spec {
        return Ok(spec);
    }
    match object::<ResolvedSweep>(path.as_ref(), &there) {
        Err(later @ BucketError::Format { .. }) => Err(later),
        _ => {
            tracing::warn!(%path, "what lay there was damaged, and is written anew");
            bucket.put(&path, body).await?;
            Ok(spec)
        }
    }
}

/// Writes one event to the log of a sweep of this instance, after whatever others wrote meanwhile.
pub async fn write(bucket: &Bucket, me: &Epoch, sweep: &Name, event: LogEvent) -> Result<(), LogError> {
    let mut fold = read(bucket, sweep).await?;
    loop {
        fold.owned(bucket, me, sweep)?;
        if append(bucket, me, sweep, &mut fold, event.clone()).await? {
            return Ok(());
        }
    }
}

/// Tries the next number; `false` if another took it, whose entries are then applied to `fold`.
async fn append(
    bucket: &Bucket,
    me: &Epoch,
    sweep: &Name,
    fold: &mut Fold,
    event: LogEvent,
) -> Result<bool, LogError> {
    let entry = LogEntry {
        format: LOG_FORMAT,
        written_by: written_by(),
        instance: me.instance.clone(),
        epoch: me.n,
        at: clock::utc(),
        event,
    };
    let seq = fold.last + 1;
    if bucket.commit_json(&layout::log_entry(sweep, seq), &entry).await? == Commit::Lost {
        catch_up(bucket, sweep, fold).await?;
        return Ok(false);
    }
    fold.apply(seq, &entry);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use espalier_proto::bucket::json_digest;
    use espalier_proto::sweep::{Checkpoints, Limits};

    fn sweep(attempts: u32) -> ResolvedSweep {
        ResolvedSweep {
            format: espalier_proto::sweep::SWEEP_FORMAT,
            written_by: String::new(),
            data: Default::default(),
            revisions: Default::default(),
            name: "demo".parse().unwrap(),
            models: Vec::new(),
            tasks: Vec::new(),
            variants: Vec::new(),
            cells: Vec::new(),
            checkpoints: Checkpoints::Compact,
            limits: Limits { attempts, max_failed_cells: 10 },
        }
    }

    fn epoch(instance: &str) -> Epoch {
        Epoch { instance: instance.parse().unwrap(), n: 1, probe_nonce: String::new() }
    }

    fn bucket() -> (tempfile::TempDir, Bucket) {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
        (folder, bucket)
    }

    #[tokio::test]
    async fn another_instance_is_refused_by_name_and_take_over_passes_the_sweep_on() {
        let (_folder, bucket) = bucket();
        submit(&bucket, &epoch("run.demo"), &sweep(3), None, false).await.unwrap();
        let error = submit(&bucket, &epoch("main"), &sweep(3), None, false).await.unwrap_err().to_string();
        assert!(error.contains("belongs to instance run.demo") && error.contains("--take-over"), "{error}");
        let fold = submit(&bucket, &epoch("main"), &sweep(3), None, true).await.unwrap();
        assert_eq!(fold.owner.as_ref().map(Name::as_str), Some("main"));
        assert!(submit(&bucket, &epoch("run.demo"), &sweep(3), None, false).await.is_err());
    }

    #[tokio::test]
    async fn the_same_sweep_submitted_again_adds_nothing_and_another_spec_replaces_it() {
        let (_folder, bucket) = bucket();
        let me = epoch("run.demo");
        assert_eq!(submit(&bucket, &me, &sweep(3), None, false).await.unwrap().last, 1);
        assert_eq!(submit(&bucket, &me, &sweep(3), None, false).await.unwrap().last, 1);
        let fold = submit(&bucket, &me, &sweep(5), None, false).await.unwrap();
        assert_eq!((fold.last, fold.spec), (2, Some(json_digest(&sweep(5)))));
    }

    #[tokio::test]
    async fn submit_cancel_submit_is_not_submit_submit_cancel() {
        let (_folder, bucket) = bucket();
        let me = epoch("run.demo");
        submit(&bucket, &me, &sweep(3), None, false).await.unwrap();
        write(&bucket, &me, &sweep(3).name, LogEvent::Cancel).await.unwrap();
        assert!(read(&bucket, &sweep(3).name).await.unwrap().cancelled);
        assert!(!submit(&bucket, &me, &sweep(3), None, false).await.unwrap().cancelled);
    }

    #[tokio::test]
    async fn a_part_adds_to_what_was_asked_for_and_stands_alone_once_that_was_stopped_or_is_anothers() {
        let (_folder, bucket) = bucket();
        let (me, other) = (epoch("main"), epoch("other"));
        let asked = async |me: &Epoch, only: Option<&str>, take_over| {
            submit(&bucket, me, &sweep(3), only, take_over).await.unwrap();
            read(&bucket, &sweep(3).name).await.unwrap().only
        };
        let parts = |parts: &[&str]| Some(parts.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(asked(&me, Some("seed=1"), false).await, parts(&["seed=1"]));
        assert_eq!(asked(&me, Some("seed=2"), false).await, parts(&["seed=1", "seed=2"]));
        assert_eq!(asked(&me, Some("seed=1"), false).await, parts(&["seed=1", "seed=2"]));
        assert_eq!(asked(&me, None, false).await, None);
        assert_eq!(asked(&me, Some("seed=3"), false).await, None);
        write(&bucket, &me, &sweep(3).name, LogEvent::Cancel).await.unwrap();
        assert_eq!(asked(&me, Some("seed=3"), false).await, parts(&["seed=3"]));
        assert_eq!(asked(&other, Some("seed=4"), true).await, parts(&["seed=4"]));
    }

    #[tokio::test]
    async fn whoever_lost_a_name_steers_nothing_and_a_removed_sweep_gets_no_entry() {
        let (folder, bucket) = bucket();
        let (me, other, name) = (epoch("main"), epoch("other"), sweep(3).name);
        submit(&bucket, &me, &sweep(3), None, false).await.unwrap();
        submit(&bucket, &other, &sweep(3), None, true).await.unwrap();
        let error = write(&bucket, &me, &name, LogEvent::Cancel).await.unwrap_err().to_string();
        assert!(error.contains("belongs to instance other, not to main"), "{error}");
        // One that was on its way when the name passed on.
        let mut fold = read(&bucket, &name).await.unwrap();
        assert!(append(&bucket, &me, &name, &mut fold, LogEvent::Cancel).await.unwrap());
        assert!(!read(&bucket, &name).await.unwrap().cancelled);
        std::fs::remove_dir_all(folder.path().join("sweeps")).unwrap();
        let error = write(&bucket, &other, &name, LogEvent::Pause).await.unwrap_err().to_string();
        assert!(error.contains("has no sweep demo any more"), "{error}");
    }

    #[tokio::test]
    async fn a_damaged_spec_is_written_anew_when_its_sweep_is_submitted_again() {
        let (folder, bucket) = bucket();
        let me = epoch("main");
        let spec = submit(&bucket, &me, &sweep(3), None, false).await.unwrap().spec.unwrap();
        let path = layout::spec(&sweep(3).name, spec);
        std::fs::write(folder.path().join(path.as_ref()), "{").unwrap();
        assert_eq!(submit(&bucket, &me, &sweep(3), None, false).await.unwrap().last, 1);
        assert_eq!(bucket.read_object::<ResolvedSweep>(&path).await.unwrap(), Some(sweep(3)));
    }

    #[tokio::test]
    async fn of_many_writers_every_entry_is_kept_under_a_number_of_its_own() {
        let (_folder, bucket) = bucket();
        let name: Name = "demo".parse().unwrap();
        submit(&bucket, &epoch("main"), &sweep(3), None, false).await.unwrap();
        let writers = (0..12u8).map(|i| {
            let (bucket, name) = (bucket.clone(), name.clone());
            async move {
                let event = LogEvent::Quarantine { key: Digest::of(&[i]), code: FailureCode::Internal };
                write(&bucket, &epoch("main"), &name, event).await
            }
        });
        futures::future::join_all(writers).await.into_iter().for_each(Result::unwrap);
        let fold = read(&bucket, &name).await.unwrap();
        assert_eq!((fold.last, fold.given_up.len()), (13, 12));
    }
}
