//! Opens a bucket from its URL: a folder, or `s3://bucket[/prefix]`, whose endpoint and credentials come from the environment, a
//! profile file or a role. One that is away is waited for as long as its user can wait.

use super::meter::Meter;
use super::{Bucket, BucketError, folder, s3};
use crate::shown;
use object_store::path::Path;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a store that does not answer is asked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// A few seconds: for a first look.
    Brief,
    /// Seconds: for a person who waits.
    Short,
    /// Minutes: for work that must not be lost.
    Long,
}

impl Patience {
    /// The longest that a request is tried again.
    pub(super) fn longest(self) -> Duration {
        Duration::from_secs(match self {
            Self::Brief => 4,
            Self::Short => 10,
            // Requests to S3 are signed once for all their tries, and a signature is good for five minutes.
            Self::Long => 270,
        })
    }
}

impl Bucket {
    /// Opens `url`; a folder is made if it is absent. A store that does not answer is given up after seconds.
    pub fn open(url: &str) -> Result<Self, BucketError> {
        Self::open_with(url, &environment())
    }

    /// The same with these variables for the environment.
    pub fn open_with(url: &str, env: &BTreeMap<String, String>) -> Result<Self, BucketError> {
        make_folder(url)?;
        Self::opened(url, env, true, Patience::Short)
    }

    /// Opens `url`, of which something is there already: an absent folder is a mistake.
    pub fn open_existing(url: &str) -> Result<Self, BucketError> {
        Self::opened(url, &environment(), false, Patience::Short)
    }

    /// The same for work that must outlive minutes without the store: every request is tried again that long.
    pub fn open_patient(url: &str) -> Result<Self, BucketError> {
        Self::opened(url, &environment(), false, Patience::Long)
    }

    /// The same to see whether it can be used at all: every request is given up after few seconds.
    pub fn open_brief(url: &str) -> Result<Self, BucketError> {
        Self::opened(url, &environment(), false, Patience::Brief)
    }

    /// Opens `url` for a run: a store that cannot be reached at all is told within seconds, and one that goes away later is
    /// waited for.
    pub async fn connect(url: &str) -> Result<Self, BucketError> {
        let first = Self::open(url)?;
        if first.folder().is_none() {
            first.list(&Path::from("coordinators/reachable")).await?;
        }
        Self::opened(url, &environment(), true, Patience::Long)
    }

    /// `made`: an absent folder was made, and may be made again while nothing is in it.
    fn opened(
        url: &str,
        env: &BTreeMap<String, String>,
        made: bool,
        patience: Patience,
    ) -> Result<Self, BucketError> {
        if url.starts_with("s3://") {
            let meter = Arc::new(Meter::default());
            let store = s3::open(url, env, patience, &meter)?;
            return Ok(Self { store, url: url.to_owned(), meter, root: None });
        }
        known_scheme(url)?;
        let bad = |e: std::io::Error| match e.kind() {
            std::io::ErrorKind::NotFound => bad(url, "there is no such folder".to_owned()),
            _ => bad(url, e.to_string()),
        };
        let at = std::fs::canonicalize(url).map_err(bad)?;
        let name = at.to_string_lossy().into_owned();
        let (store, root) = folder::open(at, made, patience).map_err(bad)?;
        Ok(Self { root: Some(root), ..Self::over(Arc::new(store), &name) })
    }
}

fn bad(url: &str, why: String) -> BucketError {
    BucketError::Url { url: shown::source(url), why }
}

fn known_scheme(url: &str) -> Result<(), BucketError> {
    match url.split_once("://") {
        Some((scheme, _)) => Err(bad(url, format!("unknown scheme {scheme:?}"))),
        None => Ok(()),
    }
}

fn make_folder(url: &str) -> Result<(), BucketError> {
    if url.starts_with("s3://") {
        return Ok(());
    }
    known_scheme(url)?;
    std::fs::create_dir_all(url).map_err(|e| bad(url, e.to_string()))
}

fn environment() -> BTreeMap<String, String> {
    // What is not text is nothing that we read.
    std::env::vars_os().filter_map(|(n, v)| Some((n.into_string().ok()?, v.into_string().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_scheme_is_refused_by_name() {
        let error = Bucket::open("gs://x").unwrap_err().to_string();
        assert!(error.contains("\"gs\"") && error.contains("s3://bucket/prefix"), "{error}");
    }

    #[test]
    fn an_absent_folder_is_made_only_for_who_writes_into_it() {
        let place = tempfile::tempdir().unwrap();
        let absent = place.path().join("typo");
        for open in [Bucket::open_existing, Bucket::open_patient, Bucket::open_brief] {
            let error = open(absent.to_str().unwrap()).unwrap_err().to_string();
            assert!(error.contains("there is no such folder") && !absent.exists(), "{error}");
        }
        Bucket::open(absent.to_str().unwrap()).unwrap();
        assert!(absent.exists());
    }
}
