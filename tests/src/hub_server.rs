//! A hub in this process: the part of Hugging Face's API that Espalier uses, over repositories that a test puts together. Large
//! files are sent by another origin, the "content network", to which the hub redirects.
//!
//! In: repositories and faults. Out: an address, and what was asked of both origins. Ends with the value.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use futures::StreamExt;
use futures::stream::BoxStream;
use http_body_util::StreamBody;
use hyper::body::{Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, HeaderMap, RANGE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

/// The one token that this hub knows.
pub const TOKEN: &str = "hf_aTokenOfTheTests";
/// Larger files are the content network's.
const SMALL: usize = 4096;

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Of the content network; else of the hub.
    pub of_network: bool,
    /// Its method.
    pub method: Method,
    /// Its path, decoded.
    pub path: String,
    /// Its `Range`.
    pub range: Option<String>,
    /// Its `Authorization`.
    pub authorization: Option<String>,
    /// Bytes of the answer's body.
    pub sent: usize,
}

#[derive(Clone, Default)]
struct Snapshot {
    commit: String,
    files: BTreeMap<String, Bytes>,
}

#[derive(Default)]
struct State {
    /// By `models/org/name`, then by revision.
    repositories: BTreeMap<String, BTreeMap<String, Snapshot>>,
    gated: Vec<String>,
    /// Gated, and granted to nobody.
    kept: Vec<String>,
    /// Requests that are still answered with 429, and the seconds that are then told.
    busy: (u32, u32),
    /// Former names of repositories.
    moved: BTreeMap<String, String>,
    cut: u32,
    flip: u32,
    asked: Vec<Asked>,
}

/// A running hub.
pub struct HubServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl HubServer {
    /// Starts a hub without repositories.
    ///
    /// # Panics
    /// If this machine gives it no port or thread.
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads can be started");
        let bind = || runtime.block_on(tokio::net::TcpListener::bind(("127.0.0.1", 0)));
        let (hub, network) = (bind().expect("a port can be opened"), bind().expect("a port can be opened"));
        let at = |listener: &tokio::net::TcpListener| listener.local_addr().expect("it has an address");
        let (address, other) = (at(&hub), at(&network));
        let state = Arc::new(Mutex::new(State::default()));
        for (listener, of_network) in [(hub, false), (network, true)] {
            runtime.spawn(accept(listener, Origin { state: state.clone(), of_network, network: other }));
        }
        Self { address, state, runtime: Some(runtime) }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this")
    }

    /// What a process needs in its environment to use this hub.
    pub fn environment(&self) -> Vec<(String, String)> {
        let endpoint = format!("http://{}", self.address);
        let pairs = [("HF_ENDPOINT", endpoint), ("HF_HUB_OFFLINE", "0".to_owned())];
        // The hub is on this machine, whatever proxy leads elsewhere.
        let pairs = pairs.into_iter().chain([("NO_PROXY", "127.0.0.1".to_owned())]);
        pairs.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Puts a file into `models/org/name` or `datasets/org/name` at a revision.
    pub fn put(&self, repository: &str, revision: &str, file: &str, body: impl Into<Bytes>) {
        let mut state = self.locked();
        let snapshot = state.repositories.entry(repository.to_owned()).or_default();
        let snapshot = snapshot.entry(revision.to_owned()).or_default();
        snapshot.files.insert(file.to_owned(), body.into());
        let mut commit = Sha1::new_with_prefix(format!("{repository}@{revision}"));
        for (name, body) in &snapshot.files {
            commit.update(name);
            commit.update(body);
        }
        snapshot.commit = HEXLOWER.encode(&commit.finalize());
    }

    /// Puts a file of this machine.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn put_file(&self, repository: &str, revision: &str, file: &str, from: &Path) {
        self.put(repository, revision, file, std::fs::read(from).expect("the file can be read"));
    }

    /// A tag: this commit of a revision stays there, whatever the revision is later.
    ///
    /// # Panics
    /// If there is no such revision.
    pub fn tag(&self, repository: &str, revision: &str, tag: &str) {
        let mut state = self.locked();
        let revisions = state.repositories.get_mut(repository).expect("the repository is there");
        let snapshot = revisions[revision].clone();
        revisions.insert(tag.to_owned(), snapshot);
    }

    /// Takes away what was put into a repository.
    pub fn remove(&self, repository: &str) {
        self.locked().repositories.remove(repository);
    }

    /// From now on a repository's files need the token.
    pub fn gate(&self, repository: &str) {
        self.locked().gated.push(repository.to_owned());
    }

    /// From now on the token does not suffice either.
    pub fn keep(&self, repository: &str) {
        self.locked().kept.push(repository.to_owned());
    }

    /// The next so many requests to the hub are too many: come again after so many seconds.
    pub fn busy(&self, requests: u32, after_s: u32) {
        self.locked().busy = (requests, after_s);
    }

    /// A repository is also known by a former name, from which the hub redirects.
    pub fn rename(&self, from: &str, to: &str) {
        self.locked().moved.insert(from.to_owned(), to.to_owned());
    }

    /// The next so many bodies of the content network end in the middle.
    pub fn cut(&self, bodies: u32) {
        self.locked().cut = bodies;
    }

    /// The next so many have one wrong byte.
    pub fn flip(&self, bodies: u32) {
        self.locked().flip = bodies;
    }

    /// The commit of a revision.
    ///
    /// # Panics
    /// If there is none.
    pub fn commit(&self, repository: &str, revision: &str) -> String {
        self.locked().repositories[repository][revision].commit.clone()
    }

    /// What was asked since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.locked().asked)
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The connection is closed in the middle of a body.
#[derive(Debug, thiserror::Error)]
#[error("cut")]
struct Cut;

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Cut>>>;

