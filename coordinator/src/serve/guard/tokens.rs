//! Two files of tokens, a line each: `worker-tokens` and `user-tokens`. Any line of a file is good, so that a new token can be given
//! out while the old one still works. They are read again when somebody shows a token that is not known, and every few seconds. Where
//! clients may show certificates, a file may be absent or without a token: nobody has one then.

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
/// The CA of clients that show certificates.
pub(super) const CLIENTS: &str = "client-ca.crt";

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
    /// Reads both files; neither may be without a token, unless clients may show certificates.
    pub(super) fn open(folder: &Path) -> Result<Self, IdentityError> {
        let known = digests(folder)?;
        Ok(Self { folder: folder.to_owned(), known: Mutex::new((known, Stopwatch::start())) })
    }

    /// What a caller lacks that has shown nothing.
    pub(super) fn wanted(&self) -> &'static str {
        let known = self.known.lock().expect("nothing panics while it holds the tokens");
        match known.0.is_empty() {
            true => {
                "a certificate is wanted (--cert-file, --key-file) that a CA of the coordinator's client-ca.crt signed and that has \
                 espalier-worker or espalier-user among its DNS names"
            }
            false => "a token is wanted",
        }
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
        for token in tokens(folder, role)? {
            let before = known.insert(Digest::of(token.as_bytes()), role);
            if before.is_some_and(|before| before != role) {
                let why = "found a token that worker-tokens has too, expected different ones".to_owned();
                return Err(IdentityError::File { path: folder.join(role.file()), why });
            }
        }
    }
    Ok(known)
}

/// The tokens of a role, one at least where clients cannot show certificates instead; lines that are empty or begin with # are none.
pub(super) fn tokens(folder: &Path, role: Role) -> Result<Vec<String>, IdentityError> {
    const EITHER: &str = "expected a token a line, or client-ca.crt beside it, the CA of clients that show certificates instead";
    let path = folder.join(role.file());
    let bad = |why: String| IdentityError::File { path: path.clone(), why };
    let certificates = folder.join(CLIENTS).exists();
    let text = match std::fs::read_to_string(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && certificates => String::new(),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(bad(format!("{e}; {EITHER}"))),
        read => read.map_err(|e| bad(e.to_string()))?,
    };
    let tokens: Vec<String> = text
        .lines()
        .map(|line| line.trim().to_owned())
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    if tokens.is_empty() && !certificates {
        return Err(bad(format!("found no token; {EITHER}")));
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
    fn where_clients_show_certificates_a_role_may_be_without_tokens_and_what_is_no_token_is_refused_still() {
        let folder = folder("worker-token-old-1", "user-token-000000");
        let user = folder.path().join("user-tokens");
        std::fs::remove_file(&user).unwrap();
        let refused = || Tokens::open(folder.path()).unwrap_err().to_string();
        assert!(refused().contains("user-tokens: No such file") && refused().contains("or client-ca.crt"));
        std::fs::write(folder.path().join(CLIENTS), "").unwrap();
        let opened = Tokens::open(folder.path()).unwrap();
        assert_eq!(opened.role(Digest::of(b"worker-token-old-1")), Some(Role::Worker));
        assert_eq!((opened.role(Digest::of(b"")), opened.wanted()), (None, "a token is wanted"));
        std::fs::write(&user, "short").unwrap();
        assert!(refused().contains("user-tokens: token 1: expected 16"), "{}", refused());
        for name in ["user-tokens", "worker-tokens"] {
            std::fs::write(folder.path().join(name), "# nobody\n").unwrap();
        }
        assert!(Tokens::open(folder.path()).unwrap().wanted().starts_with("a certificate is wanted"));
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
