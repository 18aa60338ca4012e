//! The supervisor's life with the coordinator: calls `Sync`, takes orders, tells what is held. Holds no tensor.
//!
//! It never stops work because the coordinator is silent: it goes on, commits to the bucket, and keeps calling. It ends when the
//! coordinator says drain, or as [`leave`] decides, finishing the cell that has begun. While its bucket is not found it takes nothing.

use crate::board::{Board, Order, Shared};
use crate::compute::protocol::DeviceInfo;
use crate::execute::Executor;
use crate::journal;
use crate::leave::{self, Ended, Limits};
use crate::probing::{Probed, Prober, Wanted};
use crate::watched::Watch;
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::messages as pb;
use espalier_proto::messages::worker_api_client::WorkerApiClient;
use espalier_proto::recipe::Backend;
use espalier_proto::remote::{self, Credential, PROTOCOL_KEY, ReachError};
use espalier_proto::{methods, protocol};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tracing::Instrument as _;

/// Longest time that a call is waited for: a held-open one lasts 25 s.
const CALL: Duration = Duration::from_secs(40);
/// First and longest pause between calls that fail.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(250), protocol::BACK_OFF);
/// An open call is given this long to answer once there is news.
const GRACE: Duration = Duration::from_millis(200);
/// How long a leaving worker tries to be heard.
const FAREWELL: Duration = Duration::from_secs(5);

/// How often the log of a running shard is put into the bucket.
const LOGS: Duration = Duration::from_secs(30);

/// Why a session ended badly.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The coordinator cannot be called as told.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// The coordinator does not take this worker for one.
    #[error(
        "the coordinator refuses this worker: {why}; expected what `espalier identity` prints for workers"
    )]
    Refused {
        /// What it said.
        why: String,
    },
    /// Something else than a coordinator answers.
    #[error(
        "what listens there is no coordinator: {why}; expected the address that `espalier coordinator` says"
    )]
    Stranger {
        /// What it said.
        why: String,
    },
    /// The coordinator is of a version that does not speak with this one.
    #[error("{why}")]
    Protocol {
        /// What it said.
        why: String,
    },
    /// The bucket cannot be opened.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// This worker sees another bucket than the coordinator.
    #[error(
        "bucket {url}: {path} holds {found:?}, the coordinator left {expected:?} there: this worker does not share its bucket"
    )]
    ForeignBucket {
        /// The bucket.
        url: String,
        /// The probe.
        path: String,
        /// What was found.
        found: Option<String>,
        /// What the coordinator says.
        expected: String,
    },
    /// An answer makes no sense.
    #[error("coordinator's answer: {why}")]
    Answer {
        /// What is wrong.
        why: String,
    },
}

/// What calls.
type Client = WorkerApiClient<InterceptedService<Channel, Credential>>;

/// A page of a shard's log, and the bucket that it goes to.
type Page = (Bucket, object_store::path::Path, bytes::Bytes);

/// How the coordinator is called.
#[derive(Debug)]
pub struct Calls {
    /// Connects by itself.
    pub channel: Channel,
    /// What every call shows.
    pub credential: Credential,
    /// Where it is, as it may be shown.
    pub address: String,
}

/// What calling and executing share besides the board.
#[derive(Debug)]
struct Session {
    shared: Shared,
    bucket: tokio::sync::watch::Sender<Option<Probed>>,
    models: Mutex<Vec<String>>,
    worker_id: String,
    info: pb::WorkerInfo,
    watch: Arc<Watch>,
}

/// What a worker says of itself.
pub fn worker_info(device: &DeviceInfo, host: String, memory_bytes: u64) -> pb::WorkerInfo {
    let backend = match device.backend {
        Backend::Cpu => pb::Backend::Cpu,
        Backend::Cuda => pb::Backend::Cuda,
    };
    pb::WorkerInfo {
        host,
        pid: std::process::id(),
        backend: backend.into(),
        device_name: device.name.clone(),
        device_index: device.index,
        memory_bytes,
        fingerprint: device.fingerprint.clone(),
        stage_versions: methods::stage_versions(),
        threads: device.threads,
        models: Vec::new(),
    }
}

