//! Drives one shard after another through a compute child.

use super::ShardError;
use super::cache::{Held, ModelCache};
use super::scratch::Scratch;
use super::shard::Shard;
use crate::board::{Board, Failed, Order, Shared};
use crate::clock;
use crate::commit;
use crate::compute::child::{Child, ChildOptions, ComputeError};
use crate::compute::protocol::{DeviceInfo, Event, Request, Spent};
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::{CellKey, Digest, InputsDigest, ModelDigest};
use espalier_proto::recipe::Dtype;
use espalier_proto::records::{CellRecord, FailureRecord, RECORD_FORMAT};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A compute child and what it has open.
#[derive(Debug)]
pub(super) struct Warm {
    child: Child,
    model: Option<(PathBuf, ModelDigest, Dtype, bool)>,
    /// Digest of the current variant's weights.
    pub(super) weights: Option<Digest>,
}

/// Executes shards, one after another.
#[derive(Debug)]
pub struct Executor {
    pub(super) options: Options,
    pub(super) held: Option<Held>,
    scratch: Scratch,
    pub(super) warm: Option<Warm>,
    /// How many micro-batches of these inputs may go through this model's blocks together, where more did not fit.
    pub(super) waves: BTreeMap<(ModelDigest, InputsDigest), u32>,
    /// Models whose folders were read and are what they should be.
    pub models: BTreeSet<ModelDigest>,
}

/// What an executor is told at its start.
#[derive(Debug)]
pub struct Options {
    /// How compute children are started.
    pub child: ChildOptions,
    /// Where digests of model files are remembered.
    pub digest_cache: Option<PathBuf>,
    /// Where models are kept whose folders this node does not see.
    pub cache: ModelCache,
    /// Masks of finished blocks are saved while pruning, not more often than this.
    pub save_every: Duration,
}

impl Executor {
    /// Makes a private scratch folder, removed when this is dropped, or after this process's death by the next one.
    pub fn new(options: Options) -> Result<Self, ShardError> {
        let temporary = std::env::temp_dir();
        let scratch = Scratch::new(&temporary)
            .map_err(|source| ShardError::Scratch { path: temporary.display().to_string(), source })?;
        Ok(Self { options, held: None, scratch, warm: None, waves: BTreeMap::new(), models: BTreeSet::new() })
    }

    /// What the device is.
    pub async fn describe(&mut self) -> Result<DeviceInfo, ShardError> {
        let warm = Warm { child: Child::spawn(&self.options.child)?, model: None, weights: None };
        let warm = self.warm.insert(warm);
        match warm.child.ask(&Request::Describe, |_| {}, std::future::pending()).await? {
            Event::Device(info) => Ok(*info),
            event => Err(ShardError::OutOfTurn { event: Box::new(event) }),
        }
    }

    /// How fast the device is on blocks of this width, GFLOP/s. Of the process that [`Self::describe`] started.
    pub async fn measure(&mut self, dtype: Dtype, width: u32) -> Result<f64, ShardError> {
        let warm = match self.warm.take() {
            Some(warm) => warm,
            None => Warm { child: Child::spawn(&self.options.child)?, model: None, weights: None },
        };
        let warm = self.warm.insert(warm);
        let request = Request::Measure { dtype, width };
        match warm.child.ask(&request, |_| {}, std::future::pending()).await? {
            Event::Speed { gflops } => Ok(gflops),
            event => Err(ShardError::OutOfTurn { event: Box::new(event) }),
        }
    }

    /// Does what is asked of a shard, as long as something is asked. Failures are told to the board and left in the bucket.
    pub async fn run(&mut self, order: &Order, bucket: &Bucket, device: &DeviceInfo, shared: &Shared) {
        let shard = Shard { order, bucket, device, shared };
        tracing::info!(attempt = %order.attempt, variant = %order.key.0.short(), method = order.spec.method, "shard begun");
        if let Some(inputs) = &order.canary {
            return match self.canary(&shard, inputs).await {
                Ok(()) => shard.shared.update_if(|board| board.variant_done(&order.attempt)),
                Err(error) => self.failed(&shard, order.key.0, &error).await,
            };
        }
        let weights = match self.variant(&shard).await {
            Ok(weights) => weights,
            Err(error) => return self.failed(&shard, order.key.0, &error).await,
        };
        while let Some(((cell, inputs), news)) = shared.with(|board| board.begin_cell(&order.attempt)) {
            shared.update_if(|_| news);
            match self.cell(&shard, weights, cell, inputs).await {
                Ok(()) => shared.update_soon(|board| board.cell_done(&order.attempt, cell)),
                Err(error) => {
                    self.failed(&shard, cell.0, &error).await;
                    // A new child knows nothing of the variant.
                    if self.warm.is_none()
                        && shard.goes_on()
                        && let Err(error) = self.variant(&shard).await
                    {
                        return self.failed(&shard, order.key.0, &error).await;
                    }
                }
            }
        }
    }

