//! A certificate for this machine, of a CA made for it.

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
