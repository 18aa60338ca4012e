//! Which protocols a caller and a coordinator speak: told in the head of every call, refused in words where they have none in common.
//!
//! Within one protocol messages only gain fields: what a side does not know it ignores, and what it is not told has the meaning that
//! it had before the field was there. Anything else is a new number, and the old one is spoken on for as long as [`OLDEST`] says.

use std::fmt;
use tonic::metadata::{MetadataMap, MetadataValue};

/// The newest protocol that this version speaks.
const NEWEST: u32 = 1;
/// The oldest one.
const OLDEST: u32 = 1;
/// Where a call says `OLDEST-NEWEST`, and a refusal too.
pub const PROTOCOL_KEY: &str = "espalier-protocol";
/// Where a call says the version of its program.
const VERSION_KEY: &str = "espalier-version";

/// What one side speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// The oldest protocol.
    pub oldest: u32,
    /// The newest.
    pub newest: u32,
    /// The program's version.
    pub version: String,
}

impl Dialect {
    /// This program's.
    pub fn ours() -> Self {
        Self { oldest: OLDEST, newest: NEWEST, version: env!("CARGO_PKG_VERSION").to_owned() }
    }

    /// What the other side said. Who says nothing is from before this was said, and speaks the first.
    pub fn of(head: &MetadataMap) -> Self {
        let text = |key| head.get(key).and_then(|value| value.to_str().ok());
        let version = text(VERSION_KEY).unwrap_or("of an unknown version").to_owned();
        let range = match text(PROTOCOL_KEY) {
            None => Some((1, 1)),
            Some(said) => {
                said.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)))
            }
        };
        // What makes no sense is no protocol of ours.
        let (oldest, newest) = range.unwrap_or((0, 0));
        Self { oldest, newest, version }
    }

    /// Says it in the head of a call or a refusal.
    pub fn tell(&self, head: &mut MetadataMap) {
        let range = format!("{}-{}", self.oldest, self.newest);
        for (key, said) in [(PROTOCOL_KEY, range.as_str()), (VERSION_KEY, &self.version)] {
            if let Ok(value) = MetadataValue::try_from(said) {
                head.insert(key, value);
            }
        }
    }

    /// Why a coordinator that speaks this cannot serve `caller`; `None` if it can.
    pub fn refuses(&self, caller: &Self) -> Option<String> {
        let advice = match () {
            () if caller.oldest > self.newest => {
                "upgrade the coordinator (what runs goes on meanwhile, and nothing is lost), or use its version here"
            }
            () if caller.newest < self.oldest => "use the coordinator's version here",
            () => return None,
        };
        Some(format!("this caller is {caller}, and the coordinator is {self}: {advice}"))
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "espalier {}, which speaks protocol {}", self.version, self.oldest)?;
        if self.newest == self.oldest { Ok(()) } else { write!(f, " to {}", self.newest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(oldest: u32, newest: u32, version: &str) -> Dialect {
        Dialect { oldest, newest, version: version.to_owned() }
    }

    #[test]
    fn sides_that_share_a_protocol_agree_and_others_are_told_who_is_to_change() {
        let here = dialect(2, 3, "0.4.0");
        for (oldest, newest) in [(1, 2), (2, 2), (3, 9), (2, 3)] {
            assert_eq!(here.refuses(&dialect(oldest, newest, "x")), None, "{oldest}-{newest}");
        }
        let newer = here.refuses(&dialect(4, 5, "0.9.0")).unwrap();
        assert!(
            newer.contains("espalier 0.9.0, which speaks protocol 4 to 5")
                && newer.contains("upgrade the coordinator")
        );
        let older = here.refuses(&dialect(1, 1, "0.1.0")).unwrap();
        assert!(
            older
                .contains("espalier 0.4.0, which speaks protocol 2 to 3: use the coordinator's version here"),
            "{older}"
        );
    }

    #[test]
    fn what_was_told_is_understood_and_who_says_nothing_speaks_the_first() {
        let mut head = MetadataMap::new();
        assert_eq!(Dialect::of(&head), dialect(1, 1, "of an unknown version"));
        dialect(3, 7, "0.9.0").tell(&mut head);
        assert_eq!(Dialect::of(&head), dialect(3, 7, "0.9.0"));
        head.insert(PROTOCOL_KEY, "seven".parse().unwrap());
        assert!(dialect(1, 9, "x").refuses(&Dialect::of(&head)).is_some());
    }
}
