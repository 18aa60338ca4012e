//! A small coordinator over a real socket, a bucket in a folder, and the built worker.

#[path = "../goldens/mod.rs"]
pub(crate) mod goldens;

use espalier_proto::bucket::{Bucket, json_bytes};
use espalier_proto::ids::{CellKey, Digest, InputsDigest, ModelDigest, VariantKey};
use espalier_proto::inputs::{
    ChoiceItem, Choices, Inputs, OptionInfo, Row, RowOption, Windows, compose_batches,
};
use espalier_proto::messages::worker_api_server::{WorkerApi, WorkerApiServer};
use espalier_proto::messages::{CellOrder, ShardOrder, SyncRequest, SyncResponse};
use espalier_proto::recipe::{Backend, Dtype, Pattern, VariantSpec};
use espalier_proto::records::{CellRecord, VariantRecord};
use espalier_proto::{keys, layout, methods};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio_stream::wrappers::TcpListenerStream;

/// Longest wait for anything in a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Default)]
pub(crate) struct State {
    pub(crate) orders: Vec<ShardOrder>,
    pub(crate) last: Option<SyncRequest>,
    pub(crate) calls: usize,
    /// Answers nobody any more.
    pub(crate) silent: bool,
    /// Says that there is work to come.
    pub(crate) held_back: bool,
}

#[derive(Clone)]
struct Api {
    state: Arc<Mutex<State>>,
    bucket_url: String,
    nonce: String,
}

#[tonic::async_trait]
impl WorkerApi for Api {
    async fn sync(
        &self,
        call: tonic::Request<SyncRequest>,
    ) -> Result<tonic::Response<SyncResponse>, tonic::Status> {
        if self.state.lock().unwrap().silent {
            return Err(tonic::Status::unavailable("silent"));
        }
        let mut state = self.state.lock().unwrap();
        state.last = Some(call.into_inner());
        state.calls += 1;
        Ok(tonic::Response::new(SyncResponse {
            epoch: 1,
            instance: "test".to_owned(),
            bucket_url: self.bucket_url.clone(),
            probe_nonce: self.nonce.clone(),
            shards: state.orders.clone(),
            drain: false,
            call_again_ms: 50,
            work_held_back: state.held_back,
        }))
    }
}

