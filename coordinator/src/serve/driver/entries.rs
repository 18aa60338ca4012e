//! What the logs of sweeps are told of what the schedule has decided, in that order.

use super::super::errands::Kind;
use super::Driver;
use espalier_proto::causes::chain;
use espalier_proto::ids::{Digest, Name, VariantKey};
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::LogEvent;

impl Driver {
    /// Something was given up: a variant, a cell, or a canary.
    pub(super) fn log_given_up(&mut self, sweeps: Vec<Name>, key: Digest, code: FailureCode) {
        let event = match self.catalog.canaries.get(&VariantKey(key)) {
            None => LogEvent::Quarantine { key, code },
            Some(canary) => LogEvent::Canary { key, model: canary.spec.model, code: Some(code) },
        };
        for sweep in sweeps {
            self.write_log(sweep, event.clone());
        }
    }

    /// A canary has passed.
    pub(super) fn log_passed(&mut self, sweeps: Vec<Name>, key: VariantKey) {
        let Some(canary) = self.catalog.canaries.get(&key) else { return };
        let event = LogEvent::Canary { key: key.0, model: canary.spec.model, code: None };
        for sweep in sweeps {
            self.write_log(sweep, event.clone());
        }
    }

    /// Somebody asks for what is now to be forgotten, and the log says so already. What was decided while that was being written is written after
    /// it, and would be what holds.
    pub(super) fn log_retry_again(&mut self, sweep: &Name, keys: &[Digest]) {
        if self.orders.is_behind(sweep) {
            self.write_log(sweep.clone(), LogEvent::Retry { keys: keys.to_vec() });
        }
    }

    pub(super) fn write_log(&mut self, sweep: Name, event: LogEvent) {
        let (bucket, epoch, place) = (self.bucket.clone(), self.epoch.clone(), self.orders.decided(&sweep));
        self.errands.write(Kind::Log, async move {
            let written = place.write(&bucket, &epoch, event).await;
            written.err().map(|e| format!("the log of {sweep} could not be written: {}", chain(&e)))
        });
    }
}