#[derive(Clone)]
struct Origin {
    state: Arc<Mutex<State>>,
    of_network: bool,
    network: SocketAddr,
}

async fn accept(listener: tokio::net::TcpListener, origin: Origin) {
    while let Ok((socket, _)) = listener.accept().await {
        let origin = origin.clone();
        let service = service_fn(move |request| {
            let answer = origin.answer(&request);
            async move { Ok::<_, Cut>(answer) }
        });
        tokio::spawn(async move {
            // A connection that ends in an error is one that a client or a fault has closed.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

/// An answer before its body is sent.
struct Said {
    status: StatusCode,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    ends_early: bool,
}

impl Said {
    fn plain(status: u16, code: &str) -> Self {
        let status = StatusCode::from_u16(status).expect("a status of this file");
        let headers = vec![("x-error-code", code.to_owned())];
        Self { status, headers, body: Bytes::from_static(b"no"), ends_early: false }
    }

    fn whole(body: Bytes) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), body, ends_early: false }
    }
}

impl Origin {
    fn answer(&self, request: &Request<Incoming>) -> Response<Body> {
        let mut state = self.state.lock().expect("nothing panics while it holds this");
        let path = request.uri().path().replace("%2F", "/");
        let said = match self.of_network {
            true => state.of_network(&path, request.headers()),
            false => state.of_hub(request.uri().path(), request.headers(), self.network),
        };
        let head = request.method() == Method::HEAD;
        let text =
            |name| request.headers().get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
        state.asked.push(Asked {
            of_network: self.of_network,
            method: request.method().clone(),
            path,
            range: text(RANGE),
            authorization: text(AUTHORIZATION),
            sent: if head { 0 } else { said.body.len() },
        });
        drop(state);
        let mut response = Response::builder().status(said.status).header(CONTENT_LENGTH, said.body.len());
        for (name, value) in said.headers {
            response = response.header(name, value);
        }
        response.body(StreamBody::new(stream(said.body, said.ends_early))).expect("headers of this file")
    }
}

fn stream(body: Bytes, ends_early: bool) -> BoxStream<'static, Result<Frame<Bytes>, Cut>> {
    if !ends_early {
        return futures::stream::iter([Ok(Frame::data(body))]).boxed();
    }
    let half = Frame::data(body.slice(..body.len() / 2));
    // What waits makes the server flush: the half is on its way before the connection ends.
    let end = futures::stream::once(async {
        tokio::task::yield_now().await;
        Err(Cut)
    });
    futures::stream::iter([Ok(half)]).chain(end).boxed()
}

