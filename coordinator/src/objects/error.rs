//! What can go wrong between here and an object store that models and data are read from.

use crate::hub::placed::Unplaced;
use espalier_proto::bucket::BucketError;

/// An object store cannot give what is wanted.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// No address of an object store.
    #[error("{url}: found no bucket, expected s3://BUCKET/PREFIX")]
    Address {
        /// As given.
        url: String,
    },
    /// Nothing is there.
    #[error("{url}: found no object there, expected {expected}")]
    Absent {
        /// The address.
        url: String,
        /// What should be there.
        expected: &'static str,
    },
    /// The store knows these credentials and lets them not in, or does not know them.
    #[error(
        "{url}: the store refuses these credentials, expected some that may list the bucket (s3:ListBucket) and read what is \
         under the address (s3:GetObject)"
    )]
    Refused {
        /// The address.
        url: String,
        /// The store's answer.
        #[source]
        source: BucketError,
    },
    /// The store failed.
    #[error("{url} cannot be read")]
    Store {
        /// The address.
        url: String,
        /// Why.
        #[source]
        source: BucketError,
    },
    /// A name that no folder can have, or that leaves it.
    #[error("{url}: found an object {name:?}, expected names that files can have")]
    Name {
        /// The address.
        url: String,
        /// The object, under the address.
        name: String,
    },
    /// What is there is another content than was listed.
    #[error("{url} was replaced while it was fetched; the same command fetches what is there now")]
    Replaced {
        /// The object.
        url: String,
    },
    /// A content came in another length than the store said.
    #[error("{url}: found {found} bytes, expected {expected}, as the store lists it")]
    Length {
        /// The object.
        url: String,
        /// Bytes that came.
        found: u64,
        /// Bytes of the listing.
        expected: u64,
    },
    /// The cache cannot be written.
    #[error("{path} cannot be written")]
    Cache {
        /// File or folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl ObjectError {
    /// What a store's error means at an address.
    pub(super) fn of(url: &str, expected: &'static str, source: BucketError) -> Self {
        use object_store::Error as E;
        let url = url.to_owned();
        // What a listing is answered has no kind, only its text.
        let answer = match &source {
            BucketError::Store { source: E::Generic { source, .. }, .. } => source.to_string(),
            _ => String::new(),
        };
        match &source {
            _ if answer.contains("NoSuchBucket") => {
                Self::Absent { url, expected: "the address of a bucket that there is" }
            }
            _ if ["401 Unauthorized", "403 Forbidden"].iter().any(|status| answer.contains(status)) => {
                Self::Refused { url, source }
            }
            BucketError::Store { source: E::NotFound { .. }, .. } => Self::Absent { url, expected },
            BucketError::Store { source: E::PermissionDenied { .. } | E::Unauthenticated { .. }, .. } => {
                Self::Refused { url, source }
            }
            _ => Self::Store { url, source },
        }
    }
}

impl From<Unplaced> for ObjectError {
    fn from(unplaced: Unplaced) -> Self {
        Self::Cache { path: unplaced.path.display().to_string(), source: unplaced.source }
    }
}
