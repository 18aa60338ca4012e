//! `espalier coordinator`: serves workers and users until it is told to end.

use super::bars::say;
use super::identity::{Advertised, authority, by_certificate, default_folder, host, lines};
use super::prepare::environment;
use super::report::render;
use super::work::digests;
use super::{BucketArg, Output, PriceArg, print};
use crate::exit::{Exit, Failure};
use crate::inputs::sources::HubCache;
use crate::merge::collect::CollectError;
use crate::serve::daemon::{self, DaemonError, Door};
use crate::serve::ending::{Reporter, Settler, Unsettled};
use crate::serve::guard::{Guard, Identity, Role, quoted};
use crate::serve::refuse::Refusal;
use crate::serve::submit::Defaults;
use crate::store::checkpoints::{self, CheckpointsError, Settled};
use crate::store::inventory;
use espalier_proto::bucket::Bucket;
use espalier_proto::causes::chain;
use espalier_proto::ids::Name;
use espalier_proto::layout;
use espalier_proto::messages as m;
use espalier_proto::protocol;
use espalier_proto::recipe::Backend;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// Serve workers and users: splits submitted sweeps into shards, gives them to workers, writes the reports
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  espalier coordinator --listen 0.0.0.0:7420 --bucket s3://results/llm\n  \
                  espalier identity                                 (prints the two addresses that follow)\n  \
                  espalier-worker --join https://HOST:7420#…:… --device cuda:0     (on every GPU host)\n  \
                  ESPALIER_COORDINATOR=https://HOST:7420#…:… espalier submit sweep.yaml\n\n\
                  At a terminal, or with --print-join, it prints the two addresses itself.\n\
                  Everything that it knows is in the bucket: kill it and start it again whenever you like."
)]
pub struct Coordinator {
    /// Where to listen. Off this machine only with an identity, or with --no-auth
    #[arg(long, env = "ESPALIER_LISTEN", default_value = "127.0.0.1:7420", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// A folder with certificate and tokens, or client-ca.crt for certificates of clients, or both; made, with tokens, if it is not
    /// there. `espalier identity` prints what workers and users are told
    /// [default: none on this machine alone, else ~/.local/state/espalier/INSTANCE]
    #[arg(long, env = "ESPALIER_IDENTITY", value_name = "DIR")]
    pub identity: Option<PathBuf>,
    /// Listen without TLS and tokens: whoever reaches the port can use it
    #[arg(long, env = "ESPALIER_NO_AUTH", value_parser = clap::builder::BoolishValueParser::new(), num_args = 0..=1, default_value_t = false, default_missing_value = "true", value_name = "BOOL")]
    pub no_auth: bool,
    /// HOST or HOST:PORT as workers and users reach it; the certificate names it too [default: this host's name]
    #[arg(long, env = "ESPALIER_ADVERTISE", value_name = "HOST")]
    pub advertise: Option<Advertised>,
    /// Print how workers and users join, tokens and all, on stdout also where that is no terminal
    #[arg(long)]
    pub print_join: bool,
    /// Where to answer /healthz, /readyz, /metrics and /scale, plain HTTP [default: nowhere]
    #[arg(long, env = "ESPALIER_HTTP", value_name = "ADDR")]
    pub http: Option<SocketAddr>,
    /// Where results go.
    #[command(flatten)]
    pub bucket: BucketArg,
    /// Whose sweeps these are, in a bucket that several coordinators share
    #[arg(long, env = "ESPALIER_INSTANCE", default_value = "main", value_name = "NAME")]
    pub instance: Name,
    /// What `backend: auto` is [default: what all connected workers are]
    #[arg(long, env = "ESPALIER_BACKEND", value_parser = backend, value_name = "cpu|cuda")]
    pub backend: Option<Backend>,
    /// What an hour costs, where who asks for a report does not say.
    #[command(flatten)]
    pub price: PriceArg,
    /// Silence after which a worker is taken for dead and its shards are given to others, in seconds, 10 to 86400. Shorter wastes less
    /// time after a death; longer wastes less work where the network is slow (a worker never stops because of silence)
    #[arg(long, env = "ESPALIER_LEASE", default_value_t = protocol::LEASE.as_secs(), value_parser = clap::value_parser!(u64).range(LEAST_LEASE..=LONGEST_LEASE), value_name = "SECONDS")]
    pub lease: u64,
}

/// A worker may be silent for as long while all is well: a call every two seconds, or five seconds' pause after one that failed.
const LEAST_LEASE: u64 = protocol::RECONCILE.as_secs() + protocol::BUSY.as_secs();
/// A day: with a longer one a death would keep its shards from everybody.
const LONGEST_LEASE: u64 = 24 * 60 * 60;

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
    let mut interrupted =
        signal(SignalKind::interrupt()).map_err(machine("Ctrl-C cannot be listened for"))?;
    let folder = identity_folder(command)?;
    let advertised = command.advertise.as_ref().map(Advertised::host);
    let identity = match &folder {
        Some(folder) => Some(Identity::open(folder, &names(command), advertised)?),
        None => None,
    };
    let scheme = if identity.is_some() { "https" } else { "http" };
    let join = Join { folder: folder.as_deref(), identity: identity.as_ref(), command, address };
    match output {
        Output::Text => {
            say(&format!(
                "coordinator {} listens on {scheme}://{address}, bucket {}{}",
                command.instance,
                bucket.url(),
                watched.map(|at| format!("; {at}/metrics")).unwrap_or_default()
            ));
            join.tell()?;
        }
        Output::Json => {
            let mut said = json!({"address": format!("{scheme}://{address}"), "http": watched, "instance": command.instance.as_str(), "bucket": bucket.url()});
            if command.print_join {
                let (worker, user) = join.addresses()?;
                said["by_certificate"] = by_certificate(&worker, &user).into();
                said["worker"] = worker.into();
                said["user"] = user.into();
            }
            print::json(&said);
        }
    }
    let hub = HubCache::from_env(|name| std::env::var(name).ok());
    let lease = Duration::from_secs(command.lease);
    let network = environment()?;
    let defaults = Defaults { backend: command.backend, hub, network, digests: digests(), lease };
    let (tls, guard) = match identity {
        Some(identity) => (Some(identity.tls), Guard::Closed(identity.tokens)),
        None => (None, Guard::Open),
    };
    let door = Door { listener, tls, guard, http };
    let told = async || {
        let signal = tokio::select! {
            _ = interrupted.recv() => "SIGINT",
            _ = terminated.recv() => "SIGTERM",
        };
        let most = daemon::LAST.as_secs();
        say(&format!(
            "{signal}: what is being written to the bucket is waited for, {most} s at most, or until another signal"
        ));
    };
    daemon::run(
        door,
        bucket.clone(),
        &command.instance,
        defaults,
        (reporter(bucket.clone(), command.price), settler(bucket)),
        told,
    )
    .await?;
    say("ended; running workers go on, and the next coordinator of this instance takes them up");
    Ok(Exit::Whole)
}

