//! Drives one shard after another through a compute child.

use super::ShardError;
use super::cache::{Held, ModelCache};
use super::shard::Shard;
use crate::board::{Board, Failed, Order, Shared};
use crate::clock;
use crate::commit::{self, Committed};
use crate::compute::child::{Child, ChildOptions, ComputeError};
use crate::compute::protocol::{DeviceInfo, Event, Request, Spent};
use espalier_proto::bucket::Bucket;
use espalier_proto::checkpoint::FILE_NAME;
use espalier_proto::ids::{CellKey, Digest, InputsDigest, ModelDigest};
use espalier_proto::messages::Phase;
use espalier_proto::methods;
use espalier_proto::mirror;
use espalier_proto::model_folder::folder_digest;
use espalier_proto::recipe::Dtype;
use espalier_proto::records::{CellRecord, FailureRecord, RECORD_FORMAT, VariantRecord};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A compute child and what it has open.
#[derive(Debug)]
struct Warm {
    child: Child,
    model: Option<(PathBuf, ModelDigest, Dtype)>,
    /// Digest of the current variant's weights.
    weights: Option<Digest>,
}

/// Executes shards, one after another.
#[derive(Debug)]
pub struct Executor {
    options: ChildOptions,
    /// Where digests of model files are remembered.
    digest_cache: Option<PathBuf>,
    /// Where models are kept whose folders this node does not see.
    cache: ModelCache,
    held: Option<Held>,
    scratch: tempfile::TempDir,
    warm: Option<Warm>,
    /// Models whose folders were read and are what they should be.
    pub models: BTreeSet<ModelDigest>,
}

impl Executor {
    /// Makes a private scratch folder, removed when this is dropped.
    pub fn new(
        options: ChildOptions,
        digest_cache: Option<PathBuf>,
        cache: ModelCache,
    ) -> Result<Self, ShardError> {
        let scratch = tempfile::Builder::new().prefix("espalier-worker-").tempdir().map_err(|source| {
            ShardError::Scratch { path: std::env::temp_dir().display().to_string(), source }
        })?;
        Ok(Self { options, digest_cache, cache, held: None, scratch, warm: None, models: BTreeSet::new() })
    }

    /// What the device is.
    pub async fn describe(&mut self) -> Result<DeviceInfo, ShardError> {
        let warm = Warm { child: Child::spawn(&self.options)?, model: None, weights: None };
        let warm = self.warm.insert(warm);
        match warm.child.ask(&Request::Describe, |_, _| {}, std::future::pending()).await? {
            Event::Device(info) => Ok(*info),
            event => Err(ShardError::OutOfTurn { event: Box::new(event) }),
        }
    }

    /// How fast the device is on blocks of this width, GFLOP/s. Of the process that [`Self::describe`] started.
    pub async fn measure(&mut self, dtype: Dtype, width: u32) -> Result<f64, ShardError> {
        let warm = match self.warm.take() {
            Some(warm) => warm,
            None => Warm { child: Child::spawn(&self.options)?, model: None, weights: None },
        };
        let warm = self.warm.insert(warm);
        let request = Request::Measure { dtype, width };
        match warm.child.ask(&request, |_, _| {}, std::future::pending()).await? {
            Event::Speed { gflops } => Ok(gflops),
            event => Err(ShardError::OutOfTurn { event: Box::new(event) }),
        }
    }

