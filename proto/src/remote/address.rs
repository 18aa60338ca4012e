//! The text of an address → its parts. Does no input or output.

use crate::ids::Digest;
use crate::shown;
use std::fmt;

/// Where a coordinator is and what makes it the right one.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    /// `HOST:PORT`; an IPv6 host in brackets.
    pub authority: String,
    /// The host alone, as a certificate names it.
    pub host: String,
    /// True for https.
    pub tls: bool,
    /// SHA-256 of a certificate in the coordinator's chain.
    pub pin: Option<Digest>,
    /// What is shown to the coordinator.
    pub token: Option<String>,
}

/// An address that makes no sense. Its text never holds a token or a password, wherever it was mistyped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "--coordinator {shown}: {why}; expected http://HOST:PORT, https://HOST:PORT or https://HOST:PORT#FINGERPRINT:TOKEN"
)]
pub struct AddressError {
    /// Scheme, host and port of the address.
    pub shown: String,
    /// What is wrong.
    pub why: String,
}

impl Address {
    /// Parses an address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (url, secret) = match text.split_once('#') {
            Some((url, secret)) => (url, Some(secret)),
            None => (text, None),
        };
        let bad = |why: String| AddressError { shown: shown::address(url), why };
        // `HOST:PORT` would be taken for a scheme and a path.
        if !url.contains("://") {
            let lost = match secret {
                Some(_) => "",
                None => {
                    " and no #FINGERPRINT:TOKEN (where # begins a comment, the address must be in quotes)"
                }
            };
            return Err(bad(format!("it has no scheme{lost}")));
        }
        let parsed = url::Url::parse(url).map_err(|e| bad(e.to_string()))?;
        let tls = match parsed.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(bad(format!("found scheme {other:?}"))),
        };
        let host = parsed.host_str().ok_or_else(|| bad("it has no host".to_owned()))?.to_owned();
        let port = parsed.port_or_known_default().ok_or_else(|| bad("it has no port".to_owned()))?;
        let user = !parsed.username().is_empty() || parsed.password().is_some();
        if !matches!(parsed.path(), "" | "/") || user || parsed.query().is_some() {
            return Err(bad("found more than a host and a port".to_owned()));
        }
        let (pin, token) = match secret {
            None => (None, None),
            Some(_) if !tls => {
                return Err(bad(
                    "a token is not sent over plaintext: the address must begin with https".to_owned()
                ));
            }
            Some(secret) => {
                let (pin, token) = secret.split_once(':').unwrap_or((secret, ""));
                let pin = pin.parse().map_err(|_| {
                    bad(format!(
                        "the fingerprint after # has {} characters, expected 64 of hexadecimal",
                        pin.len()
                    ))
                })?;
                // Nothing after the colon is a token that stands in a file; blanks are one that was lost.
                let blank = !token.is_empty() && token.trim().is_empty();
                if blank {
                    return Err(bad("the token after the fingerprint is blank".to_owned()));
                }
                (Some(pin), Some(token.trim().to_owned()).filter(|token| !token.is_empty()))
            }
        };
        let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { authority: format!("{host}:{port}"), host: name, tls, pin, token })
    }
}

/// The address as it may be shown: without its token.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.tls { "https" } else { "http" }, self.authority)
    }
}

/// As [`fmt::Display`]: a token must not reach a log.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIN: &str = "ab00000000000000000000000000000000000000000000000000000000000001";

    #[test]
    fn an_address_has_a_host_a_port_and_perhaps_a_fingerprint_and_a_token() {
        let plain = Address::parse("http://10.0.0.5:7420").unwrap();
        assert_eq!((plain.authority.as_str(), plain.tls, plain.token), ("10.0.0.5:7420", false, None));
        let whole = Address::parse(&format!("https://gpu.example:7420#{PIN}:s3cret")).unwrap();
        assert_eq!(whole.pin.unwrap().to_string(), PIN);
        assert_eq!(whole.token.as_deref(), Some("s3cret"));
        assert_eq!(whole.to_string(), "https://gpu.example:7420");
        assert_eq!(Address::parse(&format!("https://h:1#{PIN}:")).unwrap().token, None);
        let pinned = Address::parse(&format!("https://[::1]:7420#{PIN}")).unwrap();
        assert_eq!((pinned.host.as_str(), pinned.token), ("::1", None));
    }

    #[test]
    fn what_is_no_address_is_refused_and_its_token_is_never_shown() {
        for (text, why) in [
            (format!("http://h:1#{PIN}:s3cret"), "plaintext"),
            ("https://h:1#abc:s3cret".to_owned(), "fingerprint"),
            (format!("ftp://h:1#{PIN}:s3cret"), "scheme"),
            (format!("https://h:1/path#{PIN}:s3cret"), "more than a host"),
            (format!("https://h:1#{PIN}: \t"), "is blank"),
            ("no url".to_owned(), "it has no scheme and no #FINGERPRINT"),
            (format!("h:1#{PIN}:s3cret"), "--coordinator h:1: it has no scheme; expected http://HOST:PORT"),
            ("10.0.0.5:7420".to_owned(), "10.0.0.5:7420: it has no scheme and no #FINGERPRINT"),
            // Where a token or a password does not belong.
            ("https://user:s3cret@127.0.0.1:1".to_owned(), "more than a host"),
            ("https://:s3cret@127.0.0.1:1".to_owned(), "more than a host"),
            ("https://127.0.0.1:1:s3cret".to_owned(), "invalid port"),
            ("https://127.0.0.1:1?token=s3cret".to_owned(), "more than a host"),
            (format!("https://127.0.0.1:1/s3cret#{PIN}"), "more than a host"),
        ] {
            let error = Address::parse(&text).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("s3cret"), "{error}");
        }
        let whole = Address::parse(&format!("https://h:1#{PIN}:s3cret")).unwrap();
        assert!(!format!("{whole} {whole:?}").contains("s3cret"));
    }
}
