//! A real S3-compatible server in this process, on a port of its own: s3s-fs behind a lock per object, so that conditional
//! creates are atomic; without the lock it races on them, which is what a store must be refused for.
//!
//! In: [`Creates`] and faults. Out: an address, and the environment that `espalier` needs for it. Ends with the value.

use crate::faults::{Fate, Faults};
use crate::peers::kill_peer;
use crate::sweeps::Place;
use crate::tls;
use bytes::Bytes;
use espalier_proto::bucket::Bucket;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;
use tokio_rustls::TlsAcceptor;

/// The bucket that every server has.
pub const BUCKET: &str = "results";
const KEY_ID: &str = "espalier-tests";
const SECRET: &str = "not-a-secret";

/// How good the server's create-only writes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creates {
    /// One of many writers wins.
    Atomic,
    /// As s3s-fs does them: looks whether the object is there, then writes it.
    Racy,
    /// The condition is not read at all: every write wins.
    Ignored,
}

/// A running server.
#[derive(Debug)]
pub struct S3Server {
    scheme: &'static str,
    address: SocketAddr,
    folder: tempfile::TempDir,
    faults: Arc<Faults>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl S3Server {
    /// Starts a server with an empty bucket.
    ///
    /// # Panics
    /// If this machine gives it no folder, port or thread.
    pub fn start(creates: Creates) -> Self {
        Self::start_on("127.0.0.1", creates)
    }

    /// The same on another address of this machine; `0.0.0.0` is all of them.
    ///
    /// # Panics
    /// If this machine gives it no folder, port or thread.
    pub fn start_on(ip: &str, creates: Creates) -> Self {
        Self::start_with(ip, creates, None)
    }

    /// The same behind TLS, with a certificate for `localhost` of a CA that nobody knows; gives the CA's certificate as PEM.
    ///
    /// # Panics
    /// If this machine gives it no folder, port or thread.
    pub fn start_with_tls(creates: Creates) -> (Self, String) {
        let (tls, ca) = tls::localhost();
        (Self::start_with("127.0.0.1", creates, Some(tls)), ca)
    }

    fn start_with(ip: &str, creates: Creates, tls: Option<TlsAcceptor>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a folder can be made");
        let files = s3s_fs::FileSystem::new(folder.path()).expect("the folder is there");
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(s3s::auth::SimpleAuth::from_single(KEY_ID, SECRET));
        let faults = Arc::new(Faults::default());
        let server = Arc::new(Server {
            service: builder.build(),
            root: folder.path().to_owned(),
            creates,
            locks: Mutex::default(),
            faults: Arc::clone(&faults),
        });
        // Enough threads for writers to race.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .expect("threads can be started");
        let listener =
            runtime.block_on(tokio::net::TcpListener::bind((ip, 0))).expect("a port can be opened");
        let address = listener.local_addr().expect("an open port has an address");
        runtime.spawn(accept(listener, server, tls.clone()));
        let scheme = if tls.is_some() { "https" } else { "http" };
        Self { scheme, address, folder, faults, runtime: Some(runtime) }
    }

    /// What a process needs in its environment to use this server.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.environment_at("127.0.0.1")
    }

    /// The same for a process that reaches this server at another address.
    pub fn environment_at(&self, ip: &str) -> Vec<(String, String)> {
        let pairs = [
            ("AWS_ENDPOINT", format!("{}://{ip}:{}", self.scheme, self.address.port())),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
            ("AWS_ACCESS_KEY_ID", KEY_ID.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
            // The server is on this machine, whatever proxy leads elsewhere.
            ("NO_PROXY", ip.to_owned()),
        ];
        pairs.map(|(name, value)| (name.to_owned(), value)).into()
    }

    /// Gives a command this server's environment, and nothing else of AWS's.
    pub fn apply(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("AWS_")) {
            command.env_remove(name);
        }
        command.envs(self.environment());
    }

    /// All that is started in the place from now on uses a folder of this server's bucket.
    pub fn holds(&self, place: &mut Place) {
        place.add_environment(self.environment());
        place.add_environment(vec![("ESPALIER_BUCKET".to_owned(), self.url("team/a"))]);
    }

    /// The URL of a folder of the server's bucket.
    pub fn url(&self, prefix: &str) -> String {
        format!("s3://{BUCKET}/{prefix}")
    }

    /// That folder as this process sees it.
    ///
    /// # Panics
    /// If it cannot be opened.
    pub fn bucket(&self, prefix: &str) -> Bucket {
        Bucket::open_with(&self.url(prefix), &self.environment().into_iter().collect())
            .expect("the server's own environment opens it")
    }

