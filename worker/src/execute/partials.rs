//! Masks of finished blocks between the compute child and the bucket: saved while a variant is pruned, gone on from by a later
//! attempt on a device of the same kind, removed once the variant's record is there.
//!
//! They save time and decide nothing: what cannot be read, or is not what it says, is ignored with a warning and pruned anew.

use super::ShardError;
use super::shard::Shard;
use crate::compute::protocol::{Resume, Saved};
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::checkpoint::{Compact, Partial};
use espalier_proto::ids::VariantKey;
use espalier_proto::layout::{self, PartialPlace};
use espalier_proto::methods;
use espalier_proto::recipe::VariantSpec;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tracing::Instrument;

/// What was saved while pruning failed is given this long to reach the bucket.
const LAST_UPLOADS: Duration = Duration::from_secs(10);

/// Seconds by stage.
type Seconds = BTreeMap<String, f64>;

/// What the bucket holds of a variant that is not pruned yet, and what this attempt adds.
pub(super) struct Partials {
    there: Vec<PartialPlace>,
    /// There is something to remove.
    left: bool,
    saver: Option<(mpsc::UnboundedSender<Saved>, JoinHandle<()>)>,
}

impl Partials {
    /// Looks what earlier attempts have left.
    pub(super) async fn of(shard: &Shard<'_>) -> Result<Self, ShardError> {
        let nothing = Self { there: Vec::new(), left: false, saver: None };
        if shard.order.spec.method == methods::DENSE {
            return Ok(nothing);
        }
        match shard.unless_leaving(shard.bucket.list(&layout::partials(shard.order.key))).await {
            Ok(paths) => {
                let there = paths.iter().filter_map(PartialPlace::parse).collect();
                Ok(Self { there, left: !paths.is_empty(), saver: None })
            }
            Err(error @ ShardError::Compute(_)) => Err(error),
            Err(error) => {
                tracing::warn!(why = error.chain(), "saved masks cannot be looked for");
                Ok(nothing)
            }
        }
    }

    /// The longest row of blocks from the first one that devices of this kind have saved, by whatever attempts: written to `file`, with
    /// the seconds that they took.
    pub(super) async fn furthest(&self, shard: &Shard<'_>, file: &Path) -> Option<(Resume, Seconds)> {
        let order = shard.order;
        let (mut blocks, mut seconds) = (0, Seconds::new());
        let mut compact =
            Compact { model: order.spec.model, dtype: order.spec.dtype, masks: BTreeMap::new() };
        let ours = |place: &&PartialPlace| {
            let PartialPlace { attempt, from, to, .. } = place;
            **place == PartialPlace::new(attempt.clone(), (*from, *to), &shard.device.fingerprint)
        };
        let mut places: Vec<&PartialPlace> = self.there.iter().filter(ours).collect();
        // Of those that go on from a block the one that goes furthest comes first.
        places.sort_by_key(|place| std::cmp::Reverse(place.to));
        while let Some(at) = places.iter().position(|p| p.from <= blocks && blocks < p.to) {
            let place = places.remove(at);
            match read(shard, place).await {
                Ok(partial) => {
                    blocks = partial.to;
                    compact.masks.extend(partial.compact.masks);
                    add(&mut seconds, &partial.seconds);
                }
                Err(why) => {
                    let path = place.path(order.key);
                    tracing::warn!(%path, why, "saved masks are ignored");
                }
            }
        }
        if blocks == 0 {
            return None;
        }
        if let Err(error) = tokio::fs::write(file, compact.encode()).await {
            tracing::warn!(%error, path = %file.display(), "saved masks cannot be laid ready");
            return None;
        }
        tracing::info!(attempt = %order.attempt, blocks, "pruning goes on from saved masks");
        Some((Resume { file: file.to_owned(), blocks }, seconds))
    }