/// Works for the coordinator at the other end of the channel until told to leave; says why it left. `signal` completes on the first SIGTERM or SIGINT.
/// Probes and scrapers are answered on `http`.
pub async fn serve(
    calls: Calls,
    info: pb::WorkerInfo,
    device: DeviceInfo,
    executor: Executor,
    http: Option<TcpListener>,
    limits: Limits,
    signal: impl Future<Output = ()>,
) -> Result<Ended, SessionError> {
    let worker_id = format!("{}-{}-{:x}", info.host, info.pid, crate::clock::micros());
    let bucket = tokio::sync::watch::Sender::new(None);
    let watch = Arc::new(Watch::new(bucket.subscribe()));
    if let Some(http) = http {
        let watched = watch.clone();
        tokio::spawn(async move {
            if let Err(error) = espalier_telemetry::http::serve(http, watched).await {
                tracing::error!(%error, "probes and scrapers can no longer be served");
            }
        });
    }
    let session = Arc::new(Session {
        shared: Shared::default(),
        bucket,
        models: Mutex::default(),
        worker_id,
        info,
        watch,
    });
    let (pages, kept) = mpsc::unbounded_channel();
    let mut keeping = tokio::spawn(keep(kept));
    let ended = std::cell::Cell::new(Ended::Drained);
    let leaving = async {
        ended.set(leave::reason(limits, &session.shared, &session.watch, signal).await);
        tracing::info!(why = ?ended.get(), "leaving: the cell that has begun is finished, the rest goes back");
        session.shared.drain();
        std::future::pending::<()>().await;
    };
    let result = tokio::select! {
        result = call(&session, calls, Prober::new(limits.bucket_timeout)) => result,
        () = execute(&session, executor, device, pages) => Ok(()),
        () = leaving => Ok(()),
    };
    // A page that cannot be written now is lost: work was committed before.
    let _ = tokio::time::timeout(FAREWELL, &mut keeping).await;
    result.map(|()| ended.get())
}

/// Puts pages into the bucket, one after another, so that an older one never replaces a newer one.
async fn keep(mut pages: mpsc::UnboundedReceiver<Page>) {
    while let Some((bucket, path, text)) = pages.recv().await {
        if let Err(error) = bucket.put(&path, text).await {
            tracing::warn!(%error, "the shard's log could not be kept");
        }
    }
}

/// Executes what is held, one shard after another, for ever.
async fn execute(
    session: &Session,
    mut executor: Executor,
    device: DeviceInfo,
    pages: mpsc::UnboundedSender<Page>,
) {
    let mut probed = session.bucket.subscribe();
    loop {
        session.shared.until(|board| !board.draining() && !board.idle()).await;
        let bucket = match probed.wait_for(Option::is_some).await {
            Ok(found) => found.as_ref().expect("waited for one").bucket.clone(),
            Err(_) => return,
        };
        let Some(order) = session.shared.with(|board| board.begin()) else {
            continue;
        };
        let keep = |news: Option<(object_store::path::Path, bytes::Bytes)>| {
            if let Some((path, text)) = news {
                // Its reader lives as long as the session.
                let _ = pages.send((bucket.clone(), path, text));
            }
        };
        journal::begin(order.key, &order.attempt);
        session.watch.begun();
        let (attempt, variant) = (order.attempt.to_string(), order.key.0.short());
        let span = tracing::info_span!("shard", attempt, variant, method = order.spec.method);
        {
            let run = executor.run(&order, &bucket, &device, &session.shared).instrument(span);
            tokio::pin!(run);
            while tokio::time::timeout(LOGS, &mut run).await.is_err() {
                keep(journal::news());
            }
        }
        keep(journal::end());
        session.watch.ended();
        let models = executor.models.iter().map(ToString::to_string).collect();
        *session.models.lock().expect("nothing panics while it holds the list") = models;
        session.shared.update_soon(|board| board.end());
    }
}