    /// Tells and records a failure, and lets the child go: a leak or a hung device does not outlive it.
    async fn failed(&mut self, shard: &Shard<'_>, key: Digest, error: &ShardError) {
        let damaged = self.damaged_copy(error).await;
        let error = damaged.as_ref().unwrap_or(error);
        if matches!(error, ShardError::Compute(_) | ShardError::OutOfTurn { .. }) {
            self.warm = None;
        }
        if matches!(error, ShardError::Compute(ComputeError::Interrupted)) {
            tracing::info!(attempt = %shard.order.attempt, "shard stopped");
            return;
        }
        let (code, message) = (error.code(), error.chain());
        tracing::error!(attempt = %shard.order.attempt, %key, code = code.as_str(), %message, "failed");
        let record = FailureRecord {
            format: RECORD_FORMAT,
            key,
            attempt: shard.order.attempt.clone(),
            code,
            message: message.clone(),
            fingerprint: shard.device.fingerprint.clone(),
            at: clock::now_rfc3339(),
        };
        let left = async {
            commit::leave_failure(shard.bucket, &record, &shard.order.attempt).await;
            Ok::<_, ShardError>(())
        };
        // The coordinator hears of it all the same.
        if shard.unless_leaving(left).await.is_err() {
            tracing::warn!(%key, "failure could not be recorded before leaving");
        }
        shard.shared.update(|board| board.failed(&shard.order.attempt, Failed { key, code, message }));
    }

    /// Scores one cell and commits it, unless it is in the bucket.
    async fn cell(
        &mut self,
        shard: &Shard<'_>,
        weights: Digest,
        key: CellKey,
        digest: InputsDigest,
    ) -> Result<(), ShardError> {
        if shard.unless_leaving(commit::cell_is_done(shard.bucket, key, weights)).await? {
            return Ok(());
        }
        let (inputs, scores) = (self.scratch_file("inputs.json"), self.scratch_file(commit::SCORES));
        shard.unless_leaving(commit::fetch_inputs(shard.bucket, digest, &inputs)).await?;
        let (outcome, spent) = self.score(shard, digest, (&inputs, &scores)).await?;
        self.copy_is_sound().await?;
        let record = CellRecord {
            format: RECORD_FORMAT,
            key,
            variant: shard.order.key,
            inputs: digest,
            weights,
            attempt: shard.order.attempt.clone(),
            blobs: Vec::new(),
            outcome,
            measured: shard.measured(spent),
        };
        commit::commit_cell(shard.bucket, record, &scores).await?;
        tracing::info!(attempt = %shard.order.attempt, cell = %key.0.short(), "cell committed");
        Ok(())
    }

    /// A child with the shard's model open: the one at hand, or a new one.
    pub(super) async fn open(&mut self, shard: &Shard<'_>, folder: &Path) -> Result<Spent, ShardError> {
        // One that died between two shards is nobody's failure.
        if self.warm.as_mut().is_some_and(|w| !w.child.is_alive()) {
            self.warm = None;
        }
        let spec = &shard.order.spec;
        let model = (folder.to_owned(), spec.model, spec.dtype, spec.tf32);
        if self.warm.as_ref().is_some_and(|w| w.model.as_ref() == Some(&model)) {
            return Ok(Spent::default());
        }
        if self.warm.as_ref().is_none_or(|w| w.model.is_some()) {
            self.warm = None;
            self.warm = Some(Warm { child: Child::spawn(&self.options.child)?, model: None, weights: None });
        }
        let request = Request::Open { folder: folder.to_owned(), dtype: spec.dtype, tf32: spec.tf32 };
        match self.ask(shard, &request, true).await? {
            Event::Opened { spent } => {
                if let Some(warm) = &mut self.warm {
                    warm.model = Some(model);
                }
                Ok(spent)
            }
            event => Err(ShardError::OutOfTurn { event: Box::new(event) }),
        }
    }

    /// Asks the child; `stoppable` work ends when the shard is no longer wanted here.
    pub(super) async fn ask(
        &mut self,
        shard: &Shard<'_>,
        request: &Request,
        stoppable: bool,
    ) -> Result<Event, ShardError> {
        self.ask_and_hear(shard, request, stoppable, &mut |_| {}).await
    }

    /// The same; `hears` is given what the child says on the way besides its progress.
    pub(super) async fn ask_and_hear(
        &mut self,
        shard: &Shard<'_>,
        request: &Request,
        stoppable: bool,
        hears: &mut dyn FnMut(Event),
    ) -> Result<Event, ShardError> {
        let warm = match &mut self.warm {
            Some(warm) => warm,
            slot => {
                slot.insert(Warm { child: Child::spawn(&self.options.child)?, model: None, weights: None })
            }
        };
        let attempt = &shard.order.attempt;
        let told = |event| match event {
            Event::Progress { done, total } => {
                shard.shared.update_if(|board| board.progress(attempt, done, total));
            }
            event => hears(event),
        };
        let unwanted = async {
            if !stoppable {
                std::future::pending::<()>().await;
            }
            shard.shared.until(|board: &Board| !board.goes_on(attempt)).await;
        };
        Ok(warm.child.ask(request, told, unwanted).await?)
    }

    pub(super) fn scratch_file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}
