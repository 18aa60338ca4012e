//! Makes a shard's variant current in the compute child: rebuilt where its record is in the bucket, else pruned and committed.

use super::ShardError;
use super::executor::Executor;
use super::partials::{self, Partials};
use super::shard::Shard;
use crate::commit::{self, Committed};
use crate::compute::protocol::{Event, Request, Save, Spent};
use espalier_proto::checkpoint::FILE_NAME;
use espalier_proto::ids::Digest;
use espalier_proto::messages::Phase;
use espalier_proto::methods;
use espalier_proto::records::{LinearRecord, RECORD_FORMAT, VariantRecord};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What pruning gave.
struct Made {
    weights: Digest,
    linears: BTreeMap<String, LinearRecord>,
    /// The compact checkpoint; none of `dense`.
    compact: Option<PathBuf>,
    resumed_blocks: u32,
    spent: Spent,
}

impl Executor {
    /// Makes the variant current in the child and sees to its record. Gives the digest of the weights that the record names.
    pub(super) async fn variant(&mut self, shard: &Shard<'_>) -> Result<Digest, ShardError> {
        let order = shard.order;
        shard.check_fit()?;
        shard.phase(Phase::Loading);
        let folder = shard.unless_leaving(self.model_folder(shard)).await?;
        let record = shard.unless_leaving(commit::variant_record(shard.bucket, order.key)).await?;
        if let Some(record) = record {
            if shard.unless_leaving(commit::lacks_checkpoint(shard.bucket, &record)).await? {
                self.restore(shard, &folder, &record).await?;
                shard.shared.update_if(|board| board.variant_done(&order.attempt));
                return Ok(record.weights);
            }
            shard.shared.update_if(|board| board.variant_done(&order.attempt));
            // Where only the record was wanted there is nothing to measure.
            if shard.goes_on() {
                self.rebuild(shard, &folder, &record).await?;
            }
            return Ok(record.weights);
        }
        let (made, partials) = self.make_and_save(shard, &folder).await?;
        let Made { weights, linears, compact, resumed_blocks, spent } = made;
        shard.phase(Phase::Committing);
        let mut measured = shard.measured(spent);
        measured.resumed_blocks = resumed_blocks;
        let record = VariantRecord {
            format: RECORD_FORMAT,
            key: order.key,
            spec: order.spec.clone(),
            attempt: order.attempt.clone(),
            blobs: Vec::new(),
            weights,
            linears,
            bytes: 0,
            measured,
        };
        let committed = commit::commit_variant(shard.bucket, record, compact.as_deref()).await?;
        shard.shared.update_if(|board| board.variant_done(&order.attempt));
        partials.remove(shard).await;
        match committed {
            Committed::Theirs(winner) if winner.weights != weights && shard.goes_on() => {
                tracing::info!(attempt = %order.attempt, winner = %winner.attempt, "another attempt's weights are measured");
                self.rebuild(shard, &folder, &winner).await?;
                Ok(winner.weights)
            }
            Committed::Theirs(winner) => Ok(winner.weights),
            Committed::Ours => Ok(weights),
        }
    }

    /// The record is there and its checkpoint is not: what is pruned again must be what the record names.
    async fn restore(
        &mut self,
        shard: &Shard<'_>,
        folder: &Path,
        record: &VariantRecord,
    ) -> Result<(), ShardError> {
        tracing::info!(attempt = %shard.order.attempt, "the checkpoint was dropped, and is pruned again");
        let (made, partials) = self.make_and_save(shard, folder).await?;
        if made.weights != record.weights {
            // Nobody is to go on from masks that gave others.
            partials.remove(shard).await;
            return Err(ShardError::OtherWeights { found: made.weights, expected: record.weights });
        }
        shard.phase(Phase::Committing);
        if let Some(file) = &made.compact {
            commit::restore_compact(shard.bucket, record, file).await?;
        }
        partials.remove(shard).await;
        Ok(())
    }

    /// Prunes, and saves what is finished on the way.
    async fn make_and_save(
        &mut self,
        shard: &Shard<'_>,
        folder: &Path,
    ) -> Result<(Made, Partials), ShardError> {
        let mut partials = Partials::of(shard).await?;
        let made = self.make(shard, folder, &mut partials).await;
        partials.finish(made.is_ok()).await;
        let made = made?;
        if let Err(error) = self.copy_is_sound().await {
            // Nobody is to go on from masks that came of it.
            partials.remove(shard).await;
            return Err(error);
        }
        Ok((made, partials))
    }

    /// Prunes, from the blocks on that an earlier attempt has saved.
    async fn make(
        &mut self,
        shard: &Shard<'_>,
        folder: &Path,
        partials: &mut Partials,
    ) -> Result<Made, ShardError> {
        let spec = &shard.order.spec;
        let mut seconds = self.open(shard, folder).await?.seconds;
        shard.phase(Phase::Pruning);
        let compact = self.scratch_file(FILE_NAME);
        let calibration = match spec.calibration {
            Some(digest) => {
                let file = self.scratch_file("calibration.json");
                shard.unless_leaving(commit::fetch_inputs(shard.bucket, digest, &file)).await?;
                Some(file)
            }
            None => None,
        };
        let resume = self.scratch_file("resume.safetensors");
        let found = async { Ok::<_, ShardError>(partials.furthest(shard, &resume).await) };
        let found = shard.unless_leaving(found).await?;
        let save =
            Save { folder: self.scratch_file(""), every_ms: self.options.save_every.as_millis() as u64 };
        let (resume, before) = found.unzip();
        let request = Request::Prune {
            spec: Box::new(spec.clone()),
            calibration,
            compact: compact.clone(),
            save,
            resume,
        };
        let mut hears = |event| {
            if let Event::Saved(saved) = event {
                partials.save(shard, saved);
            }
        };
        let event = self.ask_and_hear(shard, &request, true, &mut hears).await?;
        let Event::Pruned { weights, linears, resumed, spent } = event else {
            return Err(ShardError::OutOfTurn { event: Box::new(event) });
        };
        if let Some(warm) = &mut self.warm {
            warm.weights = Some(weights);
        }
        partials::add(&mut seconds, &spent.seconds);
        if resumed > 0 {
            partials::add(&mut seconds, &before.unwrap_or_default());
        }
        let compact = (spec.method != methods::DENSE).then_some(compact);
        Ok(Made { weights, linears, compact, resumed_blocks: resumed, spent: Spent { seconds, ..spent } })
    }

    /// Makes a committed variant current.
    async fn rebuild(
        &mut self,
        shard: &Shard<'_>,
        folder: &Path,
        record: &VariantRecord,
    ) -> Result<(), ShardError> {
        self.open(shard, folder).await?;
        if self.warm.as_ref().and_then(|w| w.weights) == Some(record.weights) {
            return Ok(());
        }
        let file = self.scratch_file(FILE_NAME);
        let fetched = shard.unless_leaving(commit::fetch_compact(shard.bucket, record, &file)).await?;
        let compact = fetched.then_some(file);
        let request = Request::Rebuild { compact, weights: record.weights };
        match self.ask(shard, &request, true).await? {
            Event::Rebuilt { .. } => {
                if let Some(warm) = &mut self.warm {
                    warm.weights = Some(record.weights);
                }
                Ok(())
            }
            event => Err(ShardError::OutOfTurn { event: Box::new(event) }),
        }
    }
}
