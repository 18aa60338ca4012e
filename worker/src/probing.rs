//! Finds the coordinator's bucket, beside the calls: a store that does not answer keeps a worker neither from calling nor from leaving.
//!
//! In: what answers say of the bucket. Out: the bucket, once what the coordinator's probe left is found there, or why it is not this
//! worker's. A store that is away is tried again: without end by a worker that had one before, which may hold work, else for so long as
//! it is told to.

use crate::clock;
use crate::session::SessionError;
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::causes::chain;
use espalier_proto::ids::Name;
use espalier_proto::layout;
use espalier_proto::messages as pb;
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// An answer waits so long for its bucket; the next call is made then.
const PROMPT: Duration = Duration::from_secs(3);
/// A store that has said nothing for so long is told of; one that refuses is at once.
const TOLD: Duration = Duration::from_secs(8);
/// Pause between two tries.
const AGAIN: Duration = Duration::from_secs(10);

const ADVICE: &str = "look at this worker's AWS_ENDPOINT_URL (AWS_ALLOW_HTTP=true for http), credentials, AWS_CA_BUNDLE, \
                      clock and network: they are to lead to the coordinator's bucket";

/// Which bucket an answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    instance: Name,
    epoch: u64,
    url: String,
    nonce: String,
}

impl Wanted {
    pub(crate) fn of(answer: &pb::SyncResponse) -> Result<Self, SessionError> {
        let instance = answer.instance.parse();
        Ok(Self {
            instance: instance.map_err(|e| SessionError::Answer { why: format!("instance: {e}") })?,
            epoch: answer.epoch,
            url: answer.bucket_url.clone(),
            nonce: answer.probe_nonce.clone(),
        })
    }
}

/// A bucket that is the coordinator's.
#[derive(Clone, Debug)]
pub(crate) struct Probed {
    pub(crate) bucket: Bucket,
    pub(crate) of: Wanted,
}

/// Looks for one bucket at a time.
#[derive(Debug)]
pub(crate) struct Prober {
    /// How long a worker that has no bucket yet looks for one.
    patience: Duration,
    since: Option<Instant>,
    looking: Option<(Wanted, JoinHandle<Result<Probed, SessionError>>)>,
}

impl Prober {
    pub(crate) fn new(patience: Duration) -> Self {
        Self { patience, since: None, looking: None }
    }

    /// The bucket, if it is found in a moment and before `leaves`; it is looked for on.
    pub(crate) async fn find(
        &mut self,
        wanted: Wanted,
        first: bool,
        leaves: impl Future<Output = ()>,
    ) -> Result<Option<Probed>, SessionError> {
        let until = *self.since.get_or_insert_with(clock::now) + self.patience;
        let task = match &mut self.looking {
            Some((of, task)) if *of == wanted => task,
            other => {
                if let Some((_, old)) = other {
                    old.abort();
                }
                let task = tokio::spawn(look(wanted.clone(), first.then_some(until)));
                &mut other.insert((wanted, task)).1
            }
        };
        tokio::select! {
            ended = task => {
                self.looking = None;
                ended.expect("looking for a bucket does not panic").map(Some)
            }
            () = tokio::time::sleep(PROMPT) => Ok(None),
            () = leaves => Ok(None),
        }
    }
}

async fn look(wanted: Wanted, until: Option<Instant>) -> Result<Probed, SessionError> {
    loop {
        let error = match once(&wanted, until).await {
            Ok(()) => break,
            // It may answer later.
            Err(SessionError::Bucket(error @ BucketError::Store { .. })) => error,
            // A folder that was there once may be back later.
            Err(SessionError::Bucket(error @ BucketError::Url { .. })) if until.is_none() => error,
            Err(error) => return Err(error),
        };
        let now = clock::now();
        if until.is_some_and(|until| until <= now) {
            return Err(error.into());
        }
        let (bucket, why) = (&wanted.url, chain(&error));
        tracing::warn!(
            bucket,
            why,
            advice = ADVICE,
            "the bucket cannot be reached; it is tried again, and nothing is begun before"
        );
        tokio::time::sleep_until((now + AGAIN).min(until.unwrap_or(now + AGAIN)).into()).await;
    }
    let Wanted { instance, epoch, url, .. } = &wanted;
    let bucket = Bucket::open_patient(url)?;
    bucket.known_by(&layout::probe(instance, *epoch));
    tracing::info!(bucket = url, %instance, epoch, "bucket is shared");
    Ok(Probed { bucket, of: wanted })
}

/// Looks once for what the coordinator's probe left.
async fn once(wanted: &Wanted, until: Option<Instant>) -> Result<(), SessionError> {
    // One that soon says why it fails: here it is tried again all the same.
    let bucket = Bucket::open_brief(&wanted.url)?;
    let path = layout::probe(&wanted.instance, wanted.epoch);
    let read = bucket.read(&path);
    tokio::pin!(read);
    let read = match tokio::time::timeout(TOLD, &mut read).await {
        Ok(read) => read,
        Err(_) => {
            tracing::warn!(
                bucket = wanted.url,
                seconds = TOLD.as_secs(),
                advice = ADVICE,
                "the bucket does not answer; it is waited for"
            );
            match until {
                None => read.await,
                Some(until) => {
                    tokio::time::timeout_at(until.into(), read).await.unwrap_or_else(|_| Err(silent(&path)))
                }
            }
        }
    };
    let found = read?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if found.as_ref() != Some(&wanted.nonce) {
        return Err(SessionError::ForeignBucket {
            url: wanted.url.clone(),
            path: path.to_string(),
            found,
            expected: wanted.nonce.clone(),
        });
    }
    Ok(())
}

fn silent(path: &object_store::path::Path) -> BucketError {
    let source = object_store::Error::Generic { store: "bucket", source: "it does not answer".into() };
    BucketError::Store { action: "reading", path: path.to_string(), source }
}
