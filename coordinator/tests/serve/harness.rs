//! A small sweep, records as a worker would write them, and a worker that commits without computing.

use espalier_proto::bucket::Bucket;
use espalier_proto::ids::{AttemptId, CellKey, Digest, InputsDigest, ModelDigest, VariantKey};
use espalier_proto::inputs::{Inputs, Windows};
use espalier_proto::keys::{canary_key, cell_key, variant_key};
use espalier_proto::messages as m;
use espalier_proto::messages::worker_api_client::WorkerApiClient;
use espalier_proto::recipe::{Backend, Dtype, Pattern, VariantSpec};
use espalier_proto::records::{CellRecord, Measured, Outcome, RECORD_FORMAT, VariantRecord};
use espalier_proto::sweep::{
    CellEntry, Checkpoints, Limits, ModelEntry, ResolvedSweep, SWEEP_FORMAT, TaskEntry, TaskKind,
    VariantEntry,
};
use espalier_proto::{layout, methods};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::transport::Channel;

/// A bucket in a folder of its own.
pub(crate) fn bucket() -> (tempfile::TempDir, Bucket) {
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
    (folder, bucket)
}

/// `variants` magnitude variants of one model, each with `tasks` tasks. Its inputs are written to the bucket.
pub(crate) async fn sweep(bucket: &Bucket, variants: usize, tasks: usize) -> ResolvedSweep {
    let model = ModelEntry {
        id: "m".into(),
        source: "/m".into(),
        digest: ModelDigest(Digest::of(b"m")),
        folder: "/m".into(),
        family: "phi".into(),
        stored: Dtype::Float32,
        dtype: Dtype::Float32,
        adds_bos: false,
        vocab: 10,
        parameters: 1000,
        prunable: 900,
        blocks: 2,
    };
    let mut inputs = Vec::new();
    for task in 0..tasks {
        let windows = Inputs::Perplexity(Windows::new(4, vec![vec![task as u32 % 10; 4]; 2 + task]));
        let body = espalier_proto::bucket::json_bytes(&windows);
        bucket.commit_once(&layout::inputs(windows.digest()), body).await.unwrap();
        inputs.push(windows.digest());
    }
    let variants: Vec<VariantEntry> = (0..variants).map(|v| variant(&model, v)).collect();
    let cells = variants.iter().flat_map(|v| {
        inputs.iter().enumerate().map(|(t, digest)| CellEntry {
            key: cell_key(v.key, *digest),
            variant: v.key,
            task: format!("task{t}"),
            inputs: *digest,
        })
    });
    ResolvedSweep {
        format: SWEEP_FORMAT,
        written_by: String::new(),
        data: Default::default(),
        revisions: Default::default(),
        name: "demo".parse().unwrap(),
        cells: cells.collect(),
        variants,
        models: vec![model],
        tasks: (0..tasks).map(task).collect(),
        checkpoints: Checkpoints::Compact,
        limits: Limits { attempts: 3, max_failed_cells: 10 },
    }
}

fn variant(model: &ModelEntry, v: usize) -> VariantEntry {
    let ratio = (v + 1) as f64 / 100.0;
    let spec = VariantSpec {
        model: model.digest,
        method: "magnitude".into(),
        params: BTreeMap::new(),
        targets: [("model.layers.0.mlp.fc1".to_owned(), Pattern::Ratio(ratio))].into(),
        calibration: None,
        dtype: Dtype::Float32,
        backend: Backend::Cpu,
        threads: Some(2),
        device_kind: None,
        tf32: false,
    };
    VariantEntry {
        key: variant_key(&spec),
        spec,
        model: model.id.clone(),
        name: format!("magnitude-{ratio}"),
        sparsity: ratio.to_string(),
        target_sparsity: ratio,
        calibration: None,
        seed: None,
    }
}

fn task(t: usize) -> TaskEntry {
    TaskEntry {
        label: format!("task{t}"),
        task: format!("task{t}"),
        style: String::new(),
        kind: TaskKind::Perplexity,
        reasoning: None,
        split: "test".into(),
        fewshot: 0,
        seqlen: 4,
        metrics: vec!["ppl_token@4".into()],
        chance: None,
        limited: false,
    }
}

fn measured() -> Measured {
    Measured {
        fingerprint: "fake".into(),
        device: "fake".into(),
        seconds: BTreeMap::new(),
        peak_alloc_mib: None,
        peak_device_mib: None,
        rss_mib: 1.0,
        joules: None,
        ended: "2026-01-01T00:00:00Z".into(),
        resumed_blocks: 0,
    }
}

/// A variant's record.
pub(crate) fn variant_record(spec: &VariantSpec, attempt: &str) -> VariantRecord {
    let key = variant_key(spec);
    VariantRecord {
        format: RECORD_FORMAT,
        key,
        spec: spec.clone(),
        attempt: attempt.parse().unwrap(),
        blobs: Vec::new(),
        weights: Digest::of(key.to_string().as_bytes()),
        linears: BTreeMap::new(),
        bytes: 0,
        measured: measured(),
    }
}

/// Writes a variant's record.
pub(crate) async fn commit_variant(bucket: &Bucket, spec: &VariantSpec, attempt: &str) {
    let record = variant_record(spec, attempt);
    bucket.commit_json(&layout::variant_record(record.key), &record).await.unwrap();
}

/// A cell's record.
pub(crate) fn cell_record(variant: VariantKey, inputs: InputsDigest, attempt: &str) -> CellRecord {
    CellRecord {
        format: RECORD_FORMAT,
        key: cell_key(variant, inputs),
        variant,
        inputs,
        weights: Digest::of(variant.to_string().as_bytes()),
        attempt: attempt.parse::<AttemptId>().unwrap(),
        blobs: Vec::new(),
        outcome: Outcome::Perplexity { seqlen: 4, windows: 2, tokens: 6, window_nll: vec![1.0, 2.0] },
        measured: measured(),
    }
}

