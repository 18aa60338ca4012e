//! A repository of the hub: its kind and name, as addresses and messages have them. What leaves its place is refused.

use super::error::HubError;
use std::fmt;

/// What a repository holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A model.
    Model,
    /// A dataset.
    Dataset,
}

impl Kind {
    /// In messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Dataset => "dataset",
        }
    }

    /// In the hub's API and in names of the cache's folders.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Model => "models",
            Self::Dataset => "datasets",
        }
    }
}

/// A repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repository {
    kind: Kind,
    name: String,
}

impl Repository {
    /// The repository of this name, `name` or `org/name`.
    pub fn new(kind: Kind, name: &str) -> Result<Self, HubError> {
        let parts: Vec<&str> = name.split('/').collect();
        let is_name = |part: &&str| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
        };
        if parts.len() > 2 || !parts.iter().all(is_name) {
            return Err(HubError::Name { kind: kind.as_str(), name: name.to_owned() });
        }
        Ok(Self { kind, name: name.to_owned() })
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// `org/name`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder in the cache.
    pub fn folder(&self) -> String {
        format!("{}--{}", self.kind.plural(), self.name.replace('/', "--"))
    }

    /// Its page and its files lie under these parts of an address.
    pub fn path(&self) -> Vec<&str> {
        let kind = match self.kind {
            Kind::Model => None,
            Kind::Dataset => Some("datasets"),
        };
        kind.into_iter().chain(self.name.split('/')).collect()
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.name)
    }
}

/// True if a path of the hub's, or a revision, stays inside the folder that it is joined to.
pub fn stays_inside(path: &str) -> bool {
    let plain = |c: char| !c.is_control() && !"\\\"'`".contains(c);
    path.chars().all(plain) && path.split('/').all(|part| !["", ".", ".."].contains(&part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_their_place_are_refused() {
        for name in ["microsoft/phi-2", "wikitext", "a/b.c_d-E"] {
            assert_eq!(Repository::new(Kind::Model, name).unwrap().name(), name);
        }
        for name in ["", "a/", "../b", "a/..", "a/b/c", "a/b?x", "a/b c", "a/.git"] {
            assert!(Repository::new(Kind::Model, name).is_err(), "{name}");
        }
        for path in ["config.json", "refs/convert/parquet", "a/b.parquet"] {
            assert!(stays_inside(path), "{path}");
        }
        for path in ["", "/etc/passwd", "a/../b", "..", "a//b", "a\\b", "a\nb"] {
            assert!(!stays_inside(path), "{path}");
        }
    }
}
