//! An address and a user's files → a channel that connects when it is used, and what it shows.

use super::address::{Address, AddressError};
use super::dates::out_of_date;
use super::dialect::Dialect;
use super::heard::{Heard, PING, mute};
use super::tls::{Tls, is_of_a_certificate};
use hyper_util::rt::TokioIo;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::rustls::{self, CertificateError};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Status};
use tower::service_fn;

/// How long a connection may take, and TLS on it.
const CONNECT: Duration = Duration::from_secs(5);
/// A ping's answer is waited for by [`Heard`], which knows the address.
const PONG: Duration = Duration::from_secs(600);

/// How a coordinator is believed, and what is shown to it: what stands in files, which can be replaced at any time.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct Reach {
    /// A file with the token that is shown to the coordinator, read at every call, so that it can be replaced
    #[arg(long, env = "ESPALIER_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Certificates of the CAs that the coordinator's is checked with, PEM, read at every connection [default: the system's]
    #[arg(long, env = "ESPALIER_CA_FILE", value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The certificate of this end, PEM, where the coordinator takes certificates for tokens; read, as its key is, at every connection
    #[arg(long, env = "ESPALIER_CERT_FILE", value_name = "FILE", requires = "key_file")]
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM
    #[arg(long, env = "ESPALIER_KEY_FILE", value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
}

/// What tells [`ReachError::Mute`] where nothing but its text is left: of an I/O error HTTP/2 hands no more to those who wait.
const MUTE: &str = "accepts connections but does not answer";

/// What HTTP/2 makes of the alert with which TLS answers plaintext, and of any answer that is none of its frames.
const NO_FRAME: &str = "frame with invalid size";

/// Why a coordinator cannot be called at all.
#[derive(Debug, thiserror::Error)]
pub enum ReachError {
    /// The address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A file that cannot be used.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A token, and nothing that would hide it on its way.
    #[error(
        "{address}: a token is not sent over plaintext; use the https:// address that the coordinator prints"
    )]
    Plaintext {
        /// The address.
        address: String,
    },
    /// Nobody answers there, or not as the right one would.
    #[error(
        "no coordinator answers at {address}: {why}; say --coordinator URL, or start one: espalier coordinator"
    )]
    Unreachable {
        /// The address.
        address: String,
        /// Why not.
        why: String,
    },
    /// A connection is taken, and then nothing is said on it.
    #[error(
        "the coordinator at {address} {MUTE}: its process hangs or is stopped, or its machine is overloaded; a restart of it loses \
         nothing that is committed"
    )]
    Mute {
        /// The address.
        address: String,
    },
    /// What listens there does not encrypt.
    #[error(
        "{address}: what listens there speaks plaintext; where that is the coordinator, its address begins with http:// and has no \
         fingerprint and no token"
    )]
    NoTls {
        /// The address.
        address: String,
    },
    /// What listens there encrypts, or is something else.
    #[error(
        "{address}: what listens there does not speak HTTP/2 over plaintext; where that is the coordinator, its address begins with \
         https://, as `espalier identity` prints it, with fingerprint and token"
    )]
    NoPlaintext {
        /// The address.
        address: String,
    },
    /// The right one may listen there; its certificate does not say so by this name.
    #[error(
        "{address}: the certificate of who listens there does not name this host: {why}; use a name that it has, or put this one into \
         it (tls.crt of the coordinator's identity); an address with #FINGERPRINT asks for no name"
    )]
    WrongName {
        /// The address.
        address: String,
        /// What was wanted, and what it names.
        why: String,
    },
    /// Who listens there is not the one who is meant.
    #[error(
        "{address}: who listens there shows another certificate than the fingerprint, or the CA, says: {why}; its CA may be new: \
         ask for the address again, `espalier identity` prints it, and where # begins a comment it must be in quotes"
    )]
    Certificate {
        /// The address.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The certificate of who listens there has run out, or is yet to be valid; or the clock is wrong that says so.
    #[error(
        "{address}: the certificate of who listens there {why}: renew it (tls.crt and tls.key of the coordinator's identity), or set \
         the clock"
    )]
    OutOfDate {
        /// The address.
        address: String,
        /// Since when, or until when.
        why: String,
    },
    /// The coordinator does not take the certificate that is shown to it.
    #[error(
        "the coordinator at {address} refuses this end's certificate: {why}; expected in --cert-file one that a CA of its client-ca.crt \
         signed, and that has not run out"
    )]
    RefusedCertificate {
        /// The address.
        address: String,
        /// What it said.
        why: String,
    },
    /// TLS cannot be set up.
    #[error("{address}: {why}")]
    Tls {
        /// The address.
        address: String,
        /// What is wrong.
        why: String,
    },
}

