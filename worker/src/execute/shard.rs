//! What everything about one shard needs: its order, where results go, what it runs on, whom to tell.

use super::ShardError;
use crate::board::{Board, Order, Shared};
use crate::clock;
use crate::compute::child::ComputeError;
use crate::compute::protocol::{DeviceInfo, Spent};
use espalier_proto::bucket::Bucket;
use espalier_proto::messages::Phase;
use espalier_proto::methods;
use espalier_proto::recipe::VariantSpec;
use espalier_proto::records::Measured;
use std::time::Duration;

/// How long a leaving worker waits for a bucket where nothing is lost by going.
const LEAVES: Duration = Duration::from_secs(5);

/// What everything about one shard needs.
pub(super) struct Shard<'a> {
    pub(super) order: &'a Order,
    pub(super) bucket: &'a Bucket,
    pub(super) device: &'a DeviceInfo,
    pub(super) shared: &'a Shared,
}

impl Shard<'_> {
    /// The spec asks for what this worker is.
    pub(super) fn check_fit(&self) -> Result<(), ShardError> {
        let VariantSpec { backend, threads, device_kind, method, .. } = &self.order.spec;
        let fits = *backend == self.device.backend
            && threads.is_none_or(|n| n == self.device.threads)
            && device_kind.as_ref().is_none_or(|kind| *kind == self.device.fingerprint)
            && (method == methods::DENSE || methods::method(method).is_some());
        if fits {
            return Ok(());
        }
        let kind = device_kind.as_deref().unwrap_or("any");
        Err(ShardError::NotForUs {
            asked: format!("{method} on {} with threads {threads:?}, device kind {kind}", backend.as_str()),
            is: format!(
                "{} with {} threads, device kind {}",
                self.device.backend.as_str(),
                self.device.threads,
                self.device.fingerprint
            ),
        })
    }

    pub(super) fn goes_on(&self) -> bool {
        self.shared.with(|board| board.goes_on(&self.order.attempt))
    }

    /// What is read before anything is computed, or removed after: a worker that leaves gives it up after seconds, and nothing is lost.
    pub(super) async fn unless_leaving<T, E: Into<ShardError>>(
        &self,
        asked: impl Future<Output = Result<T, E>>,
    ) -> Result<T, ShardError> {
        tokio::select! {
            biased;
            answer = asked => answer.map_err(Into::into),
            () = async { self.shared.until(Board::draining).await; tokio::time::sleep(LEAVES).await } => {
                Err(ComputeError::Interrupted.into())
            }
        }
    }

    pub(super) fn phase(&self, phase: Phase) {
        self.shared.update_soon(|board| board.phase(&self.order.attempt, phase));
    }

    pub(super) fn measured(&self, spent: Spent) -> Measured {
        Measured {
            fingerprint: self.device.fingerprint.clone(),
            device: self.device.name.clone(),
            seconds: spent.seconds,
            peak_alloc_mib: spent.peak_alloc_mib,
            peak_device_mib: spent.peak_device_mib,
            rss_mib: spent.rss_mib,
            joules: spent.joules,
            ended: clock::now_rfc3339(),
            resumed_blocks: 0,
        }
    }
}