/// Where the identity is; `None` where everybody who reaches the port may use it.
fn identity_folder(command: &Coordinator) -> Result<Option<PathBuf>, Failure> {
    match &command.identity {
        Some(_) if command.no_auth => Err(Failure::Usage {
            message: "found both --no-auth (or ESPALIER_NO_AUTH) and --identity (or ESPALIER_IDENTITY), expected one of them"
                .to_owned(),
        }),
        Some(folder) => Ok(Some(folder.clone())),
        None if command.no_auth || command.listen.ip().is_loopback() => Ok(None),
        None => default_folder(&command.instance).map(Some),
    }
}

/// Hosts that a certificate made here names.
fn names(command: &Coordinator) -> Vec<String> {
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned(), host()];
    if !command.listen.ip().is_unspecified() {
        names.push(command.listen.ip().to_string());
    }
    names.extend(command.advertise.as_ref().map(|at| at.host().to_owned()));
    names
}

/// How workers and users join.
struct Join<'a> {
    folder: Option<&'a Path>,
    identity: Option<&'a Identity>,
    command: &'a Coordinator,
    address: SocketAddr,
}

impl Join<'_> {
    /// As others reach the coordinator.
    fn authority(&self) -> String {
        match &self.command.advertise {
            None if self.address.ip().is_loopback() => self.address.to_string(),
            advertised => authority(advertised.as_ref(), self.address.port()),
        }
    }

    /// Workers' and users', with tokens where they need some.
    fn addresses(&self) -> Result<(String, String), Failure> {
        let at = self.authority();
        let Some(identity) = self.identity else {
            return Ok((format!("http://{at}"), format!("http://{at}")));
        };
        Ok((identity.address(&at, Role::Worker)?, identity.address(&at, Role::User)?))
    }

    /// Whole at a terminal, or where that is asked for: what is neither may be a log, which is told the command that prints it.
    fn tell(&self) -> Result<(), Failure> {
        if self.command.print_join || std::io::stdout().is_terminal() {
            let (worker, user) = self.addresses()?;
            print::text(&lines(&worker, &user));
        } else if let Some(folder) = self.folder {
            let (folder, at) = (quoted(folder), self.authority());
            say(&format!(
                "how workers and users join: espalier identity --identity {folder} --advertise {at}"
            ));
            let (worker, user) = self.addresses()?;
            for role in by_certificate(&worker, &user) {
                say(&format!(
                    "a {role} shows a certificate of client-ca.crt's CA (--cert-file, --key-file): there are no {role}-tokens"
                ));
            }
        }
        Ok(())
    }
}

/// Does what a sweep that is over asks for its checkpoints.
async fn settle(bucket: &Bucket, name: &Name) -> Result<(), CheckpointsError> {
    let fold = inventory::fold(bucket, name).await?;
    let Some(spec) = fold.spec else { return Ok(()) };
    let Some(sweep) = bucket.read_object(&layout::spec(name, spec)).await? else { return Ok(()) };
    // What cannot be understood of the log stops the sweep from being taken up.
    let cells =
        if fold.is_stopped() { Some(BTreeSet::new()) } else { fold.wanted(&sweep).unwrap_or_default() };
    let asked = checkpoints::asked(&sweep, cells.as_ref(), &fold.given_up);
    let Settled { exported, dropped } = checkpoints::settle(bucket, &sweep, &asked).await?;
    if exported + dropped > 0 {
        tracing::info!(sweep = %name, exported, dropped, "checkpoints are as the sweep asks");
    }
    Ok(())
}

fn settler(bucket: Bucket) -> Settler {
    Arc::new(move |name| {
        let bucket = bucket.clone();
        Box::pin(async move {
            let settled = settle(&bucket, &name).await;
            settled.map_err(|error| Unsettled { why: chain(&error), lacks: error.lacks_checkpoint() })
        })
    })
}

fn reporter(bucket: Bucket, price: PriceArg) -> Reporter {
    Arc::new(move |name, only, asked, keep| {
        let bucket = bucket.clone();
        Box::pin(async move {
            let report =
                render(&bucket, &name, &only, asked.or(price.gpu_hour_price)).await.map_err(|error| {
                    match error {
                        // Somebody has removed it since.
                        CollectError::UnknownSweep { .. } => Refusal::bad(error),
                        CollectError::Bucket(error) => Refusal::bucket(error),
                    }
                })?;
            if keep {
                crate::report::write::write_report(&bucket, &name, &report).await.map_err(Refusal::bucket)?;
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
