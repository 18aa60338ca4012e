//! Resolved inputs + a model → log-likelihoods → what a cell's record holds.
//!
//! * [`check`]: inputs that fit. * [`pack`]: micro-batches exactly as composed. * [`score`]: layer-major forward → log-likelihood of every span.
//! * [`multiple_choice`], [`perplexity`]: spans → outcome. * [`scores_file`]: per-item Parquet.

pub mod check;
pub mod multiple_choice;
pub mod pack;
pub mod perplexity;
pub mod score;
pub mod scores_file;

use espalier_proto::inputs::Inputs;
use espalier_proto::records::{FailureCode, Outcome};
use score::Scorer;
use std::path::Path;

/// Why a cell has no outcome.
#[derive(Debug, thiserror::Error)]
pub enum EvaluateError {
    /// The inputs do not fit together or do not fit the model.
    #[error(transparent)]
    Inputs(#[from] check::PackError),
    /// A block's weights cannot be loaded.
    #[error(transparent)]
    Load(#[from] crate::load::LoadError),
    /// A log-likelihood is NaN or infinite.
    #[error("{what}: log-likelihood {ll}, expected a finite number")]
    NonFiniteScore {
        /// Which one.
        what: String,
        /// Its value.
        ll: f64,
    },
    /// The per-item file cannot be written.
    #[error("scores file {path}: {why}")]
    ScoresFile {
        /// The file.
        path: String,
        /// Why.
        why: String,
    },
}

impl EvaluateError {
    /// The failure's code in records.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::Inputs(_) => FailureCode::BadInputs,
            Self::Load(error) => error.code(),
            Self::NonFiniteScore { .. } => FailureCode::NonFiniteScores,
            Self::ScoresFile { .. } => FailureCode::NodeFault,
        }
    }
}

/// Checks inputs whole and scores their first micro-batch.
pub fn try_first(scorer: &mut Scorer<'_>, inputs: &Inputs) -> Result<(), EvaluateError> {
    check::check_vocabulary(inputs.max_token(), scorer.decoder.arch().vocab)?;
    let batches = match inputs {
        Inputs::Choices(choices) => pack::choices(choices)?,
        Inputs::Perplexity(windows) | Inputs::Calibration(windows) => pack::windows(windows)?,
    };
    for (span, score) in scorer.score(&batches[..batches.len().min(1)])? {
        if !score.ll.is_finite() {
            let what = format!("item or window {} of the first micro-batch", span.item);
            return Err(EvaluateError::NonFiniteScore { what, ll: score.ll });
        }
    }
    Ok(())
}

/// Scores inputs and writes per-item rows to `scores`.
pub fn evaluate(scorer: &mut Scorer<'_>, inputs: &Inputs, scores: &Path) -> Result<Outcome, EvaluateError> {
    check::check_vocabulary(inputs.max_token(), scorer.decoder.arch().vocab)?;
    match inputs {
        Inputs::Choices(choices) => {
            let spans = scorer.score(&pack::choices(choices)?)?;
            multiple_choice::finish(choices, &spans, scores)
        }
        Inputs::Perplexity(windows) | Inputs::Calibration(windows) => {
            let spans = scorer.score(&pack::windows(windows)?)?;
            perplexity::finish(windows, &spans, scores)
        }
    }
}