/// A channel to the coordinator, which connects at the first call and again whenever it must, and what every call carries. A call may be
/// held for as long as the caller waits.
pub fn channel(address: &Address, reach: &Reach) -> Result<(Channel, Credential), ReachError> {
    let (endpoint, way, credential) = prepared(address, reach)?;
    Ok((endpoint.connect_with_connector_lazy(service_fn(move |_: Uri| way.clone().go())), credential))
}

/// As [`channel`], connected, for a person who waits: every call and stream ends once the coordinator has answered no ping for seconds.
pub async fn connected(address: &Address, reach: &Reach) -> Result<(Channel, Credential), ReachError> {
    let (endpoint, way, credential) = prepared(address, reach)?;
    let endpoint =
        endpoint.http2_keep_alive_interval(PING).keep_alive_timeout(PONG).keep_alive_while_idle(true);
    let way = Way { heard: true, ..way };
    let channel = endpoint.connect_with_connector(service_fn(move |_: Uri| way.clone().go())).await;
    let failed = |error: tonic::transport::Error| {
        let address = address.to_string();
        found(&address, &error).unwrap_or_else(|| ReachError::Unreachable { address, why: deepest(&error) })
    };
    Ok((channel.map_err(failed)?, credential))
}

/// Why a call failed: what the other side said, or what the connection to it met.
pub fn reason(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(error) => deepest(error),
        None => status.message().to_owned(),
    }
}

/// Who or what the call found at this address instead of a coordinator that answers, where the connection tells.
pub fn met(address: &str, status: &Status) -> Option<ReachError> {
    found(address, std::error::Error::source(status)?)
}

/// The call failed since the coordinator answers nothing on an open connection.
pub fn is_mute(status: &Status) -> bool {
    std::error::Error::source(status).is_some_and(|error| deepest(error).contains(MUTE))
}

/// What was wrong in the first place; what stands above it says "transport error".
fn deepest(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn found(address: &str, error: &(dyn std::error::Error + 'static)) -> Option<ReachError> {
    let (address, why) = (address.to_owned(), deepest(error));
    if address.starts_with("http://") && why.contains(NO_FRAME) {
        return Some(ReachError::NoPlaintext { address });
    }
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| {
        let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
        let address = address.clone();
        match inner.downcast_ref::<rustls::Error>() {
            Some(rustls::Error::InvalidCertificate(wrong)) => Some(match (out_of_date(wrong), wrong) {
                (Some(why), _) => ReachError::OutOfDate { address, why },
                (_, CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
                    ReachError::WrongName { address, why: wrong.to_string() }
                }
                _ => ReachError::Certificate { address, why: why.clone() },
            }),
            Some(rustls::Error::AlertReceived(alert)) if is_of_a_certificate(*alert) => {
                Some(ReachError::RefusedCertificate { address, why: why.clone() })
            }
            Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
                Some(ReachError::NoTls { address })
            }
            _ => inner.is::<ReachError>().then_some(ReachError::Mute { address }),
        }
    })
}

