//! What others did in the bucket while this coordinator runs: sweeps taken over or removed, records deleted by `repair`, `rm` or `gc`.

use super::ending::pause;
use super::epoch::Epoch;
use super::log;
use super::sweeps::{Sweeps, SweepsError};
use crate::clock::Stopwatch;
use crate::records::generation;
use crate::schedule::Event;
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::causes::chain;
use espalier_proto::ids::{Digest, Name};
use espalier_proto::layout;
use object_store::path::Path;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the last looks saw.
#[derive(Debug, Default)]
pub(super) struct Notice {
    /// Sweeps that were not there: let go once that is seen again.
    missing: BTreeSet<Name>,
    /// Sweeps that could not be read, as often as they were tried since.
    tried: BTreeMap<Name, Tried>,
}

#[derive(Debug)]
struct Tried {
    times: u32,
    last: Stopwatch,
    generation: Option<Digest>,
}

/// Whose a sweep is.
enum Whose {
    Ours,
    Others(String),
    Nobodys,
}

impl Notice {
    /// Looks, now and then. What is being submitted or steered just now looks by itself.
    pub(super) async fn look(&mut self, sweeps: &Arc<Sweeps>) {
        let now = generation::current(sweeps.bucket()).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "it cannot be seen whether records were deleted");
            None
        });
        let hearsay = sweeps.driver().hearsay().await;
        sweeps.live().values_mut().for_each(|live| live.look_again(&hearsay));
        self.try_unreadable(sweeps, now);
        for name in sweeps.names() {
            let turn = sweeps.turn(&name);
            let Ok(turn) = turn.try_lock_owned() else { continue };
            match whose(sweeps, &name).await {
                Ok(Whose::Ours) => {
                    self.missing.remove(&name);
                }
                Ok(Whose::Others(owner)) => {
                    self.let_go(sweeps, &name, &format!("the sweep was taken over by instance {owner}"));
                    continue;
                }
                Ok(Whose::Nobodys) if self.missing.insert(name.clone()) => {
                    tracing::warn!(sweep = %name, "the sweep is not in the bucket; if it is not there at the next look either, it is let go");
                    continue;
                }
                Ok(Whose::Nobodys) => {
                    self.let_go(sweeps, &name, "the sweep was removed from the bucket");
                    continue;
                }
                Err(error) => {
                    tracing::warn!(sweep = %name, why = chain(&error), "the sweep's log cannot be read");
                    continue;
                }
            }
            if now.is_some_and(|now| is_to_be_read_again(sweeps, &name, now)) {
                let sweeps = sweeps.clone();
                // Of a large sweep it takes a while, and its turn is kept meanwhile.
                tokio::spawn(async move {
                    if let Err(error) = read_again(&sweeps, &name).await {
                        tracing::warn!(sweep = %name, why = chain(&error), "what was deleted of the sweep cannot be seen");
                    }
                    drop(turn);
                });
            }
        }
    }

    /// Later and later, but at once when records were deleted, as by `repair`.
    fn try_unreadable(&mut self, sweeps: &Arc<Sweeps>, now: Option<Digest>) {
        let names: BTreeSet<Name> = sweeps.unreadable().keys().cloned().collect();
        self.tried.retain(|name, _| names.contains(name));
        for name in names {
            let first = || Tried { times: 1, last: Stopwatch::start(), generation: now };
            let tried = self.tried.entry(name.clone()).or_insert_with(first);
            let due = tried.generation != now || tried.last.elapsed() >= pause(tried.times);
            let Some(turn) = sweeps.turn(&name).try_lock_owned().ok().filter(|_| due) else { continue };
            *tried = Tried { times: tried.times + 1, ..first() };
            let sweeps = sweeps.clone();
            // Of a large sweep it takes a while, and its turn is kept meanwhile.
            tokio::spawn(async move {
                if sweeps.unreadable().contains_key(&name) {
                    sweeps.restore_again(&name).await;
                }
                drop(turn);
            });
        }
    }

    fn let_go(&mut self, sweeps: &Sweeps, name: &Name, why: &str) {
        tracing::warn!(sweep = %name, "{why}");
        self.missing.remove(name);
        sweeps.driver().tell(Event::Forget(name.clone()));
        sweeps.live().remove(name);
    }
}

