//! What can go wrong between here and the hub. No message holds a token, nor a signed address.

use super::placed::Unplaced;
use std::time::Duration;

/// The hub cannot give what is wanted.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// HF_ENDPOINT is no address.
    #[error("HF_ENDPOINT: found {found}, expected http(s)://HOST")]
    Endpoint {
        /// Of its value what may be shown.
        found: String,
    },
    /// What should be a token has characters that no token has.
    #[error("{from}: found blanks or control characters, expected a token as the hub shows it, hf_…")]
    TokenText {
        /// Variable or file.
        from: String,
    },
    /// No repository has such a name.
    #[error("{kind} {name}: found no name of a repository, expected org/name[@revision]")]
    Name {
        /// `model` or `dataset`.
        kind: &'static str,
        /// What was said.
        name: String,
    },
    /// The hub does not answer.
    #[error("{host} cannot be reached; HF_HUB_OFFLINE=1 asks nothing of it, HF_ENDPOINT names another")]
    Unreachable {
        /// The host.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Files of the repository are given to those only who accepted its licence.
    #[error("{what} is gated: accept its licence at {page}, then set HF_TOKEN to a token of that account")]
    Gated {
        /// The repository.
        what: String,
        /// Its page.
        page: String,
    },
    /// Nor to everyone of those.
    #[error(
        "{what} is gated, and access is not granted yet to the account of the token of {from}: ask for it at {page}, or wait until its \
         owners grant it; a fine-grained token must also be allowed to read gated repositories"
    )]
    NotGranted {
        /// The repository.
        what: String,
        /// Its page.
        page: String,
        /// Variable or file of the token that was sent.
        from: String,
    },
    /// There is nothing of that name, or nothing that may be seen.
    #[error("{host} has no {what}{hint}")]
    NotFound {
        /// The hub.
        host: String,
        /// `model org/name at revision main`.
        what: String,
        /// What else it can be.
        hint: String,
    },
    /// A token that the hub does not take.
    #[error("{host} refuses the token of {from} for {what}: a new one is made at {host}/settings/tokens")]
    Token {
        /// The hub.
        host: String,
        /// Variable or file.
        from: String,
        /// What was asked for.
        what: String,
    },
    /// Another status than was expected.
    #[error("{host} answered {status} for {what}")]
    Status {
        /// The hub, or the host that it sent us to.
        host: String,
        /// Status code.
        status: u16,
        /// What was asked for.
        what: String,
    },
    /// The hub wants to be left alone for a while.
    #[error(
        "{host} takes no more requests for now (429) and gave nothing for {what}: wait {}, then give the same command again{hint}",
        after_s.map_or_else(|| "some minutes".to_owned(), |s| format!("{s} s"))
    )]
    Busy {
        /// The hub.
        host: String,
        /// What was asked for.
        what: String,
        /// Seconds, where it told them.
        after_s: Option<u64>,
        /// What would be allowed more.
        hint: &'static str,
    },
    /// An answer that makes no sense.
    #[error("{host} answered what cannot be used for {what}: {why}")]
    Answer {
        /// Who answered.
        host: String,
        /// What was asked for.
        what: String,
        /// What is wrong.
        why: String,
    },
    /// A download broke off again and again.
    #[error(
        "{what} broke off {tries} times in a row at byte {at} of {size}; the same command goes on from there"
    )]
    Broken {
        /// The file.
        what: String,
        /// How often.
        tries: u32,
        /// Bytes that are here.
        at: u64,
        /// Bytes of the whole.
        size: u64,
        /// The last time.
        #[source]
        source: Box<HubError>,
    },
    /// A body ended early.
    #[error("the connection to {host} ended")]
    Cut {
        /// Who sent it.
        host: String,
        /// Why; nothing where it just ended.
        #[source]
        source: Option<reqwest::Error>,
    },
    /// The content is not what the hub says.
    #[error(
        "{what}: found content of {algorithm} {found}, expected {expected}, twice; nothing of it was kept"
    )]
    Corrupt {
        /// The file.
        what: String,
        /// How it is hashed.
        algorithm: &'static str,
        /// What came.
        found: String,
        /// What the hub says.
        expected: String,
    },
    /// The cache.
    #[error("{path}: the Hugging Face cache cannot be written")]
    Cache {
        /// File or folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// The longest that is waited where the hub says how long; after more than that it is told.
pub(super) const MOST_WAIT_S: u64 = 60;

impl HubError {
    /// How long the hub wants to be left alone.
    pub(super) fn wait(&self) -> Duration {
        match self {
            Self::Busy { after_s: Some(s), .. } => Duration::from_secs(*s),
            _ => Duration::ZERO,
        }
    }

    /// True if it may go better the next time.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Cut { .. } => true,
            Self::Busy { after_s, .. } => after_s.is_none_or(|s| s <= MOST_WAIT_S),
            Self::Status { status, .. } => *status >= 500 || [408, 416].contains(status),
            Self::Endpoint { .. }
            | Self::TokenText { .. }
            | Self::Name { .. }
            | Self::Gated { .. }
            | Self::NotGranted { .. }
            | Self::NotFound { .. }
            | Self::Token { .. }
            | Self::Answer { .. }
            | Self::Broken { .. }
            | Self::Corrupt { .. }
            | Self::Cache { .. } => false,
        }
    }
}

impl From<Unplaced> for HubError {
    fn from(unplaced: Unplaced) -> Self {
        Self::Cache { path: unplaced.path.display().to_string(), source: unplaced.source }
    }
}
