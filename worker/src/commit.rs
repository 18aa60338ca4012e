//! Finished work → bucket: blobs under the attempt first, then `record.json` by `commit_once`, which is the commit point.
//!
//! Whoever comes second drops what he has. A record that is there already is as good as one's own.

use bytes::Bytes;
use espalier_proto::bucket::{Bucket, BucketError, Commit};
use espalier_proto::checkpoint::{Compact, FILE_NAME};
use espalier_proto::ids::{AttemptId, CellKey, Digest, InputsDigest, VariantKey};
use espalier_proto::inputs::Inputs;
use espalier_proto::layout;
use espalier_proto::records::{Blob, CellRecord, FailureCode, FailureRecord, VariantRecord};
use std::path::Path;

pub use espalier_proto::records::SCORES;

/// What can go wrong between a worker and the bucket.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The store failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A file of the scratch folder cannot be read or written.
    #[error("scratch file {path}")]
    Scratch {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An object is not what names it.
    #[error("bucket: {path}: {why}")]
    Altered {
        /// The object.
        path: String,
        /// What is wrong.
        why: String,
    },
}

impl CommitError {
    /// The failure's code in records.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Bucket(_) | Self::Altered { .. } => FailureCode::StoreError,
            Self::Scratch { .. } => FailureCode::NodeFault,
        }
    }
}

/// Whose record is in the bucket.
#[derive(Clone, Debug, PartialEq)]
pub enum Committed {
    /// This attempt's.
    Ours,
    /// Another attempt's, which came first.
    Theirs(Box<VariantRecord>),
}

fn scratch(path: &Path) -> impl FnOnce(std::io::Error) -> CommitError {
    let path = path.display().to_string();
    move |source| CommitError::Scratch { path, source }
}

/// Reads an object that must exist and says what is wrong if it does not.
async fn must_read(bucket: &Bucket, path: &object_store::path::Path) -> Result<Bytes, CommitError> {
    let absent = || CommitError::Altered { path: path.to_string(), why: "missing".to_owned() };
    bucket.read(path).await?.ok_or_else(absent)
}

/// The record of a variant, if it is there.
pub async fn variant_record(bucket: &Bucket, key: VariantKey) -> Result<Option<VariantRecord>, CommitError> {
    let path = layout::variant_record(key);
    let Some(record) = bucket.read_object::<VariantRecord>(&path).await? else {
        return Ok(None);
    };
    if record.key != key {
        let why = format!("it is of variant {}, expected {key}", record.key);
        return Err(CommitError::Altered { path: path.to_string(), why });
    }
    Ok(Some(record))
}

/// True if the checkpoint that the record names is not there: dropped, as its sweeps asked, or lost.
pub async fn lacks_checkpoint(bucket: &Bucket, record: &VariantRecord) -> Result<bool, CommitError> {
    let Some(blob) = record.blobs.iter().find(|b| b.name == FILE_NAME) else { return Ok(false) };
    Ok(!bucket.exists(&layout::variant_blob(record.key, &record.attempt, &blob.name)).await?)
}

/// Puts a checkpoint that was made again where its record says that it is.
pub async fn restore_compact(
    bucket: &Bucket,
    record: &VariantRecord,
    file: &Path,
) -> Result<(), CommitError> {
    let bytes = Bytes::from(tokio::fs::read(file).await.map_err(scratch(file))?);
    let sha256 = Digest::of(&bytes);
    match record.blobs.iter().find(|b| b.name == FILE_NAME && b.sha256 == sha256) {
        Some(blob) => {
            bucket.put(&layout::variant_blob(record.key, &record.attempt, &blob.name), bytes).await?;
            bucket.delete(&layout::variant_dropped(record.key)).await?;
        }
        // The same weights in another encoding, of another version: whoever needs them makes them again.
        None => tracing::warn!(variant = %record.key, "the checkpoint is encoded otherwise than it was"),
    }
    Ok(())
}