impl State {
    fn of_hub(&mut self, path: &str, headers: &HeaderMap, network: SocketAddr) -> Said {
        if self.busy.0 > 0 {
            self.busy.0 -= 1;
            let mut said = Said::plain(429, "");
            said.headers.push(("retry-after", self.busy.1.to_string()));
            return said;
        }
        let token = headers.get(AUTHORIZATION).map(|v| v.as_bytes() == format!("Bearer {TOKEN}").as_bytes());
        if token == Some(false) {
            return Said::plain(401, "");
        }
        if path == "/api/whoami-v2" {
            let who = Said::whole(Bytes::from_static(br#"{"type": "user", "name": "tests"}"#));
            return if token.is_some() { who } else { Said::plain(401, "") };
        }
        let found = match path.strip_prefix("/api/") {
            Some(rest) => rest.split_once("/revision/").map(|(name, rest)| (name.to_owned(), rest, true)),
            None => path[1..].split_once("/resolve/").map(|(name, rest)| {
                let name =
                    if name.starts_with("datasets/") { name.to_owned() } else { format!("models/{name}") };
                (name, rest, false)
            }),
        };
        let Some((name, rest, lists)) = found else {
            return Said::plain(404, "");
        };
        if let Some(now) = self.moved.get(&name) {
            let named = |name: &str| name.trim_start_matches("models/").to_owned();
            let location = path.replacen(&named(&name), &named(now), 1);
            let mut said = Said::plain(307, "");
            said.headers = vec![("location", location)];
            return said;
        }
        let Some(repository) = self.repositories.get(&name) else {
            return Said::plain(if token.is_some() { 404 } else { 401 }, "RepoNotFound");
        };
        // A revision is one part of the path, its slashes encoded.
        let (revision, file) = rest.split_once('/').unwrap_or((rest, ""));
        let revision = revision.replace("%2F", "/");
        let snapshot = repository.get(&revision);
        let Some(snapshot) = snapshot.or_else(|| repository.values().find(|s| s.commit == revision)) else {
            return Said::plain(404, "RevisionNotFound");
        };
        if lists {
            let files: Vec<_> = snapshot.files.keys().map(|f| serde_json::json!({"rfilename": f})).collect();
            let info = serde_json::json!({"id": name.split_once('/').map(|(_, id)| id), "sha": snapshot.commit, "siblings": files});
            return Said::whole(info.to_string().into());
        }
        if self.kept.contains(&name) && token.is_some() {
            return Said::plain(403, "GatedRepo");
        }
        if self.gated.contains(&name) && token.is_none() {
            return Said::plain(401, "GatedRepo");
        }
        let Some(body) = snapshot.files.get(file) else {
            return Said::plain(404, "EntryNotFound");
        };
        let commit = ("x-repo-commit", snapshot.commit.clone());
        if body.len() <= SMALL {
            let mut object = Sha1::new_with_prefix(format!("blob {}\0", body.len()));
            object.update(body);
            let etag = format!("\"{}\"", HEXLOWER.encode(&object.finalize()));
            let mut said = ranged(body.clone(), headers);
            said.headers.extend([commit, ("etag", etag)]);
            return said;
        }
        let hex = HEXLOWER.encode(&Sha256::digest(body));
        let mut said = Said::plain(302, "");
        said.headers = vec![
            commit,
            ("x-linked-etag", format!("\"{hex}\"")),
            ("x-linked-size", body.len().to_string()),
            ("location", format!("http://{network}/{hex}?Signature=secret-of-the-network")),
        ];
        said
    }

    fn of_network(&mut self, path: &str, headers: &HeaderMap) -> Said {
        let all = self.repositories.values().flat_map(BTreeMap::values).flat_map(|s| s.files.values());
        let found = all.into_iter().find(|body| HEXLOWER.encode(&Sha256::digest(body)) == path[1..]).cloned();
        let Some(body) = found else {
            return Said::plain(404, "");
        };
        let mut said = ranged(body, headers);
        if self.cut > 0 {
            self.cut -= 1;
            said.ends_early = true;
        }
        if self.flip > 0 {
            self.flip -= 1;
            let mut bytes = said.body.to_vec();
            bytes[0] ^= 1;
            said.body = bytes.into();
        }
        said
    }
}

/// The part of a body that a request asks for.
fn ranged(body: Bytes, headers: &HeaderMap) -> Said {
    let range = headers.get(RANGE).and_then(|v| v.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-'));
    let Some(from) = range.and_then(|from| from.parse::<usize>().ok()).filter(|from| *from < body.len())
    else {
        return Said::whole(body);
    };
    let mut said = Said::whole(body.slice(from..));
    said.status = StatusCode::PARTIAL_CONTENT;
    said.headers.push(("content-range", format!("bytes {from}-{}/{}", body.len() - 1, body.len())));
    said
}
