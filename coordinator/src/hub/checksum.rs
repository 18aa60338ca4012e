//! What the hub says that a file's content is: SHA-256 of large files, git's object id (SHA-1) of small ones.

use data_encoding::HEXLOWER;
use sha1::{Digest as _, Sha1};
use sha2::Sha256;

/// A hash that content must have; its hex is the blob's name in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checksum {
    hex: String,
    is_sha256: bool,
}

impl Checksum {
    /// The hash that an `ETag` states; `None` if it is none.
    pub fn from_etag(etag: &str) -> Option<Self> {
        let hex = etag.trim().trim_start_matches("W/").trim_matches('"');
        let is_hex = hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        (is_hex && [40, 64].contains(&hex.len()))
            .then(|| Self { hex: hex.to_owned(), is_sha256: hex.len() == 64 })
    }

    /// The hash.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// How it is made.
    pub fn algorithm(&self) -> &'static str {
        if self.is_sha256 { "SHA-256" } else { "git's SHA-1" }
    }

    /// Starts hashing a content of `size` bytes.
    pub fn start(&self, size: u64) -> Hashing {
        if self.is_sha256 {
            return Hashing::Sha256(Sha256::new());
        }
        Hashing::Git(Sha1::new_with_prefix(format!("blob {size}\0")))
    }
}

/// Content that is being hashed.
pub enum Hashing {
    /// As it is.
    Sha256(Sha256),
    /// As git's object.
    Git(Sha1),
}

impl Hashing {
    /// Some more of it.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Git(hash) => hash.update(bytes),
        }
    }

    /// The hash of it all, in hex.
    pub fn finish(self) -> String {
        match self {
            Self::Sha256(hash) => HEXLOWER.encode(&hash.finalize()),
            Self::Git(hash) => HEXLOWER.encode(&hash.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_git_and_sha256sum() {
        // `printf 'hello\n' | git hash-object --stdin` and `| sha256sum`.
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for etag in [format!("\"{git}\""), format!("W/\"{git}\""), sha256.to_owned()] {
            let checksum = Checksum::from_etag(&etag).unwrap();
            let mut hashing = checksum.start(6);
            hashing.update(b"hel");
            hashing.update(b"lo\n");
            assert_eq!(hashing.finish(), checksum.hex(), "{etag}");
        }
        for etag in ["", "\"abc\"", "../../../../../../../../../../../../etc/pw", "\"d41d8cd98f-2\""] {
            assert_eq!(Checksum::from_etag(etag), None, "{etag}");
        }
    }
}
