//! What is wrong with the dates of a certificate that was refused, or with the clock that they were held against.

use chrono::{DateTime, SecondsFormat};
use tokio_rustls::rustls::CertificateError;
use tokio_rustls::rustls::pki_types::UnixTime;

/// What follows "the certificate"; `None` where it was refused for something else.
pub(super) fn out_of_date(error: &CertificateError) -> Option<String> {
    const HERE: &str = "by this machine's clock";
    Some(match error {
        CertificateError::Expired => format!("has expired {HERE}"),
        CertificateError::ExpiredContext { time, not_after } => {
            format!("expired at {}, and it is {} {HERE}", utc(*not_after), utc(*time))
        }
        CertificateError::NotValidYet => format!("is not valid yet {HERE}"),
        CertificateError::NotValidYetContext { time, not_before } => {
            format!("is not valid before {}, and it is {} {HERE}", utc(*not_before), utc(*time))
        }
        _ => return None,
    })
}

fn utc(time: UnixTime) -> String {
    let seconds = time.as_secs();
    let known = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    known.map_or_else(
        || format!("{seconds} s after 1970"),
        |time| time.to_rfc3339_opts(SecondsFormat::Secs, true),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_certificates_end_and_its_beginning_are_told_with_what_the_clock_says() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired =
            CertificateError::ExpiredContext { time: at(1_700_000_000), not_after: at(1_600_000_000) };
        let told = "expired at 2020-09-13T12:26:40Z, and it is 2023-11-14T22:13:20Z by this machine's clock";
        assert_eq!(out_of_date(&expired).unwrap(), told);
        let early = CertificateError::NotValidYetContext { time: at(0), not_before: at(u64::MAX) };
        let told = out_of_date(&early).unwrap();
        assert!(told.starts_with("is not valid before 18446744073709551615 s after 1970"), "{told}");
        assert!(told.ends_with("it is 1970-01-01T00:00:00Z by this machine's clock"), "{told}");
        assert_eq!(out_of_date(&CertificateError::UnknownIssuer), None);
    }
}
