//! TLS to a coordinator: whose certificates are believed, and which one is shown. The files are looked at whenever a connection is made,
//! so that they can be replaced while a program runs; connections that are open stay.

use super::address::{Address, AddressError};
use super::channel::{Reach, ReachError, file};
use super::pem;
use super::pin::Pinned;
use crate::ids::Digest;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, ClientConfig, RootCertStore};

/// How long the other side's first word is waited for.
const FIRST_WORD: Duration = Duration::from_secs(5);

/// Makes connections of one address.
#[derive(Clone)]
pub(super) struct Tls(Arc<Inner>);

struct Inner {
    address: Address,
    reach: Reach,
    name: ServerName<'static>,
    now: Mutex<Now>,
}

struct Now {
    connector: TlsConnector,
    /// What the files held.
    seen: Digest,
}

impl Tls {
    /// Reads the files.
    pub(super) fn open(address: &Address, reach: &Reach) -> Result<Self, ReachError> {
        let name = ServerName::try_from(address.host.clone())
            .map_err(|e| AddressError { shown: address.to_string(), why: e.to_string() })?;
        // Before they are read: what changes meanwhile is seen the next time.
        let seen = contents(reach);
        let connector = TlsConnector::from(Arc::new(config(address, reach)?));
        let now = Mutex::new(Now { connector, seen });
        Ok(Self(Arc::new(Inner { address: address.clone(), reach: reach.clone(), name, now })))
    }

    /// Encrypts a connection, with what the files hold now.
    pub(super) async fn shake(&self, tcp: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        self.connector().connect(self.0.name.clone(), tcp).await
    }

    /// Fails where the other side refuses this end's certificate. In TLS 1.3 it looks at that only when this end is done with the handshake:
    /// its refusal comes in place of its first word, and is lost by chance once something was written.
    pub(super) async fn accepted(
        &self,
        stream: TlsStream<TcpStream>,
    ) -> std::io::Result<BufReader<TlsStream<TcpStream>>> {
        let mut stream = BufReader::new(stream);
        if self.0.reach.cert_file.is_some()
            && let Ok(heard) = tokio::time::timeout(FIRST_WORD, stream.fill_buf()).await
        {
            heard?;
        }
        Ok(stream)
    }

    fn connector(&self) -> TlsConnector {
        let Inner { address, reach, now, .. } = &*self.0;
        let mut now = now.lock().expect("nothing panics while it holds the connector");
        let found = contents(reach);
        if found != now.seen {
            match config(address, reach) {
                Ok(config) => {
                    tracing::info!("the files of certificates were read again");
                    *now = Now { connector: TlsConnector::from(Arc::new(config)), seen: found };
                }
                // Half of a pair may be there: what was read before holds until the files fit again.
                Err(error) => {
                    tracing::warn!(%error, "the files of certificates could not be read again, the former hold");
                }
            }
        }
        now.connector.clone()
    }
}

/// A digest of what the files hold now; absent ones hold nothing.
fn contents(reach: &Reach) -> Digest {
    let files = [&reach.ca_file, &reach.cert_file, &reach.key_file].into_iter().flatten();
    let held = files.map(|path| Digest::of(&std::fs::read(path).unwrap_or_default()).to_string());
    Digest::of(held.collect::<String>().as_bytes())
}

/// True of what a server says of a certificate that it does not take; a decryption's error is what it says where a CA of the same name
/// as its own signed it.
pub(super) fn is_of_a_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied
            | AlertDescription::CertificateRequired
    )
}

fn config(address: &Address, reach: &Reach) -> Result<ClientConfig, ReachError> {
    let broken = |why: String| ReachError::Tls { address: address.to_string(), why };
    let provider = Arc::new(default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| broken(e.to_string()))?;
    let builder = match (address.pin, &reach.ca_file) {
        (Some(pin), _) => {
            let pinned = Arc::new(Pinned { pin, provider });
            builder.dangerous().with_custom_certificate_verifier(pinned)
        }
        (None, ca_file) => builder.with_root_certificates(roots(ca_file.as_deref(), broken)?),
    };
    let mut config = match reach.cert_file.as_ref().zip(reach.key_file.as_ref()) {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = pem::certificates(certificate).map_err(|why| file(certificate, why))?;
            let own = pem::private_key(key).map_err(|why| file(key, why))?;
            let unfit =
                |why| file(certificate, format!("{why}; expected the one of the key in {}", key.display()));
            builder.with_client_auth_cert(chain, own).map_err(unfit)?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn roots(ca_file: Option<&Path>, broken: impl Fn(String) -> ReachError) -> Result<RootCertStore, ReachError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            for certificate in pem::certificates(path).map_err(|why| file(path, why))? {
                roots.add(certificate).map_err(|e| file(path, e))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                return Err(broken("this system has no certificates of CAs; say --ca-file, or use the address with a fingerprint that the coordinator prints".to_owned()));
            }
            roots.add_parsable_certificates(found.certs);
        }
    }
    Ok(roots)
}
