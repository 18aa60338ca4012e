//! Where a shard's model is on this node, and whether a failure is the model's or only that of its copy here.
//!
//! A folder of the user's that holds something else than the sweep was resolved with is another model. A copy in the cache that does
//! is damaged, which says nothing about the model: it is removed, and what failed is tried again.

use super::ShardError;
use super::cache::{self, Held};
use super::executor::Executor;
use super::shard::Shard;
use espalier_proto::ids::ModelDigest;
use espalier_proto::layout;
use espalier_proto::mirror::{self, MirrorError};
use espalier_proto::model_folder::folder_digest;
use espalier_proto::records::FailureCode;
use std::path::{Path, PathBuf};

impl Executor {
    /// Where the model's files are on this node: the folder of the order if it holds the model, else the cache.
    pub(super) async fn model_folder(&mut self, shard: &Shard<'_>) -> Result<PathBuf, ShardError> {
        let (folder, model) = (&shard.order.folder, shard.order.spec.model);
        if let Some(held) = self.held.as_ref().filter(|h| h.digest == model && h.is_untouched()) {
            return Ok(held.folder.clone());
        }
        let here = self.check_model(folder, model).await;
        let Err(error) = here else { return Ok(folder.clone()) };
        if mirror::list(shard.bucket, model).await?.is_none() {
            // What `espalier repair` made missing is put there anew when its sweep is submitted again.
            let left = shard.bucket.list(&layout::model_files(model)).await?;
            return Err(if left.is_empty() { error } else { MirrorError::Absent { digest: model }.into() });
        }
        if self.held.take().is_some_and(|h| h.digest == model) {
            // The process has files open that are others now.
            self.warm = None;
        }
        let digests = self.options.digest_cache.as_deref();
        let held = self.options.cache.hold(shard.bucket, model, digests).await?;
        self.models.insert(model);
        Ok(self.held.insert(held).folder.clone())
    }

    /// Reads the folder's digest.
    async fn check_model(&mut self, folder: &Path, expected: ModelDigest) -> Result<(), ShardError> {
        let (path, cache) = (folder.to_owned(), self.options.digest_cache.clone());
        let read = tokio::task::spawn_blocking(move || folder_digest(&path, cache.as_deref()));
        let found = read.await.expect("reading files does not panic")?;
        if found != expected {
            return Err(ShardError::ModelChanged { folder: folder.display().to_string(), found, expected });
        }
        self.models.insert(found);
        Ok(())
    }

    /// What a failure is if it comes of a copy that was damaged while it was used; the copy is let go and removed.
    pub(super) async fn damaged_copy(&mut self, error: &ShardError) -> Option<ShardError> {
        let held = self.held.as_ref()?;
        let digests = match error.code() {
            // They say that the files are bad: all of these is read, whatever is remembered of them.
            FailureCode::BadCheckpoint | FailureCode::ModelChanged | FailureCode::NonFiniteWeights => None,
            FailureCode::ComputeLost
            | FailureCode::Internal
            | FailureCode::NonFiniteScores
            | FailureCode::DigestMismatch
                if !held.is_untouched() =>
            {
                self.options.digest_cache.clone()
            }
            _ => return None,
        };
        let with = format!("; with it: {}", error.chain());
        self.let_go_if_damaged(digests.as_deref(), &with).await
    }

    /// What was computed is as good as the copy that it was computed from: it is looked at before anything is committed.
    pub(super) async fn copy_is_sound(&mut self) -> Result<(), ShardError> {
        if self.held.as_ref().is_none_or(Held::is_untouched) {
            return Ok(());
        }
        let digests = self.options.digest_cache.clone();
        let damaged =
            self.let_go_if_damaged(digests.as_deref(), ", and nothing that came of it counts").await;
        damaged.map_or(Ok(()), Err)
    }

    async fn let_go_if_damaged(&mut self, digests: Option<&Path>, more: &str) -> Option<ShardError> {
        let held = self.held.as_ref()?;
        let found = cache::damage(&held.folder, held.digest, digests).await;
        let gone = (!held.folder.is_dir()).then(|| "it is gone".to_owned());
        let why = format!("{}{more}", found.or(gone)?);
        let (folder, digest) = (held.folder.display().to_string(), held.digest);
        // Others may hold it: whoever is the last to let it go removes it.
        self.held = None;
        self.warm = None;
        if let Err(error) = self.options.cache.remove(digest) {
            tracing::warn!(folder, %error, "a damaged copy of a model cannot be removed");
        }
        Some(ShardError::DamagedCopy { folder, why })
    }
}
