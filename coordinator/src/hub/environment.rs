//! Where the hub is and who asks: the variables that Hugging Face's own tools read.

use super::error::HubError;
use espalier_proto::shown;
use std::fmt;
use std::path::PathBuf;
use url::Url;

const ENDPOINT: &str = "https://huggingface.co";

/// A secret that the hub gave to a user.
#[derive(Clone)]
pub struct Token {
    secret: String,
    from: String,
}

impl Token {
    /// The secret itself: for the header of a request, never for a message.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// Where it was found, for messages.
    pub fn from(&self) -> &str {
        &self.from
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token from {}", self.from)
    }
}

/// The hub as this environment names it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Where it is.
    pub endpoint: Url,
    /// Who asks.
    pub token: Option<Token>,
}

impl Environment {
    /// Reads HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH and HF_HOME's token file; `None` under HF_HUB_OFFLINE. `get` reads one variable.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, HubError> {
        let set = |key: &str| get(key).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
        let yes = |value: String| ["1", "ON", "YES", "TRUE"].contains(&value.to_uppercase().as_str());
        if ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"].iter().any(|key| set(key).is_some_and(yes)) {
            return Ok(None);
        }
        let said = set("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned());
        let endpoint = Url::parse(&said)
            .ok()
            .filter(|url| ["http", "https"].contains(&url.scheme()) && url.has_host())
            .ok_or_else(|| HubError::Endpoint { found: shown::address(&said) })?;
        Ok(Some(Self { endpoint, token: token(&set)? }))
    }
}

fn token(set: &dyn Fn(&str) -> Option<String>) -> Result<Option<Token>, HubError> {
    let named = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"].into_iter();
    let named = named.filter_map(|key| Some((set(key)?, key.to_owned()))).next();
    let found = named.or_else(|| {
        let path = set("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home(set)?.join("token")))?;
        // No file is no token: most of what the hub has needs none.
        let text = std::fs::read_to_string(&path).ok()?.trim().to_owned();
        (!text.is_empty()).then(|| (text, path.display().to_string()))
    });
    match found {
        Some((secret, from)) if !secret.chars().all(|c| c.is_ascii_graphic()) => {
            Err(HubError::TokenText { from })
        }
        found => Ok(found.map(|(secret, from)| Token { secret, from })),
    }
}

/// A folder that a variable names; `~` is the user's own, also where no shell has said so.
pub fn folder(set: &dyn Fn(&str) -> Option<String>, key: &str) -> Option<PathBuf> {
    let said = set(key)?;
    let home = set("HOME").map(PathBuf::from);
    Some(match (said.strip_prefix('~'), home) {
        (Some(""), Some(home)) => home,
        (Some(rest), Some(home)) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => said.into(),
    })
}

fn home(set: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let path = |key: &str| folder(set, key);
    path("HF_HOME")
        .or_else(|| path("XDG_CACHE_HOME").map(|cache| cache.join("huggingface")))
        .or_else(|| path("HOME").map(|home| home.join(".cache/huggingface")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Environment>, HubError> {
        Environment::read(|key| pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn the_token_is_the_variables_before_the_files_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "hf_ofthefile\n").unwrap();
        std::fs::write(folder.path().join("other"), "hf_other").unwrap();
        let home = folder.path().to_str().unwrap();
        let other = format!("{home}/other");
        let secret = |pairs: &[(&str, &str)]| read(pairs).unwrap().unwrap().token.map(|t| t.secret);
        assert_eq!(secret(&[("HF_HOME", home)]).unwrap(), "hf_ofthefile");
        assert_eq!(secret(&[("HF_HOME", home), ("HF_TOKEN_PATH", &other)]).unwrap(), "hf_other");
        assert_eq!(secret(&[("HF_HOME", home), ("HF_TOKEN", "hf_said")]).unwrap(), "hf_said");
        assert_eq!(secret(&[("HF_HOME", "/nowhere")]), None);
        let shown = format!("{:?}", read(&[("HF_TOKEN", "hf_said")]).unwrap());
        assert!(shown.contains("Token from HF_TOKEN") && !shown.contains("hf_said"), "{shown}");
        let error = read(&[("HF_TOKEN", "hf_a\nb")]).unwrap_err().to_string();
        assert!(error.contains("HF_TOKEN") && !error.contains("hf_a"), "{error}");
    }

    #[test]
    fn offline_is_no_hub_and_an_endpoint_is_a_url() {
        for value in ["1", "true", "ON"] {
            assert!(read(&[("HF_HUB_OFFLINE", value)]).unwrap().is_none());
        }
        let online = read(&[("HF_HUB_OFFLINE", "0")]).unwrap().unwrap();
        assert_eq!(online.endpoint.as_str(), "https://huggingface.co/");
        for (said, shown) in [
            ("hub.example", "hub.example"),
            ("mirror:s3cret@hub.corp", "…hub.corp"),
            ("ftp://user:s3cret@hub", "ftp://…hub"),
            ("http://s3cret@", "http://…"),
        ] {
            let error = read(&[("HF_ENDPOINT", said)]).unwrap_err().to_string();
            assert_eq!(error, format!("HF_ENDPOINT: found {shown}, expected http(s)://HOST"));
        }
    }
}
