//! A coordinator's whole life: takes the next epoch of its instance, takes its sweeps up again, serves workers and users, ends
//! in order.
//!
//! In: a bucket, an instance, an open port. Out: when it ends, why. Nothing is lost if it is killed: the next one lists the
//! bucket, and running workers tell what they hold.

use super::calls::{Calls, Elsewhere};
use super::driver;
use super::ending::{Endings, Reporter, Settler};
use super::epoch::{self, Epoch, EpochError};
use super::grid::Catalog;
use super::guard::{Guard, Incoming, Role, Tls};
use super::notice::Notice;
use super::recall::recall;
use super::submit::Defaults;
use super::sweep_api;
use super::sweeps::Sweeps;
use super::uploads::Uploads;
use super::watched::Probed;
use super::worker_api;
use crate::clock::{self, Stopwatch};
use crate::schedule::{Event, Millis, Timing};
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::causes::chain;
use espalier_proto::ids::Name;
use espalier_proto::protocol;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tonic::service::interceptor::InterceptedService;

/// How often it is looked whether a sweep is over or this coordinator is no longer the current one.
const LOOK: Duration = Duration::from_millis(200);
/// The longest that what is being written is waited for at the end: batch systems kill what has not ended in time, Kubernetes after 30 s and
/// SLURM after 60.
pub const LAST: Duration = Duration::from_secs(10);
/// Of that, for the mark that this ended in order.
const MARK: Duration = Duration::from_secs(3);

const fn millis(duration: Duration) -> Millis {
    Millis(duration.as_millis() as u64)
}

/// Where callers come in.
pub struct Door {
    /// Workers' and users' port.
    pub listener: TcpListener,
    /// Encrypts it.
    pub tls: Option<Tls>,
    /// Who is let in.
    pub guard: Guard,
    /// The port of probes and scrapers.
    pub http: Option<TcpListener>,
}

/// Why a coordinator ended.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// No epoch could be taken.
    #[error(transparent)]
    Epoch(#[from] EpochError),
    /// The bucket.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// This process cannot do what a coordinator must.
    #[error("{what}")]
    Machine {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The port can no longer be served.
    #[error("the port can no longer be served")]
    Serve(#[from] tonic::transport::Error),
    /// Another coordinator of this instance has begun.
    #[error(
        "another coordinator of instance {instance} has taken a newer epoch; this one ends; its workers go on, and are \
         the new one's where it listens at the address that they call"
    )]
    Superseded {
        /// The instance.
        instance: Name,
    },
}

/// Serves until it is told to end; probes and scrapers from the first moment. `report` makes reports, of a sweep that is over also by
/// itself; `settle` is done then. `told` comes back whenever this is told to end: told again it ends at once.
pub async fn run(
    door: Door,
    bucket: Bucket,
    instance: &Name,
    defaults: Defaults,
    (report, settle): (Reporter, Settler),
    mut told: impl AsyncFnMut(),
) -> Result<(), DaemonError> {
    let epoch = tokio::select! {
        epoch = epoch::take(&bucket, instance) => epoch?,
        () = told() => return Ok(()),
    };
    tracing::info!(%instance, epoch = epoch.n, bucket = bucket.url(), "epoch taken");
    let timing = Timing {
        lease: millis(defaults.lease),
        busy: millis(protocol::BUSY),
        hold: millis(protocol::HOLD),
        // Of the first coordinator of an instance no worker holds anything.
        reconcile: if epoch.n == 1 { Millis(0) } else { millis(protocol::RECONCILE) },
    };
    let calls = Calls::start().map_err(machine("no thread could be started for calls"))?;
    let driver = {
        let _entered = calls.enter();
        driver::start(bucket.clone(), epoch.clone(), timing, Catalog::default())
    };
    let sweeps = Arc::new(Sweeps::new(bucket.clone(), epoch.clone(), driver.clone()));
    let result = tokio::select! {
        ended = serve(door, &calls, &sweeps, defaults, (report, settle)) => ended,
        () = told() => Ok(()),
    };
    tokio::select! {
        () = end(&driver, &epoch, &bucket) => {}
        () = told() => tracing::warn!("told again: what is being written to the bucket is not waited for"),
    }
    result
}