    /// Takes masks of finished blocks to the bucket, beside the pruning.
    pub(super) fn save(&mut self, shard: &Shard<'_>, saved: Saved) {
        self.left = true;
        let (sender, _) = self.saver.get_or_insert_with(|| {
            let (sender, mut files) = mpsc::unbounded_channel::<Saved>();
            let (bucket, key) = (shard.bucket.clone(), shard.order.key);
            let (attempt, fingerprint) = (shard.order.attempt.clone(), shard.device.fingerprint.clone());
            let upload_all = async move {
                while let Some(saved) = files.recv().await {
                    let blocks = (saved.from, saved.to);
                    let place = PartialPlace::new(attempt.clone(), blocks, &fingerprint);
                    match upload(&bucket, key, &place, &fingerprint, saved).await {
                        Ok(()) => tracing::info!(%attempt, from = blocks.0, to = blocks.1, "masks saved"),
                        Err(why) => tracing::warn!(%attempt, why, "masks of finished blocks cannot be saved"),
                    }
                }
            };
            // Its lines belong to the attempt's span.
            (sender, tokio::spawn(upload_all.in_current_span()))
        });
        // The task ends only when this sender does.
        let _ = sender.send(saved);
    }

    /// Pruning has ended: where it succeeded nobody needs what is on its way.
    pub(super) async fn finish(&mut self, pruned: bool) {
        let Some((sender, mut task)) = self.saver.take() else { return };
        drop(sender);
        // A task that was waited for to its end must not be waited for again.
        if pruned || tokio::time::timeout(LAST_UPLOADS, &mut task).await.is_err() {
            task.abort();
            // Nothing is written after this.
            let _ = task.await;
        }
    }

    /// The variant's record is there: nobody goes on from these.
    pub(super) async fn remove(self, shard: &Shard<'_>) {
        if !self.left {
            return;
        }
        let removed = async {
            for path in shard.bucket.list(&layout::partials(shard.order.key)).await? {
                shard.bucket.delete(&path).await?;
            }
            Ok::<_, BucketError>(())
        };
        // What stays is removed by `espalier gc`.
        if let Err(error) = shard.unless_leaving(removed).await {
            tracing::warn!(why = error.chain(), "saved masks cannot be removed");
        }
    }
}

/// Saved masks, if they are what their place says.
async fn read(shard: &Shard<'_>, place: &PartialPlace) -> Result<Partial, String> {
    let key = shard.order.key;
    let bytes = shard.bucket.read(&place.path(key)).await.map_err(|e| e.to_string())?;
    let bytes = bytes.ok_or("they are gone")?;
    let partial = Partial::decode(&bytes).map_err(|e| e.to_string())?;
    let VariantSpec { model, dtype, .. } = &shard.order.spec;
    let fits = partial.key == key
        && partial.fingerprint == shard.device.fingerprint
        && (partial.from, partial.to) == (place.from, place.to)
        && (partial.compact.model, partial.compact.dtype) == (*model, *dtype);
    if fits { Ok(partial) } else { Err("they are of something else".to_owned()) }
}

/// Puts a scratch file's masks at their place.
async fn upload(
    bucket: &Bucket,
    key: VariantKey,
    place: &PartialPlace,
    fingerprint: &str,
    saved: Saved,
) -> Result<(), String> {
    let file = tokio::fs::read(&saved.file).await.map_err(|e| format!("{}: {e}", saved.file.display()))?;
    // The child has written it, and its name is its blocks': a file left behind is written over by the next attempt.
    let _ = tokio::fs::remove_file(&saved.file).await;
    let compact = Compact::decode(&file).map_err(|e| e.to_string())?;
    let Saved { from, to, seconds, .. } = saved;
    let partial = Partial { key, fingerprint: fingerprint.to_owned(), from, to, seconds, compact };
    bucket.commit_once(&place.path(key), partial.encode()).await.map_err(|e| e.to_string())?;
    Ok(())
}

/// Adds seconds stage by stage.
pub(super) fn add(to: &mut Seconds, from: &Seconds) {
    for (stage, seconds) in from {
        *to.entry(stage.clone()).or_default() += seconds;
    }
}
