//! What others did in the bucket while this coordinator runs: sweeps taken over or removed, records deleted by `repair`, `rm` or `gc`.

use super::ending::pause;
use super::epoch::Epoch;
use super::fold::Fold;
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
    /// With all that its log says.
    Ours(Box<Fold>),
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
            // What was decided of it and is not written yet the log does not say.
            let Some(_log) = sweeps.driver().orders.unused(&name) else { continue };
            let fold = match whose(sweeps, &name).await {
                Ok(Whose::Ours(fold)) => {
                    self.missing.remove(&name);
                    fold
                }
                Ok(Whose::Others(owner)) => {
                    self.let_go(sweeps, &name, Some(owner));
                    continue;
                }
                Ok(Whose::Nobodys) if self.missing.insert(name.clone()) => {
                    tracing::warn!(sweep = %name, "the sweep is not in the bucket; if it is not there at the next look either, it is let go");
                    continue;
                }
                Ok(Whose::Nobodys) => {
                    self.let_go(sweeps, &name, None);
                    continue;
                }
                Err(error) => {
                    tracing::warn!(sweep = %name, why = chain(&error), "the sweep's log cannot be read");
                    continue;
                }
            };
            if is_other(sweeps, &name, &fold)
                || now.is_some_and(|now| is_to_be_read_again(sweeps, &name, now))
            {
                let sweeps = sweeps.clone();
                // Of a large sweep it takes a while, and its turn is kept meanwhile.
                tokio::spawn(async move {
                    if let Err(error) = read_again(&sweeps, &name, *fold).await {
                        tracing::warn!(sweep = %name, why = chain(&error), "what was done to the sweep in the bucket cannot be seen");
                    }
                    drop(turn);
                });
            } else if !sweeps.driver().orders.is_behind(&name) {
                forgive(sweeps, &name, &fold);
                if let Some(live) = sweeps.live().get_mut(&name) {
                    live.fold = *fold;
                }
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

    /// It is another's now, or was removed.
    fn let_go(&mut self, sweeps: &Sweeps, name: &Name, owner: Option<String>) {
        match &owner {
            Some(owner) => tracing::warn!(sweep = %name, "the sweep was taken over by instance {owner}"),
            None => tracing::warn!(sweep = %name, "the sweep was removed from the bucket"),
        }
        self.missing.remove(name);
        sweeps.gone().insert(name.clone(), owner);
        sweeps.driver().tell(Event::Forget(name.clone()));
        sweeps.live().remove(name);
    }
}

/// Catches up with the sweep's log.
async fn whose(sweeps: &Sweeps, name: &Name) -> Result<Whose, SweepsError> {
    let mut fold = sweeps.live().get(name).map(|live| live.fold.clone()).unwrap_or_default();
    if is_removed(sweeps.bucket(), sweeps.epoch(), &layout::log_entry(name, fold.last), name).await? {
        return Ok(Whose::Nobodys);
    }
    log::catch_up(sweeps.bucket(), name, &mut fold).await?;
    if fold.owner.as_ref() != Some(&sweeps.epoch().instance) {
        let owner = fold.owner.as_ref().map(Name::to_string).unwrap_or_default();
        return Ok(Whose::Others(owner));
    }
    Ok(Whose::Ours(Box::new(fold)))
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

/// The log asks for something else than the schedule was told: what was asked failed, or was broken off, after it was written.
fn is_other(sweeps: &Sweeps, name: &Name, fold: &Fold) -> bool {
    sweeps.live().get(name).is_some_and(|live| !live.fold.wants_as(fold))
}

/// Records were deleted since the sweep's were read, or while somebody was at their variants, which nobody is now.
fn is_to_be_read_again(sweeps: &Sweeps, name: &Name, now: Digest) -> bool {
    let status = sweeps.driver().status().borrow().clone();
    let busy: BTreeSet<_> = status.view.attempts.iter().map(|attempt| attempt.variant).collect();
    let live = sweeps.live();
    live.get(name).is_some_and(|live| {
        live.generation != Some(now) || (!live.unlooked.is_empty() && live.unlooked.is_disjoint(&busy))
    })
}

/// The log says that something is to be tried again, and not what of it was given up since: what the schedule has given up all the same it was not
/// told of.
fn forgive(sweeps: &Sweeps, name: &Name, fold: &Fold) {
    if sweeps.live().get(name).is_none_or(|live| live.fold.retries == fold.retries) {
        return;
    }
    let status = sweeps.driver().status().borrow().clone();
    let Some(view) = status.view.sweeps.get(name) else { return };
    let forgiven = view.failed.iter().filter(|(key, why)| !why.by_canary && !fold.given_up.contains_key(key));
    let keys: Vec<Digest> = forgiven.map(|(key, _)| *key).collect();
    if !keys.is_empty() {
        sweeps.driver().tell(Event::Retry { sweep: name.clone(), keys });
    }
}

/// Takes the sweep up again from the bucket: as its log asks now, and without what was deleted.
async fn read_again(sweeps: &Sweeps, name: &Name, fold: Fold) -> Result<(), SweepsError> {
    let known = sweeps.live().get(name).map(|live| (live.sweep.clone(), live.fold.clone()));
    let Some((sweep, before)) = known else { return Ok(()) };
    tracing::info!(sweep = %name, "what is wanted of the sweep, or what there is of it, has changed in the bucket: it is read again");
    let sweep = match fold.spec {
        Some(spec) if before.spec != Some(spec) => Arc::new(sweeps.spec(name, spec).await?),
        _ => sweep,
    };
    let again = fold.submissions != before.submissions;
    sweeps.take_up_again(sweep, fold, again).await
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
