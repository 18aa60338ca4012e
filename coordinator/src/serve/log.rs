//! A sweep's log: who owns the sweep and what is wanted of it. The sweep's state is the fold of its log.
//!
//! In: a bucket. Out: [`Fold`]. Who finds a number taken reads that entry, applies it, and takes the next.

use super::epoch::Epoch;
use super::fold::Fold;
use crate::clock;
use crate::inputs::Before;
use espalier_proto::bucket::{Bucket, BucketError, Commit, json_bytes, object, written_by};
use espalier_proto::ids::{Digest, Name};
use espalier_proto::layout;
use espalier_proto::sweep::{LOG_FORMAT, LogEntry, LogEvent, ResolvedSweep};

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

/// The owner is this instance, and there is something to own.
fn owned(fold: &Fold, bucket: &Bucket, me: &Epoch, sweep: &Name) -> Result<(), LogError> {
    let (sweep, bucket) = (sweep.clone(), bucket.url().to_owned());
    match &fold.owner {
        Some(owner) if *owner != me.instance => {
            Err(LogError::Owned { sweep, bucket, owner: owner.clone(), me: me.instance.clone() })
        }
        Some(_) if fold.spec.is_some() => Ok(()),
        _ => Err(LogError::Gone { sweep, bucket }),
    }
}

/// Reads a sweep's log.
pub async fn read(bucket: &Bucket, sweep: &Name) -> Result<Fold, LogError> {
    let mut fold = Fold::default();
    catch_up(bucket, sweep, &mut fold).await?;
    Ok(fold)
}

/// The same, of a log that is whole.
pub async fn read_whole(bucket: &Bucket, sweep: &Name) -> Result<Fold, LogError> {
    let mut fold = Fold::default();
    for (seq, entry) in (1..).zip(entries(bucket, sweep).await?) {
        fold.apply(seq, &entry);
    }
    Ok(fold)
}

/// Every entry of a sweep's log, in order, held against the list of entries: where a store says of one that it is absent, all that follows
/// would be unknown.
pub async fn entries(bucket: &Bucket, sweep: &Name) -> Result<Vec<LogEntry>, BucketError> {
    let mut all = first_entries(bucket, sweep).await?;
    let paths = bucket.list(&layout::log_folder(sweep)).await?;
    let listed = paths.iter().filter_map(layout::parse_log_entry).max().unwrap_or(0);
    if (all.len() as u64) < listed {
        // Another one may just have been written.
        all = first_entries(bucket, sweep).await?;
    }
    if (all.len() as u64) < listed {
        let path = layout::log_entry(sweep, all.len() as u64 + 1).to_string();
        return Err(BucketError::Corrupt {
            path,
            why: format!("it is absent, but entry {listed} is listed"),
        });
    }
    Ok(all)
}

/// The entries of a sweep's log up to the first that is absent.
pub async fn first_entries(bucket: &Bucket, sweep: &Name) -> Result<Vec<LogEntry>, BucketError> {
    let mut all = Vec::new();
    while let Some(entry) = bucket.read_object(&layout::log_entry(sweep, all.len() as u64 + 1)).await? {
        all.push(entry);
    }
    Ok(all)
}

