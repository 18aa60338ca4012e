//! Certificates of CAs made for a test: for this machine, for a client.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::sync::Arc;
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
