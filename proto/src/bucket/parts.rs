//! Writes of large bodies, in parts: what lies there in the end counts, whatever the last answer was.
//!
//! In: a body in memory or in a file. Out: the object, or why there is none. The request that makes one object of the parts is tried
//! again after a lost answer, and the store then knows of no such parts any more; a folder may go away with what was written.

use super::meter::Operation;
use super::{Bucket, BucketError, PART, TRIES};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{Error, MultipartUpload, ObjectStoreExt, PutPayload, Result};
use std::error::Error as _;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

/// Parts of one body in flight.
const PARTS_AT_ONCE: usize = 4;

/// What is written.
pub(super) enum Body {
    Memory(Bytes),
    File(Arc<File>, u64),
}

impl Body {
    fn open(path: &std::path::Path) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok(Self::File(Arc::new(file), size))
    }

    fn size(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File(_, size) => *size,
        }
    }

    /// `length` bytes from `at` on, all of which it has.
    async fn piece(&self, at: u64, length: usize) -> Result<Bytes> {
        let file = match self {
            Self::Memory(bytes) => return Ok(bytes.slice(at as usize..at as usize + length)),
            Self::File(file, _) => file.clone(),
        };
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; length];
            file.read_exact_at(&mut piece, at).map(|()| piece)
        });
        let piece = read.await.expect("reading a file does not panic").map_err(unread)?;
        Ok(Bytes::from(piece))
    }
}

fn unread(source: std::io::Error) -> Error {
    Error::Generic { store: "this machine", source: Box::new(source) }
}

impl Bucket {
    /// Writes a file of any size, replacing what is there: only for paths named by content.
    pub async fn put_file(
        &self,
        path: &Path,
        file: &std::path::Path,
    ) -> std::result::Result<(), BucketError> {
        let copied = async {
            let body = Body::open(file).map_err(unread)?;
            let size = body.size();
            if size <= PART as u64 {
                let whole = body.piece(0, size as usize).await?;
                self.store.put(path, PutPayload::from_bytes(whole)).await?;
            } else {
                self.put_in_parts(path, &body).await?;
            }
            Ok(size as usize)
        };
        let copied = self.meter.timed(Operation::Put, copied).await;
        self.meter.wrote(*copied.as_ref().unwrap_or(&0));
        copied.map(drop).map_err(|source| BucketError::Store {
            action: "writing",
            path: path.to_string(),
            source,
        })
    }

    pub(super) async fn put_in_parts(&self, path: &Path, body: &Body) -> Result<()> {
        let mut last = None;
        for _ in 0..TRIES {
            let mut upload = self.store.put_multipart(path).await?;
            let done = match send(upload.as_mut(), body).await {
                Ok(()) => upload.complete().await.map(drop),
                Err(error) => Err(error),
            };
            if done.is_ok() && self.folder().is_none() {
                return Ok(());
            }
            match (self.holds(path, body, done.is_ok()).await, done) {
                (Ok(true), _) => return Ok(()),
                (Err(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
                // It went with its folder.
                (Ok(false), Ok(())) => {}
                (Ok(false), Err(error)) => {
                    // The error that ended the upload is the one to tell.
                    let _ = upload.abort().await;
                    if !is_gone(&error) {
                        return Err(error);
                    }
                    last = Some(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| unread(std::io::Error::other("what was written is not there"))))
    }

    /// The body lies there: by its size, and, unless the store says that it was written (`said`), byte by byte.
    async fn holds(&self, path: &Path, body: &Body, said: bool) -> Result<bool> {
        match self.store.head(path).await {
            Err(Error::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
            Ok(meta) if meta.size != body.size() => return Ok(false),
            Ok(_) if said => return Ok(true),
            Ok(_) => {}
        }
        let mut pieces = self.store.get(path).await?.into_stream();
        let mut at = 0;
        while let Some(piece) = pieces.try_next().await? {
            let end = at + piece.len() as u64;
            if end > body.size() || body.piece(at, piece.len()).await? != piece {
                return Ok(false);
            }
            at = end;
        }
        Ok(at == body.size())
    }
}

async fn send(upload: &mut dyn MultipartUpload, body: &Body) -> Result<()> {
    let mut sent = FuturesUnordered::new();
    for at in (0..body.size()).step_by(PART) {
        if sent.len() == PARTS_AT_ONCE {
            sent.try_next().await?;
        }
        let length = (body.size() - at).min(PART as u64) as usize;
        let piece = body.piece(at, length).await?;
        sent.push(upload.put_part(PutPayload::from_bytes(piece)));
    }
    while sent.try_next().await?.is_some() {}
    Ok(())
}

/// The upload, or the folder that it was for, is not there any more.
fn is_gone(error: &Error) -> bool {
    let mut cause = error.source();
    while let Some(error) = cause {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound) {
            return true;
        }
        cause = error.source();
    }
    matches!(error, Error::NotFound { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_goes_into_a_folder_in_parts_and_is_read_again_where_the_answer_is_in_doubt() {
        let place = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(place.path().join("bucket").to_str().unwrap()).unwrap();
        let (path, file) = (Path::from("exports/a"), place.path().join("file"));
        let bytes: Vec<u8> =
            (0..2 * PART as u32 + 5).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        std::fs::write(&file, &bytes).unwrap();
        bucket.put_file(&path, &file).await.unwrap();
        assert!(bucket.read(&path).await.unwrap().unwrap() == bytes, "it is another");
        let holds = async |bytes: Vec<u8>, said| {
            bucket.holds(&path, &Body::Memory(Bytes::from(bytes)), said).await.unwrap()
        };
        let mut other = bytes.clone();
        other[PART] ^= 1;
        assert!(holds(bytes.clone(), false).await && holds(other.clone(), true).await);
        assert!(!holds(other, false).await && !holds(bytes[1..].to_vec(), true).await);
    }
}