fn machine(what: &'static str) -> impl FnOnce(std::io::Error) -> DaemonError {
    move |source| DaemonError::Machine { what, source }
}

/// Takes the sweeps up again and serves, until that cannot go on.
async fn serve(
    door: Door,
    calls: &Calls,
    sweeps: &Arc<Sweeps>,
    defaults: Defaults,
    (report, settle): (Reporter, Settler),
) -> Result<(), DaemonError> {
    let driver = sweeps.driver();
    let probed = Probed::new(driver.clone());
    if let Some(http) = door.http {
        let watched = Arc::new(probed.clone());
        tokio::spawn(async move {
            if let Err(error) = espalier_telemetry::http::serve(http, watched).await {
                tracing::error!(%error, "probes and scrapers can no longer be served");
            }
        });
    }
    sweeps.restore().await?;
    probed.restored();
    let again = sweeps.clone();
    tokio::spawn(async move { recall(&again, &again.names()).await });
    let uploads = Uploads::new().map_err(machine("no folder for uploaded files could be made"))?;
    let users = sweep_api::service(sweeps.clone(), Arc::new(uploads), defaults, report.clone());
    let incoming = {
        let _entered = calls.enter();
        let listener = calls.take(door.listener).map_err(machine("the port cannot be listened on"))?;
        Incoming::new(listener, door.tls)
    };
    let serving = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(protocol::HOLD))
        .add_service(InterceptedService::new(
            worker_api::service(driver.clone()),
            door.guard.gate(Role::Worker),
        ))
        .add_service(InterceptedService::new(Elsewhere::new(users), door.guard.gate(Role::User)))
        .serve_with_incoming(incoming);
    tokio::select! {
        served = calls.run(serving) => served.map_err(DaemonError::from),
        ended = watch(sweeps, Endings::new(report, settle)) => ended,
    }
}

/// Waits for what is being written to the bucket, never longer than [`LAST`].
async fn end(driver: &driver::Handle, epoch: &Epoch, bucket: &Bucket) {
    let left = driver.stop(LAST - MARK).await;
    if left > 0 {
        tracing::warn!(
            left,
            "the bucket has not taken all that was being written; nothing is lost: workers keep what they hold, and the next coordinator \
             decides anew what was not kept"
        );
    }
    // A marker that could not be written costs nothing: a coordinator always takes the next epoch.
    let why = tokio::select! {
        ended = epoch.end(bucket) => ended.err().map(|error| chain(&error)),
        () = clock::sleep(MARK) => Some(format!("the bucket has not answered in {} s", MARK.as_secs())),
    };
    if let Some(why) = why {
        tracing::warn!(why, "the end of this coordinator could not be written, which costs nothing");
    }
}

/// Ends sweeps that are over, looks at the logs of all, and ends when this is no longer the current coordinator.
async fn watch(sweeps: &Arc<Sweeps>, mut endings: Endings) -> Result<(), DaemonError> {
    let mut status = sweeps.driver().status();
    let mut notice = Notice::default();
    let mut looked = Stopwatch::start();
    loop {
        let asked = sweeps.asked();
        let now = status.borrow_and_update().clone();
        if now.superseded {
            return Err(DaemonError::Superseded { instance: sweeps.epoch().instance.clone() });
        }
        endings.look(sweeps, &asked, &now.view);
        if looked.elapsed() > protocol::RECONCILE {
            looked = Stopwatch::start();
            notice.look(sweeps).await;
        }
        tokio::select! {
            () = clock::sleep(LOOK) => {}
            _ = status.changed() => clock::sleep(LOOK / 4).await,
        }
    }
}

/// Every worker finishes what it holds and ends.
pub fn drain(sweeps: &Sweeps) {
    sweeps.driver().tell(Event::Drain);
}
