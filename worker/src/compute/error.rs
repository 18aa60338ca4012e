//! Why the compute child cannot answer a request, and what that is in records.

use crate::error::EngineError;
use crate::evaluate::EvaluateError;
use crate::load::LoadError;
use espalier_proto::checkpoint::CompactError;
use espalier_proto::records::FailureCode;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Loading weights.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Evaluating.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The compact checkpoint of a record.
    #[error(transparent)]
    Compact(#[from] CompactError),
    /// A scratch file.
    #[error("scratch file {path}")]
    Scratch {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The inputs are not what was asked for.
    #[error("inputs {path}: {why}")]
    Inputs {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// A request came before the one that it needs: a bug.
    #[error("{request} was asked for before {needed}")]
    OutOfTurn {
        /// What was asked for.
        request: &'static str,
        /// What should have come first.
        needed: &'static str,
    },
}

impl WorkError {
    /// The failure's code in records.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Engine(e) => e.code(),
            Self::Load(e) => e.code(),
            Self::Evaluate(e) => e.code(),
            Self::Compact(_) => FailureCode::StoreError,
            Self::Scratch { .. } => FailureCode::NodeFault,
            Self::Inputs { .. } => FailureCode::BadInputs,
            Self::OutOfTurn { .. } => FailureCode::Internal,
        }
    }
}