    /// Does what is asked of a shard, as long as something is asked. Failures are told to the board and left in the bucket.
    pub async fn run(&mut self, order: &Order, bucket: &Bucket, device: &DeviceInfo, shared: &Shared) {
        let shard = Shard { order, bucket, device, shared };
        tracing::info!(attempt = %order.attempt, variant = %order.key.0.short(), method = order.spec.method, "shard begun");
        let weights = match self.variant(&shard).await {
            Ok(weights) => weights,
            Err(error) => return self.failed(&shard, order.key.0, &error).await,
        };
        while let Some((cell, inputs)) = shared.with(|board| board.begin_cell(&order.attempt)) {
            shared.tell();
            match self.cell(&shard, weights, cell, inputs).await {
                Ok(()) => shared.update(|board| board.cell_done(&order.attempt, cell)),
                Err(error) => {
                    self.failed(&shard, cell.0, &error).await;
                    // A new child knows nothing of the variant.
                    if self.warm.is_none()
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
        commit::leave_failure(shard.bucket, &record, &shard.order.attempt).await;
        shard.shared.update(|board| board.failed(&shard.order.attempt, Failed { key, code, message }));
    }

    /// Makes the variant current in the child and sees to its record. Gives the digest of the weights that the record names.
    async fn variant(&mut self, shard: &Shard<'_>) -> Result<Digest, ShardError> {
        let order = shard.order;
        shard.check_fit()?;
        shard.phase(Phase::Loading);
        let folder = self.model_folder(shard).await?;
        if let Some(record) = commit::variant_record(shard.bucket, order.key).await? {
            shard.shared.update(|board| board.variant_done(&order.attempt));
            // Where only the record was wanted there is nothing to measure.
            if shard.goes_on() {
                self.rebuild(shard, &folder, &record).await?;
            }
            return Ok(record.weights);
        }
        let mut seconds = self.open(shard, &folder).await?.seconds;
        shard.phase(Phase::Pruning);
        let compact = self.scratch_file(FILE_NAME);
        let calibration = match order.spec.calibration {
            Some(digest) => {
                let file = self.scratch_file("calibration.json");
                commit::fetch_inputs(shard.bucket, digest, &file).await?;
                Some(file)
            }
            None => None,
        };
        let spec = Box::new(order.spec.clone());
        let request = Request::Prune { spec, calibration, compact: compact.clone() };
        let (weights, linears, spent) = match self.ask(shard, &request, true).await? {
            Event::Pruned { weights, linears, spent } => (weights, linears, spent),
            event => {
                return Err(ShardError::OutOfTurn { event: Box::new(event) });
            }
        };
        if let Some(warm) = &mut self.warm {
            warm.weights = Some(weights);
        }
        shard.phase(Phase::Committing);
        add(&mut seconds, &spent.seconds);
        let record = VariantRecord {
            format: RECORD_FORMAT,
            key: order.key,
            spec: order.spec.clone(),
            attempt: order.attempt.clone(),
            blobs: Vec::new(),
            weights,
            linears,
            bytes: 0,
            measured: shard.measured(Spent { seconds, ..spent }),
        };
        let file = (order.spec.method != methods::DENSE).then_some(compact.as_path());
        let committed = commit::commit_variant(shard.bucket, record, file).await?;
        shard.shared.update(|board| board.variant_done(&order.attempt));
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

    /// Scores one cell and commits it, unless it is in the bucket.
    async fn cell(
        &mut self,
        shard: &Shard<'_>,
        weights: Digest,
        key: CellKey,
        digest: InputsDigest,
    ) -> Result<(), ShardError> {
        if commit::cell_is_done(shard.bucket, key, weights).await? {
            return Ok(());
        }
        let (inputs, scores) = (self.scratch_file("inputs.json"), self.scratch_file(commit::SCORES));
        commit::fetch_inputs(shard.bucket, digest, &inputs).await?;
        // A begun cell is finished, whatever the coordinator says meanwhile.
        let request = Request::Evaluate { inputs, scores: scores.clone() };
        let (outcome, spent) = match self.ask(shard, &request, false).await? {
            Event::Scored { outcome, spent } => (outcome, spent),
            event => {
                return Err(ShardError::OutOfTurn { event: Box::new(event) });
            }
        };
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
        let compact = commit::fetch_compact(shard.bucket, record, &file).await?.then_some(file);
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

    /// A child with the shard's model open: the one at hand, or a new one.
    async fn open(&mut self, shard: &Shard<'_>, folder: &Path) -> Result<Spent, ShardError> {
        // One that died between two shards is nobody's failure.
        if self.warm.as_mut().is_some_and(|w| !w.child.is_alive()) {
            self.warm = None;
        }
        let spec = &shard.order.spec;
        let model = (folder.to_owned(), spec.model, spec.dtype);
        if self.warm.as_ref().is_some_and(|w| w.model.as_ref() == Some(&model)) {
            return Ok(Spent::default());
        }
        if self.warm.as_ref().is_none_or(|w| w.model.is_some()) {
            self.warm = None;
            self.warm = Some(Warm { child: Child::spawn(&self.options)?, model: None, weights: None });
        }
        let request = Request::Open { folder: folder.to_owned(), dtype: spec.dtype };
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
    async fn ask(
        &mut self,
        shard: &Shard<'_>,
        request: &Request,
        stoppable: bool,
    ) -> Result<Event, ShardError> {
        let warm = match &mut self.warm {
            Some(warm) => warm,
            slot => slot.insert(Warm { child: Child::spawn(&self.options)?, model: None, weights: None }),
        };
        let attempt = &shard.order.attempt;
        let progress = |done, total| {
            if shard.shared.with(|board| board.progress(attempt, done, total)) {
                shard.shared.tell();
            }
        };
        let unwanted = async {
            if !stoppable {
                std::future::pending::<()>().await;
            }
            shard.shared.until(|board: &Board| !board.goes_on(attempt)).await;
        };
        Ok(warm.child.ask(request, progress, unwanted).await?)
    }

    /// Where the model's files are on this node: the folder of the order if it holds the model, else the cache.
    async fn model_folder(&mut self, shard: &Shard<'_>) -> Result<PathBuf, ShardError> {
        let (folder, model) = (&shard.order.folder, shard.order.spec.model);
        if let Some(held) = self.held.as_ref().filter(|h| h.digest == model) {
            return Ok(held.folder.clone());
        }
        let here = self.check_model(folder, model).await;
        let Err(error) = here else { return Ok(folder.clone()) };
        if mirror::list(shard.bucket, model).await?.is_none() {
            return Err(error);
        }
        self.held = None;
        let held = self.cache.hold(shard.bucket, model).await?;
        self.check_model(&held.folder, model).await?;
        Ok(self.held.insert(held).folder.clone())
    }

    /// Reads the folder's digest.
    async fn check_model(&mut self, folder: &Path, expected: ModelDigest) -> Result<(), ShardError> {
        let (path, cache) = (folder.to_owned(), self.digest_cache.clone());
        let read = tokio::task::spawn_blocking(move || folder_digest(&path, cache.as_deref()));
        let found = read.await.expect("reading files does not panic")?;
        if found != expected {
            return Err(ShardError::ModelChanged { folder: folder.display().to_string(), found, expected });
        }
        self.models.insert(found);
        Ok(())
    }

    fn scratch_file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }
}

/// Adds seconds stage by stage.
fn add(to: &mut BTreeMap<String, f64>, from: &BTreeMap<String, f64>) {
    for (stage, seconds) in from {
        *to.entry(stage.clone()).or_default() += seconds;
    }
}
