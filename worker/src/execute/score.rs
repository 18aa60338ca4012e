//! Scores a cell's inputs in the compute child; where memory does not suffice, again with fewer micro-batches at a time.
//!
//! How many micro-batches go through a block together changes no bit. Only when one alone does not fit is that a failure, which sends
//! the cell to a device with more memory.

use super::ShardError;
use super::executor::Executor;
use super::shard::Shard;
use crate::compute::child::ComputeError;
use crate::compute::protocol::{Event, Request, Spent};
use espalier_proto::ids::InputsDigest;
use espalier_proto::messages::Phase;
use espalier_proto::records::{FailureCode, Outcome};
use std::path::Path;

/// A wave that did not fit is followed by one of so many times fewer micro-batches.
const SMALLER: u32 = 4;

impl Executor {
    /// Scores inputs on the variant that is current.
    pub(super) async fn score(
        &mut self,
        shard: &Shard<'_>,
        digest: InputsDigest,
        (inputs, scores): (&Path, &Path),
    ) -> Result<(Outcome, Spent), ShardError> {
        let these = (shard.order.spec.model, digest);
        loop {
            let wave = self.waves.get(&these).copied();
            let request = Request::Evaluate { inputs: inputs.to_owned(), scores: scores.to_owned(), wave };
            let mut longest = 0;
            let mut hears = |event| {
                if let Event::Wave { batches } = event {
                    longest = batches;
                }
            };
            // A begun cell is finished, whatever the coordinator says meanwhile.
            let error = match self.ask_and_hear(shard, &request, false, &mut hears).await {
                Ok(Event::Scored { outcome, spent }) => return Ok((outcome, spent)),
                Ok(event) => return Err(ShardError::OutOfTurn { event: Box::new(event) }),
                Err(error) => error,
            };
            // With one micro-batch the first time, weights stayed on the device as well.
            let smaller = longest > 1 || longest == 1 && wave.is_none();
            if error.code() != FailureCode::OutOfMemory || !smaller {
                return Err(error);
            }
            let next = (longest / SMALLER).max(1);
            tracing::warn!(
                attempt = %shard.order.attempt, why = error.chain(), batches = longest, next,
                "out of memory: a smaller wave is tried"
            );
            self.waves.insert(these, next);
            // A new child, which knows nothing of the variant.
            self.warm = None;
            self.variant(shard).await?;
            if !shard.goes_on() {
                return Err(ComputeError::Interrupted.into());
            }
            shard.phase(Phase::Evaluating);
        }
    }
}
