//! What a finished variant, cell or failed attempt leaves in the bucket. Written once, never changed; a reader refuses a
//! format that it does not know.

use crate::ids::{AttemptId, CellKey, Digest, InputsDigest, VariantKey};
use crate::recipe::VariantSpec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Format of the records written by this version.
pub const RECORD_FORMAT: u32 = 1;

/// Name of a cell's per-item scores under their attempt.
pub const SCORES: &str = "scores.parquet";

/// A file beside a record, under the record's attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blob {
    /// File name under the attempt's folder.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// Digest of the bytes.
    pub sha256: Digest,
}

/// What was measured about the doing; shown in costs, never in results.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// Digest of the device's own bits: a fixed set of GEMM, softmax, attention and Cholesky results, the device's model and
    /// instruction set, the libraries' versions. Equal fingerprints give equal bits.
    pub fingerprint: String,
    /// The device's name, for people.
    pub device: String,
    /// Seconds by stage: `load`, `calibrate`, `prune`, `evaluate`.
    pub seconds: BTreeMap<String, f64>,
    /// Peak of the allocator on the device, MiB; `None` on CPU.
    pub peak_alloc_mib: Option<f64>,
    /// Peak of the whole device's memory in use, MiB; `None` on CPU.
    pub peak_device_mib: Option<f64>,
    /// Peak resident set of the compute process, MiB.
    pub rss_mib: f64,
    /// Energy, J, where the device tells.
    pub joules: Option<f64>,
    /// When it ended, RFC 3339, UTC.
    pub ended: String,
    /// Blocks whose masks an attempt before this one had saved; the seconds are those of all of them together.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumed_blocks: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What pruning did to one linear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinearRecord {
    /// Weights in all.
    pub weights: u64,
    /// Weights that are zero by value.
    pub zeros: u64,
}

/// A variant is in the bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantRecord {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// The variant.
    pub key: VariantKey,
    /// What the key was made of.
    pub spec: VariantSpec,
    /// The attempt under which the blobs lie.
    pub attempt: AttemptId,
    /// The compact checkpoint; empty for `dense`.
    pub blobs: Vec<Blob>,
    /// Digest of the pruned weights' canonical content (see checkpoint.rs); cells name it.
    pub weights: Digest,
    /// Every linear of the model, by name.
    pub linears: BTreeMap<String, LinearRecord>,
    /// Bytes of the blobs together.
    pub bytes: u64,
    /// About the doing.
    pub measured: Measured,
}

/// A variant's compact checkpoint was dropped: it is pruned again where it is needed, and must then have these weights.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DroppedRecord {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// The variant.
    pub key: VariantKey,
    /// Digest of its weights, as its record names it.
    pub weights: Digest,
    /// When, RFC 3339, UTC.
    pub at: String,
}

/// The outcome of scoring.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// Fixed windows.
    Perplexity {
        /// Tokens of a window.
        seqlen: u32,
        /// Windows scored.
        windows: u64,
        /// Tokens scored: all but the first of each window.
        tokens: u64,
        /// Mean negative log-likelihood of each window's scored tokens, nats, in window order.
        window_nll: Vec<f64>,
    },
    /// Multiple choice. Every metric follows from these counts.
    Choices {
        /// Items scored.
        items: u64,
        /// Items with at least one truncated option.
        truncated: u64,
        /// `[gold][prediction]` by acc's argmax; as many rows and columns as the largest item has options.
        confusion: Vec<Vec<u64>>,
        /// The same by acc_norm's argmax.
        confusion_norm: Vec<Vec<u64>>,
    },
}

/// What of one item an outcome is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemOutcome {
    /// Index of the right option.
    pub gold: u32,
    /// Of the one that acc's argmax takes.
    pub pred: u32,
    /// Of the one that acc_norm's argmax takes.
    pub pred_norm: u32,
    /// How many options there are.
    pub options: usize,
    /// At least one of them was truncated.
    pub truncated: bool,
}

impl Outcome {
    /// Of windows of `seqlen` tokens: the log-likelihood, nats, of all tokens of each but its first.
    pub fn of_windows(seqlen: u32, lls: &[f64]) -> Self {
        let tokens = seqlen.saturating_sub(1);
        Self::Perplexity {
            seqlen,
            windows: lls.len() as u64,
            tokens: lls.len() as u64 * u64::from(tokens),
            window_nll: lls.iter().map(|ll| -ll / f64::from(tokens)).collect(),
        }
    }

    /// Of items of multiple choice; `None` if one names an option that none of them has.
    pub fn of_items(all: &[ItemOutcome]) -> Option<Self> {
        let classes = all.iter().map(|item| item.options).max().unwrap_or(0);
        let mut confusion = vec![vec![0u64; classes]; classes];
        let mut confusion_norm = confusion.clone();
        for item in all {
            let gold = item.gold as usize;
            *confusion.get_mut(gold)?.get_mut(item.pred as usize)? += 1;
            *confusion_norm.get_mut(gold)?.get_mut(item.pred_norm as usize)? += 1;
        }
        let truncated = all.iter().filter(|item| item.truncated).count() as u64;
        Some(Self::Choices { items: all.len() as u64, truncated, confusion, confusion_norm })
    }
}

/// A cell is in the bucket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellRecord {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// The cell.
    pub key: CellKey,
    /// Its variant.
    pub variant: VariantKey,
    /// Its inputs.
    pub inputs: InputsDigest,
    /// The weights it was measured on: must be what the variant's record names.
    pub weights: Digest,
    /// The attempt under which the blobs lie.
    pub attempt: AttemptId,
    /// Per-item scores.
    pub blobs: Vec<Blob>,
    /// What came out.
    pub outcome: Outcome,
    /// About the doing.
    pub measured: Measured,
}

/// Why a cell has no number: the closed list that results show. `costs` has the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureCode {
    /// A weight is NaN or infinite.
    NonFiniteWeights,
    /// A log-likelihood is NaN.
    NonFiniteScores,
    /// Files of the model are missing, truncated or do not fit its config.
    BadCheckpoint,
    /// The model's files are not those that were resolved.
    ModelChanged,
    /// Resolved inputs are missing, altered or do not fit the model.
    BadInputs,
    /// The device's memory did not suffice.
    OutOfMemory,
    /// The compute process died or stalled.
    ComputeLost,
    /// The device or its node failed.
    NodeFault,
    /// The object store failed.
    StoreError,
    /// Pruning again gave other weights than the record names.
    DigestMismatch,
    /// The worker was told to leave.
    Preempted,
    /// A bug: the message says which.
    Internal,
}

impl FailureCode {
    /// The word as results show it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NonFiniteWeights => "non_finite_weights",
            Self::NonFiniteScores => "non_finite_scores",
            Self::BadCheckpoint => "bad_checkpoint",
            Self::ModelChanged => "model_changed",
            Self::BadInputs => "bad_inputs",
            Self::OutOfMemory => "out_of_memory",
            Self::ComputeLost => "compute_lost",
            Self::NodeFault => "node_fault",
            Self::StoreError => "store_error",
            Self::DigestMismatch => "digest_mismatch",
            Self::Preempted => "preempted",
            Self::Internal => "internal",
        }
    }
}

/// An attempt at a variant or a cell failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailureRecord {
    /// [`RECORD_FORMAT`].
    pub format: u32,
    /// The variant's or cell's key.
    pub key: Digest,
    /// The attempt.
    pub attempt: AttemptId,
    /// Which of the closed list.
    pub code: FailureCode,
    /// For people.
    pub message: String,
    /// The device's fingerprint.
    pub fingerprint: String,
    /// When, RFC 3339, UTC.
    pub at: String,
}
