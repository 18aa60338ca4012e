//! What a coordinator shows at a handshake: the certificate of its identity's folder, and there is no restart when that is renewed. The
//! files are looked at when somebody connects, every few seconds; connections that are open stay.

use super::dates;
use super::identity::IdentityError;
use super::tokens::CLIENTS;
use crate::clock::Stopwatch;
use espalier_proto::ids::Digest;
use espalier_proto::remote::pem;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{Error, RootCertStore, ServerConfig};

/// Files are looked at again after this.
const STALE: Duration = Duration::from_secs(5);
/// The files that a handshake depends on.
const FILES: [&str; 3] = ["tls.crt", "tls.key", CLIENTS];

/// Certificates, leaf first, and the leaf's key.
pub(super) type Chain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Accepts connections.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    /// A certificate that was made at the start, where none is mounted.
    made: Option<Chain>,
    /// The host that others are told, where one is said.
    host: Option<String>,
    now: Mutex<Now>,
}

struct Now {
    acceptor: TlsAcceptor,
    anchor: Digest,
    /// What the files held.
    seen: Digest,
    looked: Stopwatch,
}

impl Tls {
    /// Shows the folder's own certificate, which should name the host that others are told.
    pub(super) fn mounted(folder: &Path, host: Option<&str>) -> Result<Self, IdentityError> {
        Self::open(folder, None, host)
    }

    /// Shows this one.
    pub(super) fn made(folder: &Path, chain: Chain) -> Result<Self, IdentityError> {
        Self::open(folder, Some(chain), None)
    }

    fn open(folder: &Path, made: Option<Chain>, host: Option<&str>) -> Result<Self, IdentityError> {
        // Before it is read: what changes meanwhile is seen the next time.
        let seen = contents(folder);
        let (acceptor, anchor) = read(folder, made.as_ref(), host)?;
        let now = Mutex::new(Now { acceptor, anchor, seen, looked: Stopwatch::start() });
        Ok(Self(Arc::new(Inner { folder: folder.to_owned(), made, host: host.map(str::to_owned), now })))
    }

    /// The digest of the last certificate of the chain, which outlives the leaf: what addresses are pinned to.
    pub(super) fn anchor(&self) -> Digest {
        self.0.now.lock().expect("nothing panics while it holds the certificate").anchor
    }

    /// What takes the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let Inner { folder, made, host, now } = &*self.0;
        let mut now = now.lock().expect("nothing panics while it holds the certificate");
        if now.looked.elapsed() > STALE {
            now.looked = Stopwatch::start();
            let found = contents(folder);
            if found != now.seen {
                match read(folder, made.as_ref(), host.as_deref()) {
                    Ok((acceptor, anchor)) => {
                        tracing::info!(folder = %folder.display(), "the certificate was read again");
                        if anchor != now.anchor {
                            tracing::warn!(
                                fingerprint = %anchor,
                                "the last certificate of the chain is another: addresses that were given out with the former fingerprint \
                                 lead here no more; `espalier identity` prints new ones"
                            );
                        }
                        (now.acceptor, now.anchor, now.seen) = (acceptor, anchor, found);
                    }
                    // Half of a pair may be there: what was read before holds until the files fit again.
                    Err(error) => tracing::warn!(%error, "the certificate could not be read again"),
                }
            }
        }
        now.acceptor.clone()
    }
}

/// A digest of what the files hold now; absent ones hold nothing.
fn contents(folder: &Path) -> Digest {
    let held =
        FILES.map(|name| Digest::of(&std::fs::read(folder.join(name)).unwrap_or_default()).to_string());
    Digest::of(held.concat().as_bytes())
}

fn read(
    folder: &Path,
    made: Option<&Chain>,
    host: Option<&str>,
) -> Result<(TlsAcceptor, Digest), IdentityError> {
    let file = |name: &str| {
        let path = folder.join(name);
        move |why| IdentityError::File { path, why }
    };
    let (chain, key) = match made {
        Some((chain, key)) => (chain.clone(), key.clone_key()),
        None => (
            pem::certificates(&folder.join("tls.crt")).map_err(file("tls.crt"))?,
            pem::private_key(&folder.join("tls.key")).map_err(file("tls.key"))?,
        ),
    };
    let anchor = Digest::of(chain.last().expect("a chain has a certificate"));
    let broken = |why: String| IdentityError::Tls { folder: folder.to_owned(), why };
    let provider = Arc::new(default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| broken(e.to_string()))?;
    let clients = folder.join(CLIENTS);
    let builder = match clients.exists() {
        false => builder.with_no_client_auth(),
        true => {
            let mut roots = RootCertStore::empty();
            for certificate in pem::certificates(&clients).map_err(file(CLIENTS))? {
                roots.add(certificate).map_err(|e| broken(e.to_string()))?;
            }
            // Who shows none needs a token.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|e| broken(e.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain.clone(), key).map_err(|e| match e {
        Error::InconsistentKeys(_) => {
            file("tls.key")("found the key of another certificate, expected the one of tls.crt".to_owned())
        }
        e => broken(e.to_string()),
    })?;
    dates::warn(folder, &chain);
    if let Some(host) = host {
        dates::warn_of_name(folder, &chain, host);
    }
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), anchor))
}
