//! Objects read piece by piece: what is too large for memory, and what broke off and goes on.

use super::meter::Operation;
use super::{Bucket, BucketError, is_absent};
use crate::ids::Digest;
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore};
use sha2::{Digest as _, Sha256};

/// An object that is being read.
pub struct Pieces {
    /// Size, tag and time of the content that is coming.
    pub meta: ObjectMeta,
    path: String,
    stream: BoxStream<'static, object_store::Result<Bytes>>,
}

impl Pieces {
    /// The next piece; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BucketError> {
        let piece = self.stream.try_next().await;
        piece.map_err(|source| BucketError::Store { action: "reading", path: self.path.clone(), source })
    }
}

impl Bucket {
    /// Reads an object from its byte `from` on, `None` if it is absent. `from` must be less than its size, or 0.
    pub async fn read_from(&self, path: &Path, from: u64) -> Result<Option<Pieces>, BucketError> {
        let range = (from > 0).then_some(GetRange::Offset(from));
        let options = GetOptions { range, ..GetOptions::default() };
        let got = self.meter.timed(Operation::Read, self.store.get_opts(path, options)).await;
        match got {
            Ok(got) => {
                Ok(Some(Pieces { meta: got.meta.clone(), path: path.to_string(), stream: got.into_stream() }))
            }
            Err(error) if is_absent(&error) => Ok(None),
            Err(source) => Err(BucketError::Store { action: "reading", path: path.to_string(), source }),
        }
    }

    /// Size and digest of an object's content, of any size; `None` if it is absent.
    pub async fn content(&self, path: &Path) -> Result<Option<(u64, Digest)>, BucketError> {
        let (mut size, mut hasher) = (0, Sha256::new());
        let take = |piece: &[u8]| {
            size += piece.len() as u64;
            hasher.update(piece);
            Ok::<_, BucketError>(())
        };
        let there = self.read_pieces(path, take).await?;
        Ok(there.then(|| (size, Digest::finish(hasher))))
    }

    /// Reads an object piece by piece into `take`, whose failure is its own and ends the reading; `false` if it is absent.
    pub async fn read_pieces<E: From<BucketError>>(
        &self,
        path: &Path,
        mut take: impl FnMut(&[u8]) -> Result<(), E> + Send,
    ) -> Result<bool, E> {
        let Some(mut pieces) = self.read_from(path, 0).await? else {
            return Ok(false);
        };
        while let Some(piece) = pieces.next().await? {
            self.meter.was_read(piece.len());
            take(&piece)?;
        }
        Ok(true)
    }
}