/// Fetches the compact checkpoint that a record names to `to`, held against the record's digests. `false` for a dense one.
pub async fn fetch_compact(bucket: &Bucket, record: &VariantRecord, to: &Path) -> Result<bool, CommitError> {
    let Some(blob) = record.blobs.iter().find(|b| b.name == FILE_NAME) else {
        return Ok(false);
    };
    let path = layout::variant_blob(record.key, &record.attempt, &blob.name);
    let bytes = must_read(bucket, &path).await?;
    let altered = |why: String| CommitError::Altered { path: path.to_string(), why };
    if Digest::of(&bytes) != blob.sha256 {
        return Err(altered(format!("sha256 {}, its record names {}", Digest::of(&bytes), blob.sha256)));
    }
    Compact::verified(&bytes, record.weights).map_err(|e| altered(e.to_string()))?;
    tokio::fs::write(to, &bytes).await.map_err(scratch(to))?;
    Ok(true)
}

/// Fetches resolved inputs to `to`, held against their digest.
pub async fn fetch_inputs(bucket: &Bucket, digest: InputsDigest, to: &Path) -> Result<(), CommitError> {
    let path = layout::inputs(digest);
    let altered = |why: String| CommitError::Altered { path: path.to_string(), why };
    let bytes = must_read(bucket, &path).await?;
    let parsed: Inputs = serde_json::from_slice(&bytes).map_err(|e| altered(e.to_string()))?;
    if parsed.digest() != digest {
        return Err(altered(format!("its content's digest is {}", parsed.digest())));
    }
    tokio::fs::write(to, &bytes).await.map_err(scratch(to))
}

/// Uploads a scratch file as a blob.
async fn upload(
    bucket: &Bucket,
    path: object_store::path::Path,
    name: &str,
    file: &Path,
) -> Result<Blob, CommitError> {
    let bytes = Bytes::from(tokio::fs::read(file).await.map_err(scratch(file))?);
    let blob = Blob { name: name.to_owned(), size: bytes.len() as u64, sha256: Digest::of(&bytes) };
    bucket.put(&path, bytes).await?;
    Ok(blob)
}

/// Commits a variant; `compact` is its compact checkpoint, `None` for `dense`. `record.blobs` and `record.bytes` are filled in.
pub async fn commit_variant(
    bucket: &Bucket,
    mut record: VariantRecord,
    compact: Option<&Path>,
) -> Result<Committed, CommitError> {
    if let Some(file) = compact {
        let path = layout::variant_blob(record.key, &record.attempt, FILE_NAME);
        record.blobs = vec![upload(bucket, path, FILE_NAME, file).await?];
    }
    record.bytes = record.blobs.iter().map(|b| b.size).sum();
    match bucket.commit_json(&layout::variant_record(record.key), &record).await? {
        Commit::Won => Ok(Committed::Ours),
        Commit::Lost => {
            let path = layout::variant_record(record.key).to_string();
            let gone = || CommitError::Altered { path, why: "it was there, and is gone".to_owned() };
            let winner = variant_record(bucket, record.key).await?.ok_or_else(gone)?;
            Ok(Committed::Theirs(Box::new(winner)))
        }
    }
}

/// True if the cell's record is there and was measured on the weights that its variant's record names. One measured on others
/// is not done: the coordinator deletes it when a run starts.
pub async fn cell_is_done(bucket: &Bucket, key: CellKey, weights: Digest) -> Result<bool, CommitError> {
    let record = bucket.read_object::<CellRecord>(&layout::cell_record(key)).await?;
    Ok(record.is_some_and(|r| r.weights == weights))
}

