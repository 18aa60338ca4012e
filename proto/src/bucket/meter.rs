//! Counts what is done with a bucket: operations with their time, bytes, and requests that the store lost or refused.
//!
//! In: what [`super::Bucket`] does. Out: [`Meter`], read whenever somebody asks. Never names an object: there is no end of those.

use super::whole::WholeBodies;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpRequest, HttpResponse, HttpService};
use object_store::{ClientOptions, client::ReqwestConnector};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is done with a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Operation {
    Create,
    Put,
    Read,
    List,
    Look,
    Delete,
}

impl Operation {
    /// Every one.
    pub const ALL: [Self; 6] = [Self::Create, Self::Put, Self::Read, Self::List, Self::Look, Self::Delete];

    /// As metrics call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Put => "put",
            Self::Read => "read",
            Self::List => "list",
            Self::Look => "look",
            Self::Delete => "delete",
        }
    }
}

/// Upper ends of the ranges in which times are counted, seconds; longer ones are in none.
pub const BOUNDS: [f64; 8] = [0.001, 0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0];

/// Counts of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    /// Ended, well or badly.
    pub all: u64,
    /// Ended badly, after every retry.
    pub failed: u64,
    /// Time that they took, retries included, seconds.
    pub seconds: f64,
    /// How many took at most each of [`BOUNDS`] and more than the one before it.
    pub ranges: [u64; BOUNDS.len()],
}

#[derive(Debug, Default)]
struct Counter {
    all: AtomicU64,
    failed: AtomicU64,
    nanos: AtomicU64,
    ranges: [AtomicU64; BOUNDS.len()],
}

/// What was done with a bucket since it was opened.
#[derive(Debug, Default)]
pub struct Meter {
    counters: [Counter; Operation::ALL.len()],
    written: AtomicU64,
    read: AtomicU64,
    requests: AtomicU64,
    refused: AtomicU64,
    /// The `Date` of the last answer that denied what was asked.
    denied: Mutex<Option<String>>,
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

impl Meter {
    /// Counts of an operation.
    pub fn count(&self, operation: Operation) -> Count {
        let counter = &self.counters[operation as usize];
        Count {
            all: get(&counter.all),
            failed: get(&counter.failed),
            seconds: Duration::from_nanos(get(&counter.nanos)).as_secs_f64(),
            ranges: std::array::from_fn(|n| get(&counter.ranges[n])),
        }
    }

    /// Bytes written and read.
    pub fn bytes(&self) -> (u64, u64) {
        (get(&self.written), get(&self.read))
    }

    /// Requests sent to an object store, and those of them that were lost or answered with 408, 429 or 5xx: these are what is
    /// tried again. A folder has none.
    pub fn requests(&self) -> (u64, u64) {
        (get(&self.requests), get(&self.refused))
    }

    /// The store's time, as a header says it, when it last answered 400 or 403, which it also does where the caller's clock is wrong.
    pub fn denied_at(&self) -> Option<String> {
        self.denied.lock().expect("nothing panics while it holds the time").clone()
    }

    fn look(&self, answer: &HttpResponse) {
        let date = answer.headers().get("date").and_then(|date| date.to_str().ok());
        if let (400 | 403, Some(date)) = (answer.status().as_u16(), date) {
            *self.denied.lock().expect("nothing panics while it holds the time") = Some(date.to_owned());
        }
    }

    pub(super) fn wrote(&self, bytes: usize) {
        add(&self.written, bytes as u64);
    }

    pub(super) fn was_read(&self, bytes: usize) {
        add(&self.read, bytes as u64);
    }

    /// Counts what `work` comes to.
    pub(super) async fn timed<T, E>(
        &self,
        operation: Operation,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let since = Instant::now();
        let result = work.await;
        let (took, counter) = (since.elapsed(), &self.counters[operation as usize]);
        add(&counter.all, 1);
        add(&counter.failed, u64::from(result.is_err()));
        add(&counter.nanos, took.as_nanos() as u64);
        if let Some(range) = BOUNDS.iter().position(|bound| took.as_secs_f64() <= *bound) {
            add(&counter.ranges[range], 1);
        }
        result
    }
}

/// Counts the requests of a store.
#[derive(Debug)]
pub(super) struct Counting {
    pub(super) meter: Arc<Meter>,
}

impl HttpConnector for Counting {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let inner = HttpClient::new(WholeBodies(ReqwestConnector::default().connect(options)?));
        Ok(HttpClient::new(Counted { inner, meter: self.meter.clone() }))
    }
}

#[derive(Debug)]
struct Counted {
    inner: HttpClient,
    meter: Arc<Meter>,
}

#[async_trait::async_trait]
impl HttpService for Counted {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.inner.execute(request).await;
        add(&self.meter.requests, 1);
        let refused = answer.as_ref().map_or(true, |answer| {
            let status = answer.status().as_u16();
            status >= 500 || status == 429 || status == 408
        });
        add(&self.meter.refused, u64::from(refused));
        if let Ok(answer) = &answer {
            self.meter.look(answer);
        }
        answer
    }
}
