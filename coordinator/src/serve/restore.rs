//! Sweeps taken up from the bucket: all of an instance at its coordinator's start, later those that could not be read then.

use super::log;
use super::recall::recall;
use super::sweeps::{Sweeps, SweepsError};
use super::take_up::finished;
use crate::records::kept;
use crate::schedule::Believed;
use espalier_proto::bucket::BucketError;
use espalier_proto::causes::chain;
use espalier_proto::ids::{Digest, Name};
use espalier_proto::layout;
use espalier_proto::sweep::ResolvedSweep;
use std::sync::Arc;

impl Sweeps {
    /// Takes up again every sweep that the bucket says is this instance's. One that cannot be read is left out, loudly: the
    /// others are not to wait for it.
    pub async fn restore(&self) -> Result<(), BucketError> {
        for name in self.bucket().folders(&layout::sweeps()).await? {
            let Ok(name) = name.parse::<Name>() else { continue };
            if let Err(error) = self.restore_one(&name).await {
                let why = chain(&error);
                tracing::error!(sweep = %name, why, "sweep cannot be taken up");
                self.unreadable().insert(name, why);
            }
        }
        self.driver().settled().await;
        Ok(())
    }

    /// Tries one again that could not be read.
    pub(super) async fn restore_again(&self, name: &Name) {
        match self.restore_one(name).await {
            Ok(true) => {
                tracing::info!(sweep = %name, "the sweep can be read again");
                self.unreadable().remove(name);
                recall(self, std::slice::from_ref(name)).await;
            }
            Ok(false) => {
                tracing::info!(sweep = %name, "the sweep that could not be read was removed, or is another instance's");
                self.unreadable().remove(name);
            }
            Err(error) => {
                let why = chain(&error);
                tracing::debug!(sweep = %name, why, "sweep still cannot be taken up");
                self.unreadable().insert(name.clone(), why);
            }
        }
    }

    /// `false`: it is not this instance's, or is not there any more.
    async fn restore_one(&self, name: &Name) -> Result<bool, SweepsError> {
        let fold = log::read_whole(self.bucket(), name).await?;
        let Some(spec) = fold.spec.filter(|_| fold.owner.as_ref() == Some(&self.epoch().instance)) else {
            return Ok(false);
        };
        // Of a large sweep both take seconds.
        let (bucket, of) = (self.bucket().clone(), name.clone());
        let kept = tokio::spawn(async move { kept(&bucket, &of).await });
        let sweep = self.spec(name, spec).await?;
        let kept = finished(kept).await?;
        tracing::info!(sweep = %name, cells = sweep.cells.len(), "sweep taken up again");
        // Of one that is late others may be at its variants.
        let busy = self.driver().believed(sweep.variants.iter().map(|v| v.key).collect()).await.busy;
        let believed = Believed { busy, ..Believed::default() };
        let read = self.read_beside(&sweep, kept, believed).await?;
        self.take_up(Arc::new(sweep), read, fold, false).await?;
        Ok(true)
    }

    /// The spec that a sweep's log names.
    pub(super) async fn spec(&self, name: &Name, spec: Digest) -> Result<ResolvedSweep, BucketError> {
        let path = layout::spec(name, spec);
        self.bucket().read_object(&path).await?.ok_or_else(|| BucketError::Corrupt {
            path: path.to_string(),
            why: "it is absent, but the sweep's log names it".to_owned(),
        })
    }
}