/// What the sweep was resolved to when it was submitted last. `update`: what of it moves is to be resolved anew.
pub async fn before(bucket: &Bucket, sweep: &Name, update: bool) -> Result<Before, LogError> {
    let spec = match read_whole(bucket, sweep).await?.spec {
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
    let mut fold = read_whole(bucket, &sweep.name).await?;
    let mut written = None;
    loop {
        let mine = fold.owner.as_ref() == Some(&me.instance);
        if !mine && !take_over && fold.owner.is_some() {
            owned(&fold, bucket, me, &sweep.name)?;
        }
        let spec = match written {
            Some(spec) => spec,
            None => *written.insert(write_spec(bucket, sweep).await?),
        };
        let said = mine && fold.spec == Some(spec) && fold.parts == fold.submitted(&me.instance, only);
        if said && !fold.cancelled && !fold.doomed && fold.given_up.is_empty() {
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

/// Writes one event to the log of a sweep of this instance, after whatever others wrote meanwhile; what the log says then.
pub async fn write(bucket: &Bucket, me: &Epoch, sweep: &Name, event: LogEvent) -> Result<Fold, LogError> {
    let mut fold = Fold::default();
    write_after(bucket, me, sweep, event, &mut fold).await?;
    Ok(fold)
}

/// The same, going on from what the log said before.
pub(super) async fn write_after(
    bucket: &Bucket,
    me: &Epoch,
    sweep: &Name,
    event: LogEvent,
    fold: &mut Fold,
) -> Result<(), LogError> {
    // The sweep may have been removed since. What else was written is found in the way.
    if fold.last == 0 || !bucket.exists(&layout::log_entry(sweep, fold.last)).await? {
        *fold = read_whole(bucket, sweep).await?;
    }
    loop {
        owned(fold, bucket, me, sweep)?;
        if append(bucket, me, sweep, fold, event.clone()).await? {
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
    use super::super::fold::Part;
    use super::*;
    use espalier_proto::bucket::json_digest;
    use espalier_proto::records::FailureCode;
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
        write(&bucket, &me, &sweep(3).name, LogEvent::Cancel { only: None }).await.unwrap();
        assert!(read(&bucket, &sweep(3).name).await.unwrap().cancelled);
        assert!(!submit(&bucket, &me, &sweep(3), None, false).await.unwrap().cancelled);
    }

    #[tokio::test]
    async fn a_part_adds_to_what_is_wanted_and_stands_alone_once_that_was_stopped_or_is_anothers() {
        let (_folder, bucket) = bucket();
        let (me, other, name) = (epoch("main"), epoch("other"), sweep(3).name);
        let parts = async || read(&bucket, &name).await.unwrap().parts;
        let submitted = async |me: &Epoch, only: Option<&str>, take_over| {
            submit(&bucket, me, &sweep(3), only, take_over).await.unwrap();
            parts().await
        };
        let cancelled = async |only: Option<&str>| {
            let only = only.map(str::to_owned);
            write(&bucket, &me, &name, LogEvent::Cancel { only }).await.unwrap();
            parts().await
        };
        let wanted = |only: &str| Part::Wanted(only.to_owned());
        let unwanted = |only: &str| Part::Unwanted(only.to_owned());
        assert_eq!(submitted(&me, Some("seed=1"), false).await, [wanted("seed=1")]);
        assert_eq!(submitted(&me, Some("seed=2"), false).await, [wanted("seed=1"), wanted("seed=2")]);
        assert_eq!(submitted(&me, Some("seed=1"), false).await, [wanted("seed=1"), wanted("seed=2")]);
        let without = [wanted("seed=1"), wanted("seed=2"), unwanted("seed=1")];
        assert_eq!(cancelled(Some("seed=1")).await, without);
        assert_eq!(cancelled(Some("seed=1")).await, without);
        assert_eq!(submitted(&me, Some("seed=1"), false).await[3..], [wanted("seed=1")], "wanted again");
        assert_eq!(submitted(&me, None, false).await, [], "all");
        assert_eq!(submitted(&me, Some("seed=3"), false).await, [], "it was among all");
        assert_eq!(cancelled(Some("seed=3")).await, [unwanted("seed=3")], "all but that");
        cancelled(None).await;
        assert_eq!(submitted(&me, Some("seed=3"), false).await, [wanted("seed=3")]);
        assert_eq!(submitted(&other, Some("seed=4"), true).await, [wanted("seed=4")]);
    }

    #[tokio::test]
    async fn whoever_lost_a_name_steers_nothing_and_a_removed_sweep_gets_no_entry() {
        let (folder, bucket) = bucket();
        let (me, other, name) = (epoch("main"), epoch("other"), sweep(3).name);
        submit(&bucket, &me, &sweep(3), None, false).await.unwrap();
        submit(&bucket, &other, &sweep(3), None, true).await.unwrap();
        let error =
            write(&bucket, &me, &name, LogEvent::Cancel { only: None }).await.unwrap_err().to_string();
        assert!(error.contains("belongs to instance other, not to main"), "{error}");
        // One that was on its way when the name passed on.
        let mut fold = read(&bucket, &name).await.unwrap();
        assert!(append(&bucket, &me, &name, &mut fold, LogEvent::Cancel { only: None }).await.unwrap());
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
        futures::future::join_all(writers).await.into_iter().for_each(|written| drop(written.unwrap()));
        let fold = read(&bucket, &name).await.unwrap();
        assert_eq!((fold.last, fold.given_up.len()), (13, 12));
    }
}
