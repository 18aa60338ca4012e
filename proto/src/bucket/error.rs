//! What can go wrong with a bucket, and how a create-only write ends.

/// What can go wrong with a bucket.
#[derive(Debug, thiserror::Error)]
pub enum BucketError {
    /// The URL names no store that we know.
    #[error("bucket {url:?}: {why}; expected a folder or s3://bucket/prefix")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A variable, or a profile's line in its place, with which no store can be opened.
    #[error("bucket {url:?}: {why}")]
    Setting {
        /// As given.
        url: String,
        /// Which, what was found and what was expected.
        why: String,
    },
    /// Nothing says who we are.
    #[error("bucket {url:?}: no credentials: {why}")]
    Credentials {
        /// As given.
        url: String,
        /// What was looked for.
        why: String,
    },
    /// The store answered with an error.
    #[error("bucket: {action} {path}")]
    Store {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: String,
        /// The store's error.
        #[source]
        source: object_store::Error,
    },
    /// The store breaks a promise that everything else stands on.
    #[error("bucket {url:?} cannot be used: {promise}")]
    Unsafe {
        /// The bucket.
        url: String,
        /// The broken promise.
        promise: &'static str,
    },
    /// Another version wrote it, and this one does not know its format.
    #[error(
        "bucket: {path} is a {what} of format {found}, written by {by}; this is espalier {}, which reads format {known}. Nothing \
         was changed or lost: use a version for this bucket that knows the format",
        env!("CARGO_PKG_VERSION")
    )]
    Format {
        /// The object.
        path: String,
        /// What it is.
        what: &'static str,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
        /// Who wrote it.
        by: String,
    },
    /// An object is not what its path says.
    #[error("bucket: {path} cannot be read: {why}")]
    Corrupt {
        /// The object.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// How a create-only write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// This write made the object.
    Won,
    /// Another's object is there; ours was dropped.
    Lost,
}
