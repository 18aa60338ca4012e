//! A sweep's log: who owns the sweep and what is wanted of it. The sweep's state is the fold of its log.
//!
//! In: a bucket. Out: [`Fold`]. Who finds a number taken reads that entry, applies it, and takes the next.

use super::epoch::Epoch;
use crate::clock;
use espalier_proto::bucket::{Bucket, BucketError, Commit, json_digest};
use espalier_proto::ids::{Digest, Name, VariantKey};
use espalier_proto::layout;
use espalier_proto::recipe::Backend;
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
        match &entry.event {
            LogEvent::Submit { spec, take_over } => {
                if *take_over {
                    *owner = entry.instance.clone();
                }
                if *owner == entry.instance {
                    self.spec = Some(*spec);
                    self.cancelled = false;
                    self.given_up.clear();
                }
            }
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

/// Reads a sweep's log.
pub async fn read(bucket: &Bucket, sweep: &Name) -> Result<Fold, LogError> {
    let mut fold = Fold::default();
    catch_up(bucket, sweep, &mut fold).await?;
    Ok(fold)
}

/// What `backend: auto` became when the sweep was first submitted; `None` if it never was.
pub async fn first_backend(bucket: &Bucket, sweep: &Name) -> Result<Option<Backend>, LogError> {
    let Some(spec) = read(bucket, sweep).await?.spec else { return Ok(None) };
    let before: Option<ResolvedSweep> = bucket.read_object(&layout::spec(sweep, spec)).await?;
    Ok(before.and_then(|sweep| sweep.variants.first().map(|v| v.spec.backend)))
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

/// Submits a resolved sweep: its spec, then the log entry that names it. Nothing is written where the log already says so.
pub async fn submit(
    bucket: &Bucket,
    me: &Epoch,
    sweep: &ResolvedSweep,
    take_over: bool,
) -> Result<Fold, LogError> {
    let spec = json_digest(sweep);
    let mut fold = read(bucket, &sweep.name).await?;
    loop {
        if let Some(owner) = fold.owner.clone().filter(|o| *o != me.instance && !take_over) {
            let (sweep, bucket) = (sweep.name.clone(), bucket.url().to_owned());
            return Err(LogError::Owned { sweep, bucket, owner, me: me.instance.clone() });
        }
        let mine = fold.owner.as_ref() == Some(&me.instance);
        if mine && fold.spec == Some(spec) && !fold.cancelled && fold.given_up.is_empty() {
            return Ok(fold);
        }
        // Named by content: where it is already there, it is the same.
        bucket.commit_json(&layout::spec(&sweep.name, spec), sweep).await?;
        let take_over = take_over && !mine && fold.owner.is_some();
        if append(bucket, me, &sweep.name, &mut fold, LogEvent::Submit { spec, take_over }).await? {
            return Ok(fold);
        }
    }
}

/// Writes one event to a sweep's log, after whatever others wrote meanwhile.
pub async fn write(bucket: &Bucket, me: &Epoch, sweep: &Name, event: LogEvent) -> Result<(), LogError> {
    let mut fold = read(bucket, sweep).await?;
    while !append(bucket, me, sweep, &mut fold, event.clone()).await? {}
    Ok(())
}

/// Tries the next number; `false` if another took it, whose entries are then applied to `fold`.
async fn append(
    bucket: &Bucket,
    me: &Epoch,
    sweep: &Name,
    fold: &mut Fold,
    event: LogEvent,
) -> Result<bool, LogError> {
    let entry =
        LogEntry { format: LOG_FORMAT, instance: me.instance.clone(), epoch: me.n, at: clock::utc(), event };
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
    use espalier_proto::sweep::{Checkpoints, Limits};

    fn sweep(attempts: u32) -> ResolvedSweep {
        ResolvedSweep {
            format: espalier_proto::sweep::SWEEP_FORMAT,
            written_by: String::new(),
            data: Default::default(),
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
        submit(&bucket, &epoch("run.demo"), &sweep(3), false).await.unwrap();
        let error = submit(&bucket, &epoch("main"), &sweep(3), false).await.unwrap_err().to_string();
        assert!(error.contains("belongs to instance run.demo") && error.contains("--take-over"), "{error}");
        let fold = submit(&bucket, &epoch("main"), &sweep(3), true).await.unwrap();
        assert_eq!(fold.owner.as_ref().map(Name::as_str), Some("main"));
        assert!(submit(&bucket, &epoch("run.demo"), &sweep(3), false).await.is_err());
    }

    #[tokio::test]
    async fn the_same_sweep_submitted_again_adds_nothing_and_another_spec_replaces_it() {
        let (_folder, bucket) = bucket();
        let me = epoch("run.demo");
        assert_eq!(submit(&bucket, &me, &sweep(3), false).await.unwrap().last, 1);
        assert_eq!(submit(&bucket, &me, &sweep(3), false).await.unwrap().last, 1);
        let fold = submit(&bucket, &me, &sweep(5), false).await.unwrap();
        assert_eq!((fold.last, fold.spec), (2, Some(json_digest(&sweep(5)))));
    }

    #[tokio::test]
    async fn submit_cancel_submit_is_not_submit_submit_cancel() {
        let (_folder, bucket) = bucket();
        let me = epoch("run.demo");
        submit(&bucket, &me, &sweep(3), false).await.unwrap();
        write(&bucket, &me, &sweep(3).name, LogEvent::Cancel).await.unwrap();
        assert!(read(&bucket, &sweep(3).name).await.unwrap().cancelled);
        assert!(!submit(&bucket, &me, &sweep(3), false).await.unwrap().cancelled);
    }

    #[tokio::test]
    async fn of_many_writers_every_entry_is_kept_under_a_number_of_its_own() {
        let (_folder, bucket) = bucket();
        let name: Name = "demo".parse().unwrap();
        let writers = (0..12u8).map(|i| {
            let (bucket, name) = (bucket.clone(), name.clone());
            async move {
                let event = LogEvent::Quarantine { key: Digest::of(&[i]), code: FailureCode::Internal };
                write(&bucket, &epoch("main"), &name, event).await
            }
        });
        futures::future::join_all(writers).await.into_iter().for_each(Result::unwrap);
        let fold = read(&bucket, &name).await.unwrap();
        assert_eq!((fold.last, fold.given_up.len()), (12, 12));
    }
}
