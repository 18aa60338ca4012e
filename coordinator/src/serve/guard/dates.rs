//! Warns of a certificate that clients refuse, or soon will, by its dates or by its name.

use crate::clock::seconds_since;
use chrono::{DateTime, SecondsFormat, Utc};
use std::path::Path;
use tokio_rustls::rustls::client::verify_server_name;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::ParsedCertificate;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

/// A week before its end a certificate that is to be renewed should have been; one of days, in its last third.
const SOON_S: i64 = 7 * 24 * 60 * 60;

/// Logs what is wrong now with the dates of the chain's certificates, which are the folder's.
pub(super) fn warn(folder: &Path, chain: &[CertificateDer<'_>]) {
    for certificate in chain {
        // What cannot be read is refused by who reads it.
        let Ok((_, certificate)) = X509Certificate::from_der(certificate) else { continue };
        let validity = certificate.validity();
        let (Some(from), Some(to)) = (time(&validity.not_before), time(&validity.not_after)) else {
            continue;
        };
        let Some(wrong) = wrong(from, to) else { continue };
        tracing::warn!(
            folder = %folder.display(),
            certificate = %certificate.subject(),
            "the coordinator's certificate {wrong}: renew tls.crt and tls.key, or ca.crt and ca.key, or set this machine's clock if it is \
             wrong; it is {} by it",
            crate::clock::utc()
        );
    }
}

/// Logs that the folder's certificate does not name the host that others are told, if it does not.
pub(super) fn warn_of_name(folder: &Path, chain: &[CertificateDer<'_>], host: &str) {
    let Some(why) = misnamed(chain, host) else { return };
    tracing::warn!(
        folder = %folder.display(),
        "the coordinator's certificate does not name the host of --advertise (ESPALIER_ADVERTISE), and who is told no fingerprint refuses \
         it: {why}; put the name into tls.crt, as a DNS name or an IP address, or advertise one that it has"
    );
}

fn misnamed(chain: &[CertificateDer<'_>], host: &str) -> Option<String> {
    // What cannot be read is refused by who reads it.
    let name = ServerName::try_from(host).ok()?;
    let certificate = ParsedCertificate::try_from(chain.first()?).ok()?;
    verify_server_name(&certificate, &name).err().map(|error| error.to_string())
}

fn time(of: &ASN1Time) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(of.timestamp(), 0)
}

fn wrong(from: DateTime<Utc>, to: DateTime<Utc>) -> Option<String> {
    let soon = SOON_S.min((to - from).num_seconds() / 3);
    let shown = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    if seconds_since(from) < 0 {
        return Some(format!("is not valid before {}", shown(from)));
    }
    match seconds_since(to) {
        1.. => Some(format!("expired at {}, and clients refuse it", shown(to))),
        past if past > -soon => Some(format!("expires soon, at {}", shown(to))),
        _ => None,
    }
}
