//! Orders and failures between messages and the board.

use espalier_proto::ids::{AttemptId, CellKey, Digest, IdError, InputsDigest, VariantKey};
use espalier_proto::keys;
use espalier_proto::messages as pb;
use espalier_proto::recipe::VariantSpec;
use espalier_proto::records::FailureCode;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// A shard as ordered.
#[derive(Clone, Debug)]
pub struct Order {
    /// The attempt.
    pub attempt: AttemptId,
    /// Computed here from `spec`.
    pub key: VariantKey,
    /// What is to be done.
    pub spec: VariantSpec,
    /// The model's files on this host.
    pub folder: PathBuf,
    /// The cells, in order, with their inputs.
    pub cells: Vec<(CellKey, InputsDigest)>,
    /// The variant's own record is wanted, even where there is no cell.
    pub variant_wanted: bool,
    /// It is a model's canary, which scores a micro-batch of each of these.
    pub canary: Option<BTreeSet<InputsDigest>>,
}

/// An order that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// An id is not one.
    #[error("order: {0}")]
    Id(#[from] IdError),
    /// The spec is not one.
    #[error("order {attempt}: variant_json: {why}")]
    Spec {
        /// The attempt.
        attempt: String,
        /// The parser's message.
        why: String,
    },
    /// A cell's key is not that of this variant and these inputs.
    #[error(
        "order {attempt}: cell {cell} is not the cell of its variant and inputs as this worker computes it"
    )]
    Cell {
        /// The attempt.
        attempt: String,
        /// The key as ordered.
        cell: String,
    },
}

impl Order {
    /// Reads an order; one of an attempt that is held says no more than its cells.
    pub fn read(order: &pb::ShardOrder, held: Option<&Self>) -> Result<Self, OrderError> {
        let attempt: AttemptId = order.attempt.parse()?;
        let canary = order.canary.as_ref().map(|canary| {
            canary
                .inputs_digests
                .iter()
                .map(|digest| digest.parse())
                .collect::<Result<BTreeSet<_>, IdError>>()
        });
        let canary = canary.transpose()?;
        let (spec, key, folder) = match held.filter(|_| order.variant_json.is_empty()) {
            Some(held) => (held.spec.clone(), held.key, held.folder.clone()),
            None => {
                let spec: VariantSpec = serde_json::from_str(&order.variant_json)
                    .map_err(|e| OrderError::Spec { attempt: order.attempt.clone(), why: e.to_string() })?;
                let key = match &canary {
                    None => keys::variant_key(&spec),
                    Some(inputs) => keys::canary_key(&spec, inputs),
                };
                (spec, key, PathBuf::from(&order.model_folder))
            }
        };
        let mut cells = Vec::with_capacity(order.cells.len());
        for cell in &order.cells {
            let (cell_key, inputs) = (cell.cell_key.parse()?, cell.inputs_digest.parse()?);
            if keys::cell_key(key, inputs) != cell_key {
                return Err(OrderError::Cell { attempt: order.attempt.clone(), cell: cell.cell_key.clone() });
            }
            cells.push((cell_key, inputs));
        }
        let variant_wanted = order.variant_wanted;
        Ok(Self { attempt, key, spec, folder, cells, variant_wanted, canary })
    }
}

/// A failure as `Sync` tells it.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Variant or cell.
    pub key: Digest,
    /// Which of the closed list.
    pub code: FailureCode,
    /// For people.
    pub message: String,
}

/// What to blame for a failure.
pub(super) fn kind(code: FailureCode) -> pb::FailureKind {
    match code {
        FailureCode::Preempted => pb::FailureKind::Preempted,
        FailureCode::ComputeLost => pb::FailureKind::ComputeLost,
        FailureCode::NodeFault => pb::FailureKind::NodeFault,
        FailureCode::StoreError => pb::FailureKind::StoreError,
        FailureCode::OutOfMemory => pb::FailureKind::OutOfMemory,
        FailureCode::NonFiniteWeights
        | FailureCode::NonFiniteScores
        | FailureCode::BadCheckpoint
        | FailureCode::ModelChanged
        | FailureCode::BadInputs
        | FailureCode::DigestMismatch
        | FailureCode::Internal => pb::FailureKind::CellError,
    }
}