/// Calls the coordinator until it is time to leave.
async fn call(session: &Session, calls: Calls, mut prober: Prober) -> Result<(), SessionError> {
    let Calls { channel, credential, address } = calls;
    let mut client: Client = WorkerApiClient::with_interceptor(channel, credential);
    let mut news = session.shared.news();
    let (mut epoch_seen, mut back_off, mut told_to_end) = (0, BACK_OFF.0, false);
    // A newcomer takes nothing before it has seen that it reaches the bucket, of which the first answer tells.
    let (mut farewell, mut said, mut bucketless) = (None, false, true);
    loop {
        let mut silent = false;
        news.borrow_and_update();
        if told_to_end && session.shared.with(|board| board.idle()) {
            session.shared.with(|board| board.drain());
        }
        if session.shared.with(|board| board.leaves()) {
            session.shared.with(|board| board.give_back());
            let since = *farewell.get_or_insert_with(crate::clock::now);
            // Who is told of it need not wonder where the worker is.
            if said && session.shared.with(|board| board.empty()) || since.elapsed() > FAREWELL {
                return Ok(());
            }
        }
        let mut request = session.request(epoch_seen);
        let leaves = request.draining;
        // What it could not begin is not kept from others.
        request.draining |= bucketless;
        let limit = if farewell.is_some() { FAREWELL } else { CALL };
        let sync = tokio::time::timeout(limit, client.sync(request));
        tokio::pin!(sync);
        let answer = tokio::select! {
            answer = &mut sync => Some(answer),
            () = async { let _ = news.changed().await; tokio::time::sleep(GRACE).await } => None,
        };
        let pause = match answer {
            // There is news: the open call is let go and made anew. The call is idempotent.
            None => Duration::ZERO,
            Some(Ok(Ok(answer))) => {
                back_off = BACK_OFF.0;
                said = leaves;
                let answer = answer.into_inner();
                session.watch.answered(answer.work_held_back);
                let pause = Duration::from_millis(u64::from(answer.call_again_ms));
                epoch_seen = epoch_seen.max(answer.epoch);
                told_to_end |= answer.drain;
                bucketless = !session.take(answer, &mut prober).await?;
                if bucketless { BACK_OFF.0 } else { pause }
            }
            // From the first call on: later a token may be on its way.
            Some(Ok(Err(status))) if epoch_seen == 0 && refused(&status) => {
                return Err(SessionError::Refused { why: status.message().to_owned() });
            }
            Some(Ok(Err(status))) if epoch_seen == 0 && status.code() == tonic::Code::Unimplemented => {
                return Err(SessionError::Stranger { why: status.message().to_owned() });
            }
            // Later it may have been upgraded meanwhile: what is held is finished first, and it may be put back.
            Some(Ok(Err(status))) if epoch_seen == 0 && status.metadata().contains_key(PROTOCOL_KEY) => {
                return Err(SessionError::Protocol { why: status.message().to_owned() });
            }
            Some(failed) => {
                let why = match failed {
                    Ok(Err(status)) => match remote::met(&address, &status) {
                        // Later a certificate, its or ours, may just be replaced: what is held is finished first.
                        Some(
                            error @ (ReachError::Certificate { .. }
                            | ReachError::WrongName { .. }
                            | ReachError::OutOfDate { .. }
                            | ReachError::NoTls { .. }
                            | ReachError::NoPlaintext { .. }
                            | ReachError::RefusedCertificate { .. }),
                        ) if epoch_seen == 0 => return Err(error.into()),
                        Some(error) => error.to_string(),
                        None => format!("{}: {}", status.code(), remote::reason(&status)),
                    },
                    _ => format!("no answer in {} s", limit.as_secs()),
                };
                session.watch.unanswered();
                silent = true;
                tracing::warn!(why, "coordinator is silent; work goes on");
                let pause = if leaves { BACK_OFF.0 } else { back_off };
                back_off = (back_off * 2).min(BACK_OFF.1);
                pause
            }
        };
        // Progress is news all the time: to a coordinator that does not answer it can wait.
        let hurry = async {
            while news.changed().await.is_ok() && silent && !session.shared.with(|board| board.leaves()) {}
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = hurry => {}
        }
    }
}

fn refused(status: &tonic::Status) -> bool {
    matches!(status.code(), tonic::Code::Unauthenticated | tonic::Code::PermissionDenied)
}

impl Session {
    fn request(&self, epoch_seen: u64) -> pb::SyncRequest {
        let mut info = self.info.clone();
        info.models = self.models.lock().expect("nothing panics while it holds the list").clone();
        let (shards, draining) = self.shared.with(|board| (board.report(), board.draining()));
        pb::SyncRequest { worker_id: self.worker_id.clone(), info: Some(info), epoch_seen, shards, draining }
    }

    /// Takes an answer, once its bucket is known to be ours; false while it is not.
    async fn take(&self, answer: pb::SyncResponse, prober: &mut Prober) -> Result<bool, SessionError> {
        let (wanted, known) = (Wanted::of(&answer)?, self.bucket.borrow().clone());
        if known.as_ref().is_none_or(|known| known.of != wanted) {
            let leaves = self.shared.until(Board::draining);
            let Some(probed) = prober.find(wanted, known.is_none(), leaves).await? else { return Ok(false) };
            self.bucket.send_replace(Some(probed));
        }
        let mut orders = Vec::with_capacity(answer.shards.len());
        for order in &answer.shards {
            let held = order.attempt.parse().ok().and_then(|id| self.shared.with(|board| board.held(&id)));
            match Order::read(order, held.as_ref()) {
                Ok(order) => orders.push(order),
                // Another version's coordinator: its shard is left to workers that agree with it.
                Err(error) => tracing::error!(%error, attempt = order.attempt, "order cannot be taken"),
            }
        }
        self.shared.order(orders);
        Ok(true)
    }
}