/// Catches up with the sweep's log.
async fn whose(sweeps: &Sweeps, name: &Name) -> Result<Whose, SweepsError> {
    let Some(mut fold) = sweeps.live().get(name).map(|live| live.fold.clone()) else {
        return Ok(Whose::Ours);
    };
    if is_removed(sweeps.bucket(), sweeps.epoch(), &layout::log_entry(name, fold.last), name).await? {
        return Ok(Whose::Nobodys);
    }
    log::catch_up(sweeps.bucket(), name, &mut fold).await?;
    if fold.owner.as_ref() != Some(&sweeps.epoch().instance) {
        let owner = fold.owner.as_ref().map(Name::to_string).unwrap_or_default();
        return Ok(Whose::Others(owner));
    }
    if let Some(live) = sweeps.live().get_mut(name) {
        live.fold = fold;
    }
    Ok(Whose::Ours)
}

/// The sweep's log has no such entry, while the bucket is the one in which this coordinator took its epoch. A store without its bucket, or
/// something in the store's place, says of everything that it is absent; only of a list it says more.
async fn is_removed(bucket: &Bucket, epoch: &Epoch, entry: &Path, sweep: &Name) -> Result<bool, BucketError> {
    if bucket.exists(entry).await? || bucket.list(&layout::log_folder(sweep)).await?.contains(entry) {
        return Ok(false);
    }
    let same = bucket.read(&layout::epoch(&epoch.instance, epoch.n)).await?.is_some();
    if !same {
        tracing::warn!(%sweep, "neither the sweep nor this coordinator's own epoch is in the bucket, which is taken for away");
    }
    Ok(same)
}

/// Records were deleted since the sweep's were read, or while somebody was at their variants, which nobody is now. A stopped one is read
/// when it is submitted again.
fn is_to_be_read_again(sweeps: &Sweeps, name: &Name, now: Digest) -> bool {
    let status = sweeps.driver().status().borrow().clone();
    if status.view.sweeps.get(name).is_none_or(|view| view.halted) {
        return false;
    }
    let busy: BTreeSet<_> = status.view.attempts.iter().map(|attempt| attempt.variant).collect();
    let live = sweeps.live();
    live.get(name).is_some_and(|live| {
        live.generation != Some(now) || (!live.unlooked.is_empty() && live.unlooked.is_disjoint(&busy))
    })
}

/// Takes the sweep up again from the bucket: what was deleted of it is missing again.
async fn read_again(sweeps: &Sweeps, name: &Name) -> Result<(), SweepsError> {
    let known = sweeps.live().get(name).map(|live| (live.sweep.clone(), live.fold.clone()));
    let Some((sweep, fold)) = known else { return Ok(()) };
    tracing::info!(sweep = %name, "records were deleted from the bucket: the sweep's are read again");
    sweeps.take_up_again(sweep, fold, false).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::epoch;
    use bytes::Bytes;

    #[tokio::test]
    async fn a_sweep_is_removed_only_from_a_bucket_that_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
        let (instance, sweep): (Name, Name) = ("main".parse().unwrap(), "s".parse().unwrap());
        let epoch = epoch::take(&bucket, &instance).await.unwrap();
        let entry = layout::log_entry(&sweep, 1);
        bucket.put(&entry, Bytes::from("{}")).await.unwrap();
        let removed = async || is_removed(&bucket, &epoch, &entry, &sweep).await.unwrap();
        assert!(!removed().await);
        bucket.delete(&entry).await.unwrap();
        assert!(removed().await);
        // As of an empty store in the place of the right one.
        bucket.delete(&layout::epoch(&instance, epoch.n)).await.unwrap();
        assert!(!removed().await);
    }
}
