//! Why a variant or a cell failed, and what that is in records.

use crate::commit::CommitError;
use crate::compute::child::ComputeError;
use crate::compute::protocol::Event;
use espalier_proto::bucket::BucketError;
use espalier_proto::ids::{Digest, ModelDigest};
use espalier_proto::mirror::MirrorError;
use espalier_proto::model_folder::ModelFilesError;
use espalier_proto::records::FailureCode;

/// Why a variant or a cell failed.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// The compute child failed or answered with a failure.
    #[error(transparent)]
    Compute(#[from] ComputeError),
    /// The bucket failed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The model's folder cannot be read.
    #[error(transparent)]
    Model(#[from] ModelFilesError),
    /// The model cannot be had from the bucket.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The bucket did not answer.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// The folder holds another model.
    #[error("model folder {folder} has digest {found}, the sweep was resolved with {expected}")]
    ModelChanged {
        /// The folder.
        folder: String,
        /// Its digest now.
        found: ModelDigest,
        /// The spec's.
        expected: ModelDigest,
    },
    /// What this node keeps of the bucket's model is not it.
    #[error("copy of a model in {folder} is damaged: {why}")]
    DamagedCopy {
        /// The copy.
        folder: String,
        /// What is wrong, and what came of it.
        why: String,
    },
    /// The shard is not for this worker.
    #[error("shard asks for {asked}, this worker is {is}")]
    NotForUs {
        /// What the spec says.
        asked: String,
        /// What the worker is.
        is: String,
    },
    /// Pruning again gave something else.
    #[error(
        "pruned again, the variant has weights {found}, its record names {expected}: another kind of device, or another version, made that; \
         espalier repair makes the variant and its cells missing once its checkpoint is"
    )]
    OtherWeights {
        /// What came out.
        found: Digest,
        /// What the record names.
        expected: Digest,
    },
    /// The scratch folder failed.
    #[error("scratch folder {path}")]
    Scratch {
        /// The folder.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The child answered something else than was asked: a bug.
    #[error("compute process answered {event:?} to another request")]
    OutOfTurn {
        /// What it answered.
        event: Box<Event>,
    },
}

impl ShardError {
    /// The failure's code in records.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Compute(e) => e.code(),
            Self::Commit(e) => e.code(),
            Self::Mirror(MirrorError::Write { .. }) => FailureCode::NodeFault,
            Self::Mirror(_) | Self::Bucket(_) => FailureCode::StoreError,
            Self::Model(ModelFilesError::Read { .. }) => FailureCode::NodeFault,
            Self::Model(_) => FailureCode::BadCheckpoint,
            Self::ModelChanged { .. } => FailureCode::ModelChanged,
            Self::NotForUs { .. } | Self::OutOfTurn { .. } => FailureCode::Internal,
            Self::OtherWeights { .. } => FailureCode::DigestMismatch,
            Self::Scratch { .. } | Self::DamagedCopy { .. } => FailureCode::NodeFault,
        }
    }

    /// The message with all its causes.
    pub(super) fn chain(&self) -> String {
        espalier_proto::causes::chain(self)
    }
}
