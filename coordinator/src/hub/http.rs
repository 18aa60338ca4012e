//! One request to the hub, followed where it leads. The token goes to the hub's own origin only, and only where nobody listens: to this
//! machine by no proxy, which would read what is plaintext.

use super::environment::{Environment, Token};
use super::error::{HubError, MOST_WAIT_S};
use super::listing::body;
use super::repository::Repository;
use crate::clock;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, LOCATION, RANGE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, Response};
use std::time::Duration;
use url::{Host, Url};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// Longest silence inside an answer.
const SILENCE: Duration = Duration::from_secs(60);
/// Waits between tries where the hub is busy.
const WAITS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(2), Duration::from_secs(8)];
/// Most redirects of one request.
const HOPS: usize = 8;

/// The hub.
#[derive(Clone, Debug)]
pub struct Hub {
    client: Client,
    /// For this machine, where a proxy would be elsewhere.
    direct: Client,
    pub(super) endpoint: Url,
    pub(super) token: Option<Token>,
}

/// What a hub says to who asks who he is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// It takes the token.
    Known,
    /// It wants a token for that, and was given none.
    Unasked,
    /// Something else than a hub does, such as a mirror that knows no users, or a web server that is no hub.
    Strange {
        /// The status that it said it with.
        status: u16,
    },
}

/// Where redirects lead that are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follow {
    /// On the hub itself: a renamed repository.
    Hub,
    /// Wherever it sends us: its content network.
    Anywhere,
}

/// The last answer, and what the hub itself said on the way to it.
pub(super) struct Answer {
    pub(super) response: Response,
    pub(super) of_hub: HeaderMap,
}

impl Answer {
    /// A header of the hub's; the first answer that has it wins.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.of_hub.get(name)?.to_str().ok()
    }

    /// Seconds after which whoever answered at last may be asked again, where that was told.
    fn after_s(&self) -> Option<u64> {
        self.response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
    }

    /// Who answered at last.
    pub(super) fn host(&self) -> String {
        shown(self.response.url())
    }
}

impl Hub {
    /// The hub of this environment. Connects to nothing yet.
    pub fn new(environment: Environment) -> Result<Self, HubError> {
        let Environment { endpoint, token } = environment;
        let client = || {
            Client::builder()
                .user_agent(concat!("espalier/", env!("CARGO_PKG_VERSION")))
                .redirect(Policy::none())
                .connect_timeout(CONNECT)
                .read_timeout(SILENCE)
        };
        let broken = |source| HubError::Unreachable { host: shown(&endpoint), source };
        let direct = client().no_proxy().build().map_err(broken)?;
        let client = client().build().map_err(broken)?;
        if token.is_some() && !is_private(&endpoint) {
            tracing::warn!(endpoint = %shown(&endpoint), "HF_ENDPOINT is not https: the token is not sent");
        }
        Ok(Self { client, direct, endpoint, token })
    }

    /// Asks whether the hub is there, and whether it takes the token if it is given one.
    pub async fn greet(&self) -> Result<Greeting, HubError> {
        let mut answer = self.send(Method::GET, self.url(["api", "whoami-v2"]), 0, Follow::Hub).await?;
        let (host, what) = (self.host(), "whoami-v2".to_owned());
        match (answer.response.status().as_u16(), self.token_for(&self.endpoint)) {
            (401, Some(token)) => Err(HubError::Token { host, from: token.from().to_owned(), what }),
            (401, None) => Ok(Greeting::Unasked),
            (status @ 500.., _) => Err(HubError::Status { host, status, what }),
            (200, token) => {
                let body = body(&mut answer).await?.unwrap_or_default();
                let named = serde_json::from_slice::<serde_json::Value>(&body)
                    .is_ok_and(|who| who["name"].is_string());
                Ok(match token {
                    Some(_) if named => Greeting::Known,
                    _ => Greeting::Strange { status: 200 },
                })
            }
            (status, _) => Ok(Greeting::Strange { status }),
        }
    }

    /// The hub's host, for messages.
    pub fn host(&self) -> String {
        shown(&self.endpoint)
    }

