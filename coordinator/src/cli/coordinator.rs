//! `espalier coordinator`: serves workers and users until it is told to end.

use super::bars::say;
use super::report::render;
use super::run::digests;
use super::{BucketArg, Output, print};
use crate::exit::{Exit, Failure};
use crate::inputs::sources::HubCache;
use crate::serve::daemon::{self, DaemonError};
use crate::serve::log;
use crate::serve::refuse::Refusal;
use crate::serve::submit::Defaults;
use crate::serve::sweep_api::Reporter;
use crate::store::StoreError;
use crate::store::checkpoints::{self, Settled};
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::Name;
use espalier_proto::layout;
use espalier_proto::messages as m;
use espalier_proto::protocol;
use espalier_proto::recipe::Backend;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Serve workers and users: splits submitted sweeps into shards, gives them to workers, writes the reports
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier coordinator --listen 0.0.0.0:7420 --bucket s3://results/llm\n  \
                  espalier-worker --coordinator http://HOST:7420 --device cuda:0     (on every GPU host)\n  \
                  espalier submit sweep.yaml --coordinator http://HOST:7420\n\n\
                  Everything that it knows is in the bucket: kill it and start it again whenever you like."
)]
pub struct Coordinator {
    /// Where to listen. Anyone who can reach it can use it: keep it on a trusted network
    #[arg(long, env = "ESPALIER_LISTEN", default_value = "127.0.0.1:7420", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// Where to answer /healthz, /readyz and /metrics, plain HTTP [default: nowhere]
    #[arg(long, env = "ESPALIER_HTTP", value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// Where results go.
    #[command(flatten)]
    pub bucket: BucketArg,
    /// Whose sweeps these are, in a bucket that several coordinators share
    #[arg(long, env = "ESPALIER_INSTANCE", default_value = "main", value_name = "NAME")]
    pub instance: Name,
    /// What `backend: auto` is [default: what all connected workers are]
    #[arg(long, value_parser = backend, value_name = "cpu|cuda")]
    pub backend: Option<Backend>,
    /// Silence after which a worker is taken for dead and its shards are given to others, in seconds, 10 at least. Shorter wastes less
    /// time after a death; longer wastes less work where the network is slow (a worker never stops because of silence)
    #[arg(long, env = "ESPALIER_LEASE", default_value_t = protocol::LEASE.as_secs(), value_parser = clap::value_parser!(u64).range(LEAST_LEASE..), value_name = "SECONDS")]
    pub lease: u64,
}

/// A worker may be silent for as long while all is well: a call every two seconds, or five seconds' pause after one that failed.
const LEAST_LEASE: u64 = protocol::RECONCILE.as_secs() + protocol::BUSY.as_secs();

fn backend(text: &str) -> Result<Backend, String> {
    match text {
        "cpu" => Ok(Backend::Cpu),
        "cuda" => Ok(Backend::Cuda),
        _ => Err("expected cpu or cuda".to_owned()),
    }
}

/// Serves until SIGTERM or Ctrl-C.
pub async fn run(command: &Coordinator, output: Output) -> Result<Exit, Failure> {
    let bucket = Bucket::connect(&command.bucket.bucket).await?;
    let machine = |what| move |source| Failure::Daemon(DaemonError::Machine { what, source });
    let listener =
        TcpListener::bind(command.listen).await.map_err(machine("the address cannot be listened on"))?;
    let address = listener.local_addr().map_err(machine("the port has no address"))?;
    let http = match command.http {
        Some(at) => Some(TcpListener::bind(at).await.map_err(machine("--http cannot be listened on"))?),
        None => None,
    };
    let watched = http.as_ref().and_then(|http| http.local_addr().ok()).map(|at| format!("http://{at}"));
    let mut terminated =
        signal(SignalKind::terminate()).map_err(machine("SIGTERM cannot be listened for"))?;
    match output {
        Output::Text => say(&format!(
            "coordinator {} listens on http://{address}, bucket {}{}",
            command.instance,
            bucket.url(),
            watched.map(|at| format!("; {at}/metrics")).unwrap_or_default()
        )),
        Output::Json => print::json(
            &json!({"address": format!("http://{address}"), "http": watched, "instance": command.instance.as_str(), "bucket": bucket.url()}),
        ),
    }
    let hub = HubCache::from_env(|name| std::env::var(name).ok());
    let lease = Duration::from_secs(command.lease);
    let defaults = Defaults { backend: command.backend, hub, digests: digests(), lease };
    let stop = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
    };
    daemon::run(listener, http, bucket.clone(), &command.instance, defaults, reporter(bucket), stop).await?;
    say("ended; running workers go on, and the next coordinator of this instance takes them up");
    Ok(Exit::Whole)
}

/// Does what a sweep that is over asks for its checkpoints. What fails is tried again when the sweep is next over, or the next
/// coordinator starts.
async fn settle(bucket: Bucket, name: Name) {
    let settled = async {
        let Some(spec) = log::read(&bucket, &name).await.map_err(StoreError::from)?.spec else {
            return Ok(Settled::default());
        };
        match bucket.read_json(&layout::spec(&name, spec)).await? {
            Some(sweep) => checkpoints::settle(&bucket, &sweep).await,
            None => Ok(Settled::default()),
        }
    };
    match settled.await {
        Ok(Settled { exported: 0, dropped: 0 }) => {}
        Ok(Settled { exported, dropped }) => {
            tracing::info!(sweep = %name, exported, dropped, "checkpoints are as the sweep asks");
        }
        Err(error) => {
            let why = crate::causes::chain(&error);
            tracing::error!(sweep = %name, why, "not all that the sweep asks for its checkpoints is done");
        }
    }
}

fn reporter(bucket: Bucket) -> Reporter {
    Arc::new(move |name, only, keep| {
        let bucket = bucket.clone();
        Box::pin(async move {
            let report = render(&bucket, &name, &only).await.map_err(Refusal::bucket)?;
            if keep {
                crate::report::write::write_report(&bucket, &name, &report).await.map_err(Refusal::bucket)?;
                // Folders of many gigabytes keep nobody waiting.
                tokio::spawn(settle(bucket.clone(), name.clone()));
            }
            let files = report.files.iter().map(|(name, text)| m::ReportFile {
                name: (*name).to_owned(),
                content: text.clone().into_bytes(),
            });
            Ok(m::ReportResponse {
                files: files.collect(),
                measured: report.table.measured as u64,
                cells: report.table.cells as u64,
            })
        })
    })
}