/// Commits a cell with its per-item scores; losing to another attempt at the same weights is as good. `record.blobs` is filled
/// in.
pub async fn commit_cell(
    bucket: &Bucket,
    mut record: CellRecord,
    scores: &Path,
) -> Result<Commit, CommitError> {
    let path = layout::cell_blob(record.key, &record.attempt, SCORES);
    record.blobs = vec![upload(bucket, path, SCORES, scores).await?];
    let path = layout::cell_record(record.key);
    let commit = bucket.commit_json(&path, &record).await?;
    if commit == Commit::Lost && !cell_is_done(bucket, record.key, record.weights).await? {
        let why = format!("not measured on weights {}, which its variant's record names", record.weights);
        return Err(CommitError::Altered { path: path.to_string(), why });
    }
    Ok(commit)
}

/// Leaves why an attempt failed. A store that fails here as well is only logged: the coordinator hears of it by `Sync`.
pub async fn leave_failure(bucket: &Bucket, record: &FailureRecord, attempt: &AttemptId) {
    if let Err(error) = bucket.commit_json(&layout::failure(record.key, attempt), record).await {
        tracing::warn!(%error, key = %record.key, "failure could not be recorded");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use espalier_proto::checkpoint::Mask;
    use espalier_proto::ids::ModelDigest;
    use espalier_proto::recipe::{Backend, Dtype, VariantSpec};
    use espalier_proto::records::RECORD_FORMAT;
    use espalier_proto::records::{Measured, Outcome};

    fn bucket() -> (tempfile::TempDir, Bucket) {
        let folder = tempfile::tempdir().unwrap();
        let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
        (folder, bucket)
    }

    fn compact(kept: [u8; 2]) -> Compact {
        let masks = [("a.fc".to_owned(), Mask::from_kept(1, 2, &kept))].into();
        Compact { model: ModelDigest(Digest::of(b"m")), dtype: Dtype::Float32, masks }
    }

    fn measured() -> Measured {
        Measured {
            fingerprint: "f".into(),
            device: "d".into(),
            seconds: Default::default(),
            peak_alloc_mib: None,
            peak_device_mib: None,
            rss_mib: 1.0,
            joules: None,
            ended: "2000-01-01T00:00:00Z".to_owned(),
            resumed_blocks: 0,
        }
    }

    fn variant(attempt: &str, weights: Digest) -> VariantRecord {
        let spec = VariantSpec {
            model: ModelDigest(Digest::of(b"m")),
            method: "wanda".to_owned(),
            params: Default::default(),
            targets: Default::default(),
            calibration: None,
            dtype: Dtype::Float32,
            backend: Backend::Cpu,
            threads: Some(2),
            device_kind: None,
            tf32: false,
        };
        VariantRecord {
            format: RECORD_FORMAT,
            key: espalier_proto::keys::variant_key(&spec),
            spec,
            attempt: attempt.parse().unwrap(),
            blobs: Vec::new(),
            weights,
            linears: Default::default(),
            bytes: 0,
            measured: measured(),
        }
    }

    fn cell(key: CellKey, n: u32, weights: Digest) -> CellRecord {
        CellRecord {
            format: RECORD_FORMAT,
            key,
            variant: VariantKey(Digest::of(b"v")),
            inputs: InputsDigest(Digest::of(b"i")),
            weights,
            attempt: format!("main-1-{n}").parse().unwrap(),
            blobs: Vec::new(),
            outcome: Outcome::Perplexity { seqlen: 2, windows: 1, tokens: 1, window_nll: vec![f64::from(n)] },
            measured: measured(),
        }
    }

    #[tokio::test]
    async fn of_two_attempts_at_one_variant_the_later_gets_the_firsts_record_and_checkpoint() {
        let (folder, bucket) = bucket();
        let mut results = Vec::new();
        for (attempt, kept) in [("main-1-1", [1, 0]), ("main-1-2", [0, 1])] {
            let (compact, file) = (compact(kept), folder.path().join(attempt));
            std::fs::write(&file, compact.encode()).unwrap();
            let record = variant(attempt, compact.weights());
            results.push(commit_variant(&bucket, record, Some(&file)).await.unwrap());
        }
        assert_eq!(results[0], Committed::Ours);
        let Committed::Theirs(winner) = &results[1] else { panic!("{results:?}") };
        assert_eq!(winner.attempt.to_string(), "main-1-1");
        // What the loser has to measure instead of its own.
        let file = folder.path().join("winner");
        assert!(fetch_compact(&bucket, winner, &file).await.unwrap());
        assert_eq!(Compact::decode(&std::fs::read(file).unwrap()).unwrap(), compact([1, 0]));
    }

    #[tokio::test]
    async fn of_sixteen_racing_attempts_at_one_cell_one_record_stays_with_its_own_blob() {
        let (folder, bucket) = bucket();
        let key = CellKey(Digest::of(b"c"));
        let tries = (1..=16).map(|n| {
            let (bucket, file) = (bucket.clone(), folder.path().join(format!("s{n}")));
            std::fs::write(&file, format!("scores of {n}")).unwrap();
            let record = cell(key, n, Digest::of(b"w"));
            async move { commit_cell(&bucket, record, &file).await.unwrap() }
        });
        let results = futures::future::join_all(tries).await;
        assert_eq!(results.iter().filter(|c| **c == Commit::Won).count(), 1);
        let record: CellRecord = bucket.read_json(&layout::cell_record(key)).await.unwrap().unwrap();
        let blob = bucket.read(&layout::cell_blob(key, &record.attempt, SCORES)).await.unwrap().unwrap();
        assert_eq!(Digest::of(&blob), record.blobs[0].sha256);
        assert_eq!(blob, format!("scores of {}", record.attempt.n));
    }

    #[tokio::test]
    async fn a_cell_measured_on_other_weights_is_not_done_and_never_taken_for_ones_own() {
        let (folder, bucket) = bucket();
        let (key, file) = (CellKey(Digest::of(b"c")), folder.path().join("s"));
        std::fs::write(&file, "scores").unwrap();
        let [old, new] = [Digest::of(b"old"), Digest::of(b"new")];
        commit_cell(&bucket, cell(key, 1, old), &file).await.unwrap();
        assert!(cell_is_done(&bucket, key, old).await.unwrap());
        assert!(!cell_is_done(&bucket, key, new).await.unwrap());
        let error = commit_cell(&bucket, cell(key, 2, new), &file).await.unwrap_err().to_string();
        assert!(error.contains("not measured on weights"), "{error}");
        bucket.delete(&layout::cell_record(key)).await.unwrap();
        assert_eq!(commit_cell(&bucket, cell(key, 3, new), &file).await.unwrap(), Commit::Won);
    }

    #[tokio::test]
    async fn an_altered_checkpoint_and_altered_inputs_are_refused() {
        let (folder, bucket) = bucket();
        let file = folder.path().join("f");
        std::fs::write(&file, compact([1, 0]).encode()).unwrap();
        let record = variant("main-1-1", compact([1, 0]).weights());
        commit_variant(&bucket, record.clone(), Some(&file)).await.unwrap();
        let record = variant_record(&bucket, record.key).await.unwrap().unwrap();
        let path = layout::variant_blob(record.key, &record.attempt, FILE_NAME);
        bucket.put(&path, compact([0, 1]).encode()).await.unwrap();
        let error = fetch_compact(&bucket, &record, &file).await.unwrap_err();
        assert!(
            matches!(error, CommitError::Altered { .. }) && error.code() == FailureCode::StoreError,
            "{error}"
        );
        bucket.delete(&path).await.unwrap();
        let error = fetch_compact(&bucket, &record, &file).await.unwrap_err().to_string();
        assert!(error.contains("missing"), "{error}");
        let missing =
            fetch_inputs(&bucket, InputsDigest(Digest::of(b"i")), &file).await.unwrap_err().to_string();
        assert!(missing.contains("missing"), "{missing}");
    }
}