    /// Where the objects of a folder of the bucket lie as files.
    pub fn files(&self, prefix: &str) -> PathBuf {
        self.folder.path().join(BUCKET).join(prefix)
    }

    /// What it does wrong.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Server {
    service: S3Service,
    root: PathBuf,
    creates: Creates,
    locks: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<()>>>>,
    faults: Arc<Faults>,
}

/// The connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer")]
struct NoAnswer;

async fn accept(listener: tokio::net::TcpListener, server: Arc<Server>, tls: Option<TlsAcceptor>) {
    while let Ok((socket, peer)) = listener.accept().await {
        let server = Arc::clone(&server);
        let service = service_fn(move |request| {
            let server = Arc::clone(&server);
            async move { server.answer(request, peer).await }
        });
        let tls = tls.clone();
        tokio::spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            // A connection that ends in an error is one that a client or a fault has closed.
            let _ = match tls {
                None => http.serve_connection(TokioIo::new(socket), service).await,
                // Whoever does not trust the certificate hangs up.
                Some(tls) => match tls.accept(socket).await {
                    Ok(socket) => http.serve_connection(TokioIo::new(socket), service).await,
                    Err(_) => return,
                },
            };
        });
    }
}

impl Server {
    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<s3s::Body>, NoAnswer> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| NoAnswer)?.to_bytes();
        let (fate, delay) = self.faults.next(&head.method, &head.uri);
        tokio::time::sleep(delay).await;
        if fate == Fate::Refused {
            let mut response = Response::new(s3s::Body::empty());
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Ok(response);
        }
        if let Fate::RefusedWith(status, code) = fate {
            let body = format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code></Error>");
            let body = if head.method == Method::HEAD { Bytes::new() } else { Bytes::from(body) };
            let mut response = Response::new(s3s::Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).map_err(|_| NoAnswer)?;
            return Ok(response);
        }
        if fate == Fate::KilledBefore {
            kill_peer(peer);
            return Err(NoAnswer);
        }
        if self.creates == Creates::Ignored && head.method == Method::PUT {
            // The header is signed and must stay; without the object the condition holds.
            let _ = std::fs::remove_file(self.root.join(head.uri.path().trim_start_matches('/')));
        }
        let locked = match (self.creates, &head.method) {
            // Listings and deletions of many name the bucket, not an object.
            (Creates::Atomic, &Method::PUT | &Method::GET | &Method::HEAD | &Method::DELETE) => {
                Some(self.lock(head.uri.path()).await)
            }
            _ => None,
        };
        let is_get = head.method == Method::GET;
        let request = Request::from_parts(head, s3s::Body::from(body));
        let mut response = self.service.call(request).await.map_err(|_| NoAnswer)?;
        if self.faults.hides_tags() {
            response.headers_mut().remove(hyper::header::ETAG);
        }
        drop(locked);
        let length = response.headers().get(hyper::header::CONTENT_LENGTH).and_then(|v| v.to_str().ok());
        if let Some(bytes) = length.and_then(|text| text.parse().ok()).filter(|_| is_get) {
            self.faults.sends(bytes);
        }
        match fate {
            Fate::Unanswered => Err(NoAnswer),
            Fate::KilledAfter => {
                kill_peer(peer);
                Err(NoAnswer)
            }
            Fate::Cut => half(response).await,
            Fate::Served | Fate::Refused | Fate::RefusedWith(..) | Fate::KilledBefore => Ok(response),
        }
    }

    async fn lock(&self, path: &str) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().expect("nothing panics while it holds this");
            Arc::clone(locks.entry(path.to_owned()).or_default())
        };
        lock.lock_owned().await
    }
}

/// The same answer with the second half of its body missing.
async fn half(response: Response<s3s::Body>) -> Result<Response<s3s::Body>, NoAnswer> {
    let (head, body) = response.into_parts();
    let whole = body.collect().await.map_err(|_| NoAnswer)?.to_bytes();
    let first: Result<Frame<Bytes>, NoAnswer> = Ok(Frame::data(whole.slice(..whole.len() / 2)));
    let broken = async {
        // What was sent before is on its way by then.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        Err(NoAnswer)
    };
    let stream = futures::StreamExt::chain(futures::stream::iter([first]), futures::stream::once(broken));
    Ok(Response::from_parts(head, s3s::Body::http_body_unsync(StreamBody::new(stream))))
}
