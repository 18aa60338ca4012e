//! What `doctor` finds at the other end of a wire: the bucket and its clock, the hub, a coordinator. Waits seconds, never minutes.

use super::{Finding, Told, within};
use crate::cli::remote::CoordinatorArg;
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::hub::{Environment, Greeting, Hub, HubError};
use chrono::{DateTime, Utc};
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::causes::chain;
use espalier_proto::messages::{StateRequest, StateResponse};
use espalier_proto::remote::{Reach, ReachError};
use object_store::path::Path as ObjectPath;
use std::path::Path;
use std::time::Duration;

/// Where a bucket is tried.
pub(crate) const PROBES: &str = "coordinators/doctor/probe";

/// Whoever has not answered in this time is told as silent.
const REACH: Duration = Duration::from_secs(10);
/// The same for all that a bucket is tried with.
const TRIAL: Duration = Duration::from_secs(60);
/// A store's clock may differ from this machine's by so much: requests are signed with the time, and stores refuse those of another.
const SKEW_S: u64 = 60;

/// Opens the bucket, tries the promises that everything stands on, and compares its clock with this machine's.
pub(super) async fn bucket(url: &str, told: &mut Told) {
    let wrong =
        |error: &BucketError| Finding::wrong("bucket", Exit::Bucket, chain(error), bucket_advice(url, error));
    let silent = |limit: Duration| {
        let about = format!("{url} did not answer in {} s", limit.as_secs());
        Finding::wrong("bucket", Exit::Bucket, about, STORE)
    };
    let absent = !url.contains("://") && !Path::new(url).exists();
    // A run would make an absent folder.
    let bucket = match Bucket::open(url).and_then(|_| Bucket::open_brief(url)) {
        Ok(bucket) => bucket,
        Err(error) => return told.tell(wrong(&error)),
    };
    let path = ObjectPath::from(format!("{PROBES}/{}.json", std::process::id()));
    // One request before many: each is tried again by itself where there is no answer.
    let shown = format!("bucket {url}");
    match within(&shown, REACH, bucket.meta(&path)).await {
        Some(Ok(_)) => {}
        Some(Err(error)) => return told.all([Some(wrong(&error)), denied(&bucket)]),
        None => return told.tell(silent(REACH)),
    }
    let trial = async {
        let probed = bucket.probe(&path, "doctor").await;
        let written = bucket.meta(&path).await;
        let cleaned = bucket.delete(&path).await;
        probed.and(cleaned).map(|()| written)
    };
    let written = match within(&shown, TRIAL, trial).await {
        Some(Ok(written)) => written,
        Some(Err(error)) => return told.all([Some(wrong(&error)), denied(&bucket)]),
        None => return told.tell(silent(TRIAL)),
    };
    let absent = if absent { "; it is not there yet, and what writes results makes it" } else { "" };
    told.tell(Finding::good(
        "bucket",
        format!("{} takes create-only writes and reads back{absent}", bucket.url()),
    ));
    if let Ok(Some(written)) = written {
        told.tell(skewed(written.last_modified));
    }
}

/// What a store that denied everything said of its clock: a refusal to look for an object has no body that would tell why.
fn denied(bucket: &Bucket) -> Option<Finding> {
    let date = bucket.meter().denied_at()?;
    Some(skewed(DateTime::parse_from_rfc2822(&date).ok()?.to_utc()))
}

/// `there`: the store's time a moment ago.
fn skewed(there: DateTime<Utc>) -> Finding {
    let skew_s = clock::seconds_since(there).unsigned_abs();
    if skew_s <= SKEW_S {
        return Finding::good("clock", format!("this machine's and the bucket's agree to within {SKEW_S} s"));
    }
    let about = format!("this machine's and the bucket's are {skew_s} s apart");
    Finding::wrong("clock", Exit::Bucket, about, "set this machine's, by NTP for example")
}

const STORE: &str = "look at AWS_ENDPOINT_URL (host and port; AWS_ALLOW_HTTP=true for http), at the credentials \
                     (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE) and AWS_REGION (400 and 403 say no more), at whether \
                     the bucket is there, at this machine's clock (stores refuse one that is 15 minutes off), at a proxy (AWS_PROXY_URL, HTTPS_PROXY, NO_PROXY), and, where the store's certificate is of a CA of \
                     your own, at AWS_CA_BUNDLE";

fn bucket_advice(url: &str, error: &BucketError) -> &'static str {
    match error {
        BucketError::Credentials { .. } => {
            "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_ENDPOINT_URL for a store that is not Amazon's"
        }
        BucketError::Unsafe { .. } => {
            "use a store whose create-only writes do not race, or a folder: docs/buckets.md"
        }
        BucketError::Store { .. } if url.contains("://") => STORE,
        BucketError::Setting { .. } => STORE,
        BucketError::Url { .. }
        | BucketError::Store { .. }
        | BucketError::Format { .. }
        | BucketError::Corrupt { .. } => {
            "say --bucket (ESPALIER_BUCKET): a folder that can be written, or s3://BUCKET/PREFIX"
        }
    }
}