/// A bucket and a coordinator that orders what the test says.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) bucket: Bucket,
    pub(crate) state: Arc<Mutex<State>>,
    pub(crate) url: String,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with_nonce("nonce").await
    }

    pub(crate) async fn with_nonce(told: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
        bucket.probe(&layout::probe(&"test".parse().unwrap(), 1), "nonce").await.unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let api = Api { state: state.clone(), bucket_url: bucket.url().to_owned(), nonce: told.to_owned() };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serve = tonic::transport::Server::builder()
            .add_service(WorkerApiServer::new(api))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(async move { serve.await.unwrap() });
        Self { folder, bucket, state, url }
    }

    /// The coordinator answers no more.
    pub(crate) fn silence(&self) {
        self.state.lock().unwrap().silent = true;
    }

    pub(crate) fn worker(&self) -> Worker {
        self.worker_with(&[], Stdio::inherit())
    }

    /// A worker with more variables, its log where it is told.
    pub(crate) fn worker_with(&self, environment: &[(&str, &str)], log: Stdio) -> Worker {
        let child = Command::new(worker_binary())
            .envs(environment.iter().copied())
            .stderr(log)
            .args(["--coordinator", &self.url, "--threads", "2", "--die-with-parent"])
            .arg("--digest-cache")
            .arg(self.folder.path().join("digests"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Worker(child)
    }

    /// Writes inputs and gives their digest.
    pub(crate) async fn put(&self, inputs: &Inputs) -> InputsDigest {
        let digest = inputs.digest();
        self.bucket.put(&layout::inputs(digest), json_bytes(inputs)).await.unwrap();
        digest
    }

    pub(crate) fn order(
        &self,
        attempt: &str,
        spec: &VariantSpec,
        model: &Path,
        inputs: &[InputsDigest],
    ) -> Vec<CellKey> {
        let key = keys::variant_key(spec);
        let cells: Vec<CellKey> = inputs.iter().map(|i| keys::cell_key(key, *i)).collect();
        let order = ShardOrder {
            attempt: attempt.to_owned(),
            variant_json: serde_json::to_string(spec).unwrap(),
            model_folder: model.display().to_string(),
            cells: cells
                .iter()
                .zip(inputs)
                .map(|(c, i)| CellOrder { cell_key: c.to_string(), inputs_digest: i.to_string() })
                .collect(),
            lease_s: 60,
            variant_wanted: false,
            canary: None,
        };
        let mut state = self.state.lock().unwrap();
        state.orders.retain(|o| o.attempt != attempt);
        state.orders.push(order);
        cells
    }

    /// Waits until the last call of the worker makes this true.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&SyncRequest) -> bool) {
        let start = Instant::now();
        while !self.state.lock().unwrap().last.as_ref().is_some_and(&holds) {
            assert!(start.elapsed() < PATIENCE, "{what}: {:?}", self.state.lock().unwrap().last);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn variant(&self, key: VariantKey) -> Option<VariantRecord> {
        self.bucket.read_json(&layout::variant_record(key)).await.unwrap()
    }

    pub(crate) async fn cell(&self, key: CellKey) -> Option<CellRecord> {
        self.bucket.read_json(&layout::cell_record(key)).await.unwrap()
    }
}

/// The built worker, killed with the test.
pub(crate) struct Worker(pub(crate) Child);

impl Worker {
    pub(crate) fn signal(&self, signal: i32) {
        // SAFETY: a signal to a child that has not been waited for.
        unsafe { libc::kill(self.0.id() as i32, signal) };
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the worker does not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The built worker; `ESPALIER_WORKER_BIN` where the tests were carried to another machine.
pub(crate) fn worker_binary() -> PathBuf {
    std::env::var_os("ESPALIER_WORKER_BIN")
        .map_or_else(|| env!("CARGO_BIN_EXE_espalier-worker").into(), PathBuf::from)
}

pub(crate) fn golden(path: &str) -> PathBuf {
    goldens::root().join(path)
}

pub(crate) fn model_of(folder: &Path) -> ModelDigest {
    espalier_proto::model_folder::folder_digest(folder, None).unwrap()
}

pub(crate) fn dense(model: &Path) -> VariantSpec {
    VariantSpec {
        model: model_of(model),
        method: methods::DENSE.to_owned(),
        params: Default::default(),
        targets: Default::default(),
        calibration: None,
        dtype: Dtype::Float32,
        backend: Backend::Cpu,
        threads: Some(2),
        device_kind: None,
        tf32: false,
    }
}

/// Wanda at this ratio over every linear of the model.
pub(crate) fn wanda(model: &Path, ratio: f64, calibration: InputsDigest) -> VariantSpec {
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    let arch = espalier_proto::families::arch(&config).unwrap();
    let linears = (0..arch.blocks).flat_map(|i| arch.linears(i));
    VariantSpec {
        method: "wanda".to_owned(),
        targets: linears.map(|l| (l.name, Pattern::Ratio(ratio))).collect(),
        calibration: Some(calibration),
        ..dense(model)
    }
}

/// Numbers below `below` that look random and are not.
pub(crate) fn ids(seed: u64, n: usize, below: u32) -> Vec<u32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % u64::from(below)) as u32
    };
    (0..n).map(next).collect()
}

pub(crate) fn windows(n: usize, seqlen: u32, below: u32) -> Windows {
    Windows::new(seqlen, (0..n).map(|i| ids(i as u64 + 1, seqlen as usize, below)).collect())
}

/// Items with options of several lengths; `packed`: one row an item, else a row an option.
pub(crate) fn choices(n: usize, options: usize, below: u32, packed: bool) -> Choices {
    let (mut items, mut rows) = (Vec::new(), Vec::new());
    for i in 0..n {
        let context = ids(100 + i as u64, 5 + i % 7, below);
        let texts: Vec<Vec<u32>> =
            (0..options).map(|o| ids((i * 31 + o) as u64 + 7, 1 + (i + o) % 5, below)).collect();
        let info =
            |t: &Vec<u32>| OptionInfo { chars: 3 * t.len() as u32, tokens: t.len() as u32, truncated: false };
        items.push(ChoiceItem {
            id: format!("q{i}"),
            doc_sha256: Digest::of(&[i as u8]),
            gold: (i % options) as u32,
            options: texts.iter().map(info).collect(),
        });
        let all: Vec<RowOption> =
            texts.into_iter().enumerate().map(|(o, ids)| RowOption { index: o as u32, ids }).collect();
        let row = |options| Row { item: i as u32, context: context.clone(), options };
        match packed {
            true => rows.push(row(all)),
            false => rows.extend(all.into_iter().map(|o| row(vec![o]))),
        }
    }
    let batches = compose_batches(&rows.iter().map(Row::fed_tokens).collect::<Vec<_>>());
    Choices { items, rows, batches, max_len: 32 }
}
