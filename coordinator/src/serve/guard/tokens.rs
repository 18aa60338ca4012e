//! Two files of tokens, a line each: `worker-tokens` and `user-tokens`. Any line of a file is good, so that a new token can be given
//! out while the old one still works. They are read again when somebody shows a token that is not known, and every few seconds.

use super::identity::IdentityError;
use crate::clock::Stopwatch;
use espalier_proto::ids::Digest;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

/// Files are looked at again after this.
const STALE: Duration = Duration::from_secs(5);
/// Not more often than this because of unknown tokens.
const BREATH: Duration = Duration::from_millis(500);

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Take shards and tell of them.
    Worker,
    /// Submit, watch, cancel.
    User,
}

impl Role {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Worker, Self::User];

    /// For people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::User => "user",
        }
    }

    /// The name that a client certificate carries for it.
    pub fn certificate_name(self) -> &'static str {
        match self {
            Self::Worker => "espalier-worker",
            Self::User => "espalier-user",
        }
    }

    /// The file of its tokens.
    pub(super) fn file(self) -> &'static str {
        match self {
            Self::Worker => "worker-tokens",
            Self::User => "user-tokens",
        }
    }
}

/// The tokens of a folder. Only digests are held: comparing them tells nothing about a token by the time it takes.
#[derive(Debug)]
pub struct Tokens {
    folder: PathBuf,
    known: Mutex<(BTreeMap<Digest, Role>, Stopwatch)>,
}

impl Tokens {
    /// Reads both files; neither may be without a token.
    pub(super) fn open(folder: &Path) -> Result<Self, IdentityError> {
        let known = digests(folder)?;
        Ok(Self { folder: folder.to_owned(), known: Mutex::new((known, Stopwatch::start())) })
    }

    /// Whose token has this digest.
    pub(super) fn role(&self, digest: Digest) -> Option<Role> {
        let mut known = self.known.lock().expect("nothing panics while it holds the tokens");
        let found = known.0.get(&digest).copied();
        let age = known.1.elapsed();
        if age > STALE || (found.is_none() && age > BREATH) {
            known.1 = Stopwatch::start();
            match digests(&self.folder) {
                Ok(now) => known.0 = now,
                // What was read before holds until the files are whole again.
                Err(error) => tracing::warn!(%error, "tokens could not be read again"),
            }
            return known.0.get(&digest).copied();
        }
        found
    }
}

fn digests(folder: &Path) -> Result<BTreeMap<Digest, Role>, IdentityError> {
    let mut known = BTreeMap::new();
    for role in Role::ALL {
        for token in lines(&folder.join(role.file()))? {
            let before = known.insert(Digest::of(token.as_bytes()), role);
            if before.is_some_and(|before| before != role) {
                let why = "found a token that worker-tokens has too, expected different ones".to_owned();
                return Err(IdentityError::File { path: folder.join(role.file()), why });
            }
        }
    }
    Ok(known)
}

/// The tokens of a file, one at least; lines that are empty or begin with # are none.
pub(super) fn lines(path: &Path) -> Result<Vec<String>, IdentityError> {
    let bad = |why: String| IdentityError::File { path: path.to_owned(), why };
    let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
    let tokens: Vec<String> = text
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    if tokens.is_empty() {
        return Err(bad("found no token, expected one a line".to_owned()));
    }
    match tokens.iter().position(|token| token.len() < 16 || !token.bytes().all(|b| b.is_ascii_graphic())) {
        Some(n) => Err(bad(format!(
            "token {}: expected 16 or more printable ASCII characters without spaces",
            n + 1
        ))),
        None => Ok(tokens),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(worker: &str, user: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("worker-tokens"), worker).unwrap();
        std::fs::write(folder.path().join("user-tokens"), user).unwrap();
        folder
    }

    #[test]
    fn a_new_token_counts_at_once_and_an_old_one_until_its_line_is_gone() {
        let (old, new, user) = ("worker-token-old-1", "worker-token-new-2", "user-token-000000");
        let folder = folder(old, user);
        let tokens = Tokens::open(folder.path()).unwrap();
        let role = |token: &str| tokens.role(Digest::of(token.as_bytes()));
        assert_eq!((role(old), role(user)), (Some(Role::Worker), Some(Role::User)));
        assert_eq!(role("somebody-elses-token"), None);
        std::fs::write(folder.path().join("worker-tokens"), format!("# both\n{old}\n{new}\n")).unwrap();
        while role(new).is_none() {
            std::thread::yield_now();
        }
        assert_eq!(role(old), Some(Role::Worker));
        std::fs::write(folder.path().join("worker-tokens"), new).unwrap();
        while role(old).is_some() {
            std::thread::yield_now();
        }
        assert_eq!(role(new), Some(Role::Worker));
    }

    #[test]
    fn a_file_without_a_good_token_is_refused_by_its_name_and_never_shown() {
        for (worker, user, says) in [
            ("", "user-token-000000", "worker-tokens: found no token"),
            ("worker-token-old-1", "short", "user-tokens: token 1: expected 16"),
            (
                "the-same-token-twice",
                "the-same-token-twice",
                "user-tokens: found a token that worker-tokens has",
            ),
        ] {
            let folder = folder(worker, user);
            let error = Tokens::open(folder.path()).unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("the-same-token"), "{error}");
        }
    }
}