    /// An address on the hub.
    pub(super) fn url<'a>(&self, parts: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint.clone();
        url.path_segments_mut().expect("an endpoint has a host").pop_if_empty().extend(parts);
        url
    }

    /// A repository's page.
    pub(super) fn page(&self, repository: &Repository) -> String {
        let mut url = self.url(repository.path());
        // Whatever of the endpoint is nobody's business stays out of messages.
        let _ = url.set_username("").and_then(|()| url.set_password(None));
        url.to_string()
    }

    /// The token, if it may be sent to this address.
    pub(super) fn token_for(&self, url: &Url) -> Option<&Token> {
        let own = url.origin() == self.endpoint.origin();
        self.token.as_ref().filter(|_| own && is_private(url))
    }

    /// Asks for a body from its byte `from` on.
    pub(super) async fn send(
        &self,
        method: Method,
        mut url: Url,
        from: u64,
        follow: Follow,
    ) -> Result<Answer, HubError> {
        let mut of_hub = HeaderMap::new();
        for _ in 0..HOPS {
            // Sizes and hashes are those of the content, not of a compressed form.
            let client = if is_here(&url) { &self.direct } else { &self.client };
            let mut request = client.request(method.clone(), url.clone()).header(ACCEPT_ENCODING, "identity");
            if let Some(token) = self.token_for(&url) {
                request = request.bearer_auth(token.secret());
            }
            if from > 0 {
                request = request.header(RANGE, format!("bytes={from}-"));
            }
            let host = shown(&url);
            // Addresses may be signed: they stay out of messages.
            let unreachable = |e: reqwest::Error| HubError::Unreachable { host, source: e.without_url() };
            let response = request.send().await.map_err(unreachable)?;
            if url.origin() == self.endpoint.origin() {
                for (name, value) in response.headers() {
                    of_hub.entry(name).or_insert_with(|| value.clone());
                }
            }
            let Some(next) = next(&url, &response) else {
                return Ok(Answer { response, of_hub });
            };
            if follow == Follow::Hub && next.origin() != self.endpoint.origin() {
                return Ok(Answer { response, of_hub });
            }
            if url.scheme() == "https" && next.scheme() != "https" {
                let why = format!("a redirect from https to {}", next.scheme());
                return Err(HubError::Answer { host: shown(&url), what: "a redirect".to_owned(), why });
            }
            url = next;
        }
        let why = format!("more than {HOPS} redirects");
        Err(HubError::Answer { host: shown(&url), what: "a redirect".to_owned(), why })
    }

    /// Asks the hub itself, patiently where it is busy.
    pub(super) async fn ask(&self, method: Method, url: Url) -> Result<Answer, HubError> {
        for wait in WAITS {
            let answer = self.send(method.clone(), url.clone(), 0, Follow::Hub).await?;
            let status = answer.response.status();
            if !status.is_server_error() && status != 429 {
                return Ok(answer);
            }
            let told = answer.after_s().unwrap_or_default();
            if told > MOST_WAIT_S {
                return Ok(answer);
            }
            let wait = wait.max(Duration::from_secs(told));
            tracing::warn!(%status, wait_s = wait.as_secs_f64(), "the hub is busy and is asked again");
            clock::sleep(wait).await;
        }
        self.send(method, url, 0, Follow::Hub).await
    }

    /// What a refusal means. `what`: what was asked for, of which repository.
    pub(super) fn refusal(&self, answer: &Answer, repository: &Repository, what: String) -> HubError {
        let status = answer.response.status().as_u16();
        let (code, host) = (answer.header("x-error-code").unwrap_or_default(), answer.host());
        let own = answer.response.url().origin() == self.endpoint.origin();
        let message = answer.header("x-error-message").unwrap_or_default();
        let sent = self.token_for(&self.endpoint).map(Token::from);
        match (status, code, sent) {
            (429, ..) => {
                let hint =
                    if own && sent.is_none() { "; with a token, HF_TOKEN, it allows more" } else { "" };
                HubError::Busy { host, what, after_s: answer.after_s(), hint }
            }
            _ if !own => HubError::Status { host, status, what },
            (401 | 403, "GatedRepo", sent) => {
                let (what, page) = (repository.to_string(), self.page(repository));
                match sent {
                    Some(from) => HubError::NotGranted { what, page, from: from.to_owned() },
                    None => HubError::Gated { what, page },
                }
            }
            (401, _, Some(from)) if message.contains("Invalid credentials") => {
                HubError::Token { host, from: from.to_owned(), what }
            }
            (404, ..) | (401, "RepoNotFound", _) | (401, _, None) => HubError::NotFound {
                host,
                what,
                hint: match (code, sent) {
                    ("RevisionNotFound" | "EntryNotFound", _) => String::new(),
                    (_, None) => "; if it is private, set HF_TOKEN to a token that may read it".to_owned(),
                    (_, Some(from)) => format!(", or none that the token of {from} may read"),
                },
            },
            (401 | 403, _, Some(from)) => HubError::Token { host, from: from.to_owned(), what },
            _ => HubError::Status { host, status, what },
        }
    }
}

/// Where a redirect leads.
fn next(url: &Url, response: &Response) -> Option<Url> {
    if ![301, 302, 303, 307, 308].contains(&response.status().as_u16()) {
        return None;
    }
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    url.join(location).ok().filter(|next| ["http", "https"].contains(&next.scheme()))
}

/// Host and port, without what an address may hide.
fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", url.host_str().unwrap_or_default())
}

/// Nobody between here and there reads along.
fn is_private(url: &Url) -> bool {
    url.scheme() == "https" || is_here(url)
}

/// On this machine.
fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(endpoint: &str) -> Hub {
        let get = |key: &str| match key {
            "HF_TOKEN" => Some("hf_secret".to_owned()),
            "HF_ENDPOINT" => Some(endpoint.to_owned()),
            _ => None,
        };
        Hub::new(Environment::read(get).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn the_token_is_for_the_hubs_origin_and_never_in_the_clear() {
        let goes = |endpoint: &str, to: &str| hub(endpoint).token_for(&Url::parse(to).unwrap()).is_some();
        assert!(goes("https://huggingface.co", "https://huggingface.co/api/models/a/b"));
        assert!(goes("http://127.0.0.1:8080/hf/", "http://127.0.0.1:8080/hf/a"));
        for to in
            ["https://cdn-lfs.huggingface.co/a", "http://huggingface.co/a", "https://huggingface.co:444/a"]
        {
            assert!(!goes("https://huggingface.co", to), "{to}");
        }
        assert!(!goes("http://mirror.example", "http://mirror.example/a"));
        assert!(!goes("http://127.0.0.1:8080", "http://127.0.0.1:8081/a"));
    }

    #[test]
    fn addresses_keep_the_endpoints_path_and_encode_a_revision() {
        let hub = hub("https://user:pass@mirror.example/hf/");
        let url = hub.url(["api", "datasets", "a", "b", "revision", "refs/convert/parquet"]);
        assert_eq!(url.path(), "/hf/api/datasets/a/b/revision/refs%2Fconvert%2Fparquet");
        let page = hub.page(&Repository::new(crate::hub::Kind::Dataset, "a/b").unwrap());
        assert_eq!(page, "https://mirror.example/hf/datasets/a/b");
    }
}
