//! A model's canary: shows on one worker that the model can be loaded, pruned and measured, before hundreds try. Leaves nothing.

use super::ShardError;
use super::executor::Executor;
use super::shard::Shard;
use crate::commit;
use crate::compute::protocol::{Event, Request};
use espalier_proto::ids::InputsDigest;
use espalier_proto::messages::Phase;
use std::collections::BTreeSet;

impl Executor {
    /// Prunes a block and scores a micro-batch of each of these inputs.
    pub(super) async fn canary(
        &mut self,
        shard: &Shard<'_>,
        inputs: &BTreeSet<InputsDigest>,
    ) -> Result<(), ShardError> {
        let spec = &shard.order.spec;
        shard.check_fit()?;
        shard.phase(Phase::Loading);
        let folder = shard.unless_leaving(self.model_folder(shard)).await?;
        self.open(shard, &folder).await?;
        let mut files = Vec::new();
        for digest in spec.calibration.iter().chain(inputs) {
            let file = self.scratch_file(&format!("canary-{}.json", files.len()));
            shard.unless_leaving(commit::fetch_inputs(shard.bucket, *digest, &file)).await?;
            files.push(file);
        }
        let tasks = files.split_off(usize::from(spec.calibration.is_some()));
        shard.phase(Phase::Pruning);
        let request =
            Request::Canary { spec: Box::new(spec.clone()), calibration: files.pop(), inputs: tasks };
        let answer = self.ask(shard, &request, true).await?;
        // What is current in the child now is no variant.
        if let Some(warm) = &mut self.warm {
            warm.weights = None;
        }
        match answer {
            Event::Passed => {
                tracing::info!(attempt = %shard.order.attempt, model = %spec.model.0.short(), "canary passed");
                Ok(())
            }
            event => Err(ShardError::OutOfTurn { event: Box::new(event) }),
        }
    }
}