fn prepared(address: &Address, reach: &Reach) -> Result<(Endpoint, Way, Credential), ReachError> {
    let credential = match (&reach.token_file, &address.token) {
        (None, None) => Credential::None,
        _ if !address.tls => return Err(ReachError::Plaintext { address: address.to_string() }),
        (Some(path), _) => {
            header(path, &read(path)?)?;
            Credential::File(path.clone())
        }
        (None, Some(token)) => Credential::Token(header(Path::new("token"), token)?),
    };
    let tls = match address.tls {
        true => Some(Tls::open(address, reach)?),
        false => None,
    };
    // TLS is the way's: for the endpoint what it connects to is plain.
    let endpoint = Endpoint::from_shared(format!("http://{}", address.authority))
        .map_err(|e| AddressError { shown: address.to_string(), why: e.to_string() })?;
    let way = Way { authority: address.authority.clone(), address: address.to_string(), tls, heard: false };
    Ok((endpoint, way, credential))
}

/// From here to there.
#[derive(Clone)]
struct Way {
    authority: String,
    /// As it is shown.
    address: String,
    tls: Option<Tls>,
    /// The other side must be heard from.
    heard: bool,
}

impl Way {
    async fn go(self) -> std::io::Result<TokioIo<Box<dyn Stream>>> {
        let named = tokio::time::timeout(CONNECT, tokio::net::lookup_host(&self.authority)).await;
        let named = named.unwrap_or_else(|_| Err(std::io::Error::other("no name server answers")));
        let addresses: Vec<_> = named.map_err(|error| unknown(&self.authority, &error))?.collect();
        let tcp = tokio::time::timeout(CONNECT, TcpStream::connect(&addresses[..])).await;
        let tcp = tcp.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))?;
        tcp.set_nodelay(true)?;
        let stream: Box<dyn Stream> = match self.tls {
            None => Box::new(tcp),
            Some(tls) => {
                let encrypted = tokio::time::timeout(CONNECT, tls.shake(tcp)).await;
                Box::new(tls.accepted(encrypted.unwrap_or_else(|_| Err(mute(&self.address)))?).await?)
            }
        };
        Ok(TokioIo::new(if self.heard { Box::new(Heard::new(stream, self.address)) } else { stream }))
    }
}

/// The name may come to be known: a cluster's names appear with what they name.
fn unknown(authority: &str, error: &std::io::Error) -> std::io::Error {
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    std::io::Error::new(error.kind(), format!("the name {host} is not known on this machine ({error})"))
}

/// Plain or encrypted, to the one who calls.
trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send> Stream for T {}

/// That a file cannot be used.
pub(super) fn file(path: &Path, why: impl std::fmt::Display) -> ReachError {
    ReachError::File { path: path.to_owned(), why: why.to_string() }
}

/// What a call shows, beside the protocols that it speaks.
#[derive(Clone)]
pub enum Credential {
    /// Nothing.
    None,
    /// A token.
    Token(MetadataValue<Ascii>),
    /// The token of a file.
    File(PathBuf),
}

/// Without the token.
impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Token(_) => "Token(…)",
            Self::File(_) => "File(…)",
        })
    }
}

impl Interceptor for Credential {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        Dialect::ours().tell(request.metadata_mut());
        let value = match self {
            Self::None => return Ok(request),
            Self::Token(value) => value.clone(),
            Self::File(path) => read(path)
                .and_then(|token| header(path, &token))
                .map_err(|error| Status::unauthenticated(error.to_string()))?,
        };
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

fn read(path: &Path) -> Result<String, ReachError> {
    std::fs::read_to_string(path).map_err(|e| file(path, e))
}

/// The first line as a header's value.
fn header(path: &Path, token: &str) -> Result<MetadataValue<Ascii>, ReachError> {
    let token = token.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let token = token.ok_or_else(|| file(path, "found no token"))?;
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}")
        .parse()
        .map_err(|_| file(path, "the token has characters that no header can hold"))?;
    value.set_sensitive(true);
    Ok(value)
}
