//! Certificates of CAs made for a test: for this machine, for a client.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// What accepts connections as `localhost`, and the CA's certificate as PEM.
///
/// # Panics
/// Never: the parameters are fixed.
pub(crate) fn localhost() -> (TlsAcceptor, String) {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names are valid names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key can be made");
    let ca = authority.self_signed(&authority_key).expect("the CA signs itself");
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("a key can be made");
    let names = CertificateParams::new(vec!["localhost".to_owned()]).expect("localhost is a name");
    let certificate = names.signed_by(&key, &issuer).expect("the CA signs");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("the key is one");
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("key and certificate fit");
    (TlsAcceptor::from(Arc::new(config)), ca.pem())
}

/// Certificates that one CA signs, one after another.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The CA's certificate, PEM.
    pub certificate: String,
}

impl Authority {
    /// A new CA.
    ///
    /// # Panics
    /// Never: the parameters are fixed.
    pub fn new() -> Self {
        let mut authority = CertificateParams::new(Vec::new()).expect("no names are valid names");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = authority.self_signed(&key).expect("the CA signs itself").pem();
        Self { issuer: Issuer::new(authority, key), certificate }
    }

    /// A certificate for 127.0.0.1 with its chain, as PEM; its key, as PEM; and itself, DER.
    ///
    /// # Panics
    /// Never: the parameters are fixed.
    pub fn here(&self) -> (String, String, Vec<u8>) {
        self.signed(|_| {})
    }

    /// The same, good from so many days from now until so many.
    ///
    /// # Panics
    /// If the clock is before 1970.
    pub fn here_from_to(&self, from: i64, to: i64) -> (String, String, Vec<u8>) {
        const DAY: i64 = 24 * 60 * 60;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs();
        let at = |days: i64| {
            let seconds = now.checked_add_signed(days * DAY).expect("it is after 1970");
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
        };
        self.signed(|parameters| (parameters.not_before, parameters.not_after) = (at(from), at(to)))
    }

    /// The same for another host.
    ///
    /// # Panics
    /// If that is no name.
    pub fn of(&self, host: &str) -> (String, String, Vec<u8>) {
        let host = host.try_into().expect("it is a name");
        self.signed(|parameters| parameters.subject_alt_names = vec![rcgen::SanType::DnsName(host)])
    }

    fn signed(&self, changed: impl FnOnce(&mut CertificateParams)) -> (String, String, Vec<u8>) {
        let key = KeyPair::generate().expect("a key can be made");
        let mut names = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address is a name");
        changed(&mut names);
        let certificate = names.signed_by(&key, &self.issuer).expect("the CA signs");
        let chain = format!("{}{}", certificate.pem(), self.certificate);
        (chain, key.serialize_pem(), certificate.der().to_vec())
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// The certificate that a server at `address` shows to who trusts this CA (PEM) alone; `None` where that ends the handshake. The
/// connection is closed again.
///
/// # Panics
/// If nobody listens.
pub fn shown(address: &str, ca: &str) -> Option<Vec<u8>> {
    use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(ca.as_bytes()).expect("it is PEM")).expect("it is a CA");
    let mut config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let name = ServerName::try_from("127.0.0.1").expect("an address is a name");
    let mut connection = ClientConnection::new(Arc::new(config), name).expect("the configuration is whole");
    let mut socket = std::net::TcpStream::connect(address).expect("somebody listens");
    while connection.is_handshaking() {
        connection.complete_io(&mut socket).ok()?;
    }
    connection.peer_certificates()?.first().map(|certificate| certificate.to_vec())
}

/// A client's certificate and key, and the certificate of its CA, as PEM.
#[derive(Debug)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ClientCertificate {
    pub ca: String,
    pub certificate: String,
    pub key: String,
}

/// A client whose certificate carries this name.
///
/// # Panics
/// If it is no name.
pub fn client(name: &str) -> ClientCertificate {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names are valid names");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().expect("a key can be made");
    let ca = authority.self_signed(&authority_key).expect("the CA signs itself").pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().expect("a key can be made");
    let names = CertificateParams::new(vec![name.to_owned()]).expect("it is a name");
    let certificate = names.signed_by(&key, &issuer).expect("the CA signs").pem();
    ClientCertificate { ca, certificate, key: key.serialize_pem() }
}