/// Writes a cell's record.
pub(crate) async fn commit_cell(bucket: &Bucket, variant: VariantKey, inputs: InputsDigest, attempt: &str) {
    let record = cell_record(variant, inputs, attempt);
    bucket.commit_json(&layout::cell_record(record.key), &record).await.unwrap();
}

/// A worker's end of the wire, for tests that decide each call.
pub(crate) struct Wire {
    client: WorkerApiClient<Channel>,
    id: String,
}

impl Wire {
    pub(crate) async fn connect(url: &str, id: &str) -> Self {
        Self { client: WorkerApiClient::connect(url.to_owned()).await.unwrap(), id: id.to_owned() }
    }

    pub(crate) async fn sync(
        &mut self,
        shards: Vec<m::ShardReport>,
    ) -> Result<m::SyncResponse, tonic::Status> {
        self.sync_at(shards, 0).await
    }

    pub(crate) async fn sync_at(
        &mut self,
        shards: Vec<m::ShardReport>,
        epoch: u64,
    ) -> Result<m::SyncResponse, tonic::Status> {
        let info = m::WorkerInfo {
            host: "here".into(),
            pid: std::process::id(),
            backend: m::Backend::Cpu.into(),
            memory_bytes: 1 << 30,
            fingerprint: "fake".into(),
            stage_versions: methods::stage_versions(),
            threads: 2,
            ..Default::default()
        };
        let request = m::SyncRequest {
            worker_id: self.id.clone(),
            info: Some(info),
            epoch_seen: epoch,
            shards,
            draining: false,
        };
        self.client.sync(request).await.map(tonic::Response::into_inner)
    }
}

/// What a worker says of an order that it has taken.
pub(crate) fn report(order: &m::ShardOrder, phase: m::Phase) -> m::ShardReport {
    let spec: VariantSpec = serde_json::from_str(&order.variant_json).unwrap();
    let inputs = |canary: &m::CanaryOrder| canary.inputs_digests.iter().map(|d| d.parse().unwrap()).collect();
    let key = match &order.canary {
        Some(canary) => canary_key(&spec, &inputs(canary)),
        None => variant_key(&spec),
    };
    m::ShardReport {
        variant_key: key.to_string(),
        attempt: order.attempt.clone(),
        phase: phase.into(),
        ..Default::default()
    }
}

/// How a fake worker misbehaves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Habits {
    /// Waits so long before each piece of work.
    pub slow: Duration,
    /// Cells of this inputs fail.
    pub fails: Option<InputsDigest>,
    /// Ends at once, if this file is not there yet; makes it.
    pub dies_once: Option<std::path::PathBuf>,
}

/// Takes orders and commits records until it is told to drain.
pub(crate) async fn work(url: &str, id: &str, habits: &Habits) {
    let mut wire = Wire::connect(url, id).await;
    let mut held: BTreeMap<String, m::ShardReport> = BTreeMap::new();
    let mut specs: BTreeMap<String, m::ShardOrder> = BTreeMap::new();
    loop {
        let Ok(answer) = wire.sync(held.values().cloned().collect()).await else {
            return;
        };
        let bucket = Bucket::open(&answer.bucket_url).unwrap();
        held.retain(|attempt, _| answer.shards.iter().any(|o| o.attempt == *attempt));
        specs.retain(|attempt, _| held.contains_key(attempt));
        if answer.drain && answer.shards.is_empty() {
            return;
        }
        for order in &answer.shards {
            // What is held is not described again.
            let known = specs.entry(order.attempt.clone()).or_insert_with(|| order.clone());
            let (variant_json, canary) = (known.variant_json.clone(), known.canary.clone());
            let order = &m::ShardOrder { variant_json, canary, ..order.clone() };
            if let Some(path) = habits.dies_once.as_ref().filter(|p| !p.exists()) {
                std::fs::write(path, "").unwrap();
                std::process::exit(1);
            }
            tokio::time::sleep(habits.slow).await;
            let state = held.entry(order.attempt.clone()).or_insert_with(|| report(order, m::Phase::Loading));
            advance(&bucket, order, state, habits).await;
        }
    }
}

async fn advance(bucket: &Bucket, order: &m::ShardOrder, state: &mut m::ShardReport, habits: &Habits) {
    let spec: VariantSpec = serde_json::from_str(&order.variant_json).unwrap();
    if order.canary.is_some() {
        state.variant_done = true;
        state.phase = m::Phase::Finished.into();
        return;
    }
    if !state.variant_done {
        commit_variant(bucket, &spec, &order.attempt).await;
        state.variant_done = true;
        state.phase = m::Phase::Evaluating.into();
        return;
    }
    let settled = |state: &m::ShardReport, key: &String| {
        state.cells_done.contains(key) || state.failures.iter().any(|f| f.key == *key)
    };
    let Some(cell) = order.cells.iter().find(|c| !settled(state, &c.cell_key)) else {
        state.phase = m::Phase::Finished.into();
        return;
    };
    let inputs: InputsDigest = cell.inputs_digest.parse().unwrap();
    if habits.fails == Some(inputs) {
        state.failures.push(m::Failure {
            key: cell.cell_key.clone(),
            kind: m::FailureKind::CellError.into(),
            code: "non_finite_scores".into(),
            message: "item 3 scores NaN".into(),
        });
        return;
    }
    commit_cell(bucket, variant_key(&spec), inputs, &order.attempt).await;
    state.cells_done.push(cell.cell_key.parse::<CellKey>().unwrap().to_string());
}