/// Asks the hub of this environment whether it is there; `get` reads one variable.
pub(super) async fn hub(get: impl Fn(&str) -> Option<String>) -> Finding {
    let asked = async {
        let Some(environment) = Environment::read(get)? else { return Ok(None) };
        let hub = Hub::new(environment)?;
        let answer = within(&format!("hub {}", hub.host()), REACH, hub.greet()).await;
        Ok(Some((hub.host(), answer.transpose()?)))
    };
    let wrong = |about, advice| Finding::wrong("hub", Exit::BadInput, about, advice);
    const NETWORK: &str = "look at the network and HTTPS_PROXY, or say another hub: HF_ENDPOINT; where all that a sweep needs is on this \
                           machine, HF_HUB_OFFLINE=1 asks for nothing";
    match asked.await {
        Ok(None) => Finding::good("hub", "HF_HUB_OFFLINE is set: nothing is asked of it".to_owned()),
        Ok(Some((host, Some(greeting)))) => greeted(&host, greeting),
        Ok(Some((host, None))) => wrong(format!("{host} did not answer in {} s", REACH.as_secs()), NETWORK),
        Err(error) => {
            let advice = match &error {
                HubError::Token { .. } | HubError::TokenText { .. } => {
                    "set HF_TOKEN to a token that the hub takes, or to none (its file is removed by `hf auth logout`)"
                }
                HubError::Endpoint { .. } => "set HF_ENDPOINT to the hub's address, or to nothing",
                _ => NETWORK,
            };
            wrong(chain(&error), advice)
        }
    }
}

/// What a hub that answers said. A mirror may know no users: what is no hub's answer is told and not called wrong.
fn greeted(host: &str, greeting: Greeting) -> Finding {
    match greeting {
        Greeting::Known => Finding::good("hub", format!("{host} answers, and it takes the token")),
        Greeting::Unasked => Finding::good("hub", format!("{host} answers; there is no token")),
        Greeting::Strange { status } => {
            let with = if status == 200 { ", with what names no user," } else { "" };
            let about = format!(
                "{host} answers {status}{with} where a hub tells who asks (whoami-v2): whether it takes a token is not known"
            );
            let advice =
                "where it is no mirror of the hub, set HF_ENDPOINT to the hub's address, or to nothing";
            Finding { advice: Some(advice.to_owned()), ..Finding::good("hub", about) }
        }
    }
}

/// Asks a coordinator for its state.
pub(super) async fn coordinator(url: &str, reach: &Reach) -> Finding {
    let argument = CoordinatorArg { coordinator: url.to_owned(), reach: reach.clone() };
    let asked = async {
        let state = argument.connect().await?.state(StateRequest::default()).await?.into_inner();
        Ok::<_, Failure>(state)
    };
    // Its address may hold a token.
    let state = match within("the coordinator", REACH, asked).await {
        Some(Ok(state)) => state,
        Some(Err(failure)) => {
            let advice = coordinator_advice(&failure);
            return Finding::wrong("coordinator", failure.exit(), chain(&failure), advice);
        }
        None => {
            let about = format!("it did not answer in {} s", REACH.as_secs());
            return Finding::wrong("coordinator", Exit::Unreachable, about, ADDRESS);
        }
    };
    answers(&state)
}

/// What a coordinator that answers has. Workers that have left are none of its.
fn answers(state: &StateResponse) -> Finding {
    let count = |word: &str| state.workers.iter().filter(|worker| worker.state == word).count();
    let (silent, workers) = (count("silent"), state.workers.len() - count("left"));
    let of_them = if silent > 0 { format!(", {silent} of them silent") } else { String::new() };
    let about = format!("it answers; {} sweeps, {workers} workers{of_them}", state.sweeps.len());
    let join = (workers == silent).then(|| {
        "no worker is there: on its machine `espalier identity` prints the line by which workers join"
            .to_owned()
    });
    Finding { advice: join, ..Finding::good("coordinator", about) }
}

const ADDRESS: &str = "look at host and port, whether it listens for other machines (`espalier coordinator --listen 0.0.0.0:7420`), and at \
                       firewalls between; on its machine `espalier identity` prints the address";

const MUTE: &str = "look at its process and its machine; a restart of it loses nothing that is committed";

fn coordinator_advice(failure: &Failure) -> &'static str {
    match failure {
        Failure::Reach(ReachError::Unreachable { .. } | ReachError::NoTls { .. }) => ADDRESS,
        Failure::Reach(ReachError::Mute { .. }) => MUTE,
        Failure::Reach(ReachError::File { .. }) => {
            "say a file that can be read and holds what its option is for"
        }
        Failure::Reach(ReachError::RefusedCertificate { .. }) => {
            "use a user's certificate (--cert-file, --key-file) of a CA that the coordinator's client-ca.crt holds, or a token"
        }
        Failure::Reach(ReachError::WrongName { .. }) => {
            "say the address by a name that the certificate has, or the one with the fingerprint that `espalier identity` prints on the \
             coordinator's machine"
        }
        Failure::Reach(ReachError::OutOfDate { .. }) => {
            "renew tls.crt and tls.key in the coordinator's identity, which it reads again by itself; or, if the time is wrong that is told \
             here, set this machine's clock, by NTP for example"
        }
        Failure::Reach(_) => {
            "use https://HOST:PORT#FINGERPRINT:TOKEN as `espalier identity` prints it on the coordinator's machine, or --ca-file"
        }
        failure if failure.exit() == Exit::Unreachable => ADDRESS,
        _ => "use the users' address that `espalier identity` prints on the coordinator's machine",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use espalier_proto::messages::WorkerState;

    #[test]
    fn a_worker_that_left_is_neither_there_nor_silent() {
        let told = |states: &[&str]| {
            let worker = |state: &&str| WorkerState { state: (*state).to_owned(), ..Default::default() };
            answers(&StateResponse { workers: states.iter().map(worker).collect(), ..Default::default() })
        };
        let some = told(&["idle", "silent", "left"]);
        assert_eq!(some.about, "it answers; 0 sweeps, 2 workers, 1 of them silent");
        assert!(some.advice.is_none());
        let none = told(&["left"]);
        assert_eq!(none.about, "it answers; 0 sweeps, 0 workers");
        assert!(none.advice.is_some());
    }
}
