//! Messages ↔ the schedule's words: the only file that knows both.
//!
//! In: what a worker sent. Out: a [`Sync`], or what is wrong with the message. Nothing is guessed: an enum at its zero, a key
//! that is no digest, an unknown failure code are refused.

use crate::schedule::{Fault, FaultKind, Phase, Report, Sync, WorkerFacts, WorkerId};
use espalier_proto::ids::{AttemptId, CellKey, IdError};
use espalier_proto::messages as m;
use espalier_proto::recipe::Backend;
use std::collections::BTreeSet;

/// A message that is not what the protocol says.
#[derive(Debug, thiserror::Error)]
pub enum ConvertError {
    /// A field that must be there is not.
    #[error("Sync: {field} is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// An enum's value is not one of its words.
    #[error("Sync: {field} is {value}, which is none of its words")]
    Enum {
        /// The field.
        field: &'static str,
        /// The number or word.
        value: String,
    },
    /// An id is not written as ids are.
    #[error("Sync: {field}")]
    Id {
        /// The field.
        field: &'static str,
        /// Why.
        #[source]
        source: IdError,
    },
}

/// Takes a call apart. `call` is the number that the server gave it.
pub fn sync(request: m::SyncRequest, call: u64) -> Result<Sync, ConvertError> {
    if request.worker_id.is_empty() {
        return Err(ConvertError::Missing { field: "worker_id" });
    }
    let info = request.info.ok_or(ConvertError::Missing { field: "info" })?;
    Ok(Sync {
        worker: WorkerId(request.worker_id.into()),
        call,
        facts: facts(info)?,
        draining: request.draining,
        epoch_seen: request.epoch_seen,
        shards: request.shards.into_iter().map(report).collect::<Result<_, _>>()?,
    })
}

fn facts(info: m::WorkerInfo) -> Result<WorkerFacts, ConvertError> {
    let backend = match info.backend() {
        m::Backend::Cpu => Backend::Cpu,
        m::Backend::Cuda => Backend::Cuda,
        m::Backend::Unspecified => {
            return Err(ConvertError::Enum { field: "info.backend", value: info.backend.to_string() });
        }
    };
    Ok(WorkerFacts {
        host: info.host,
        pid: info.pid,
        device: info.device_name,
        backend,
        memory: info.memory_bytes,
        fingerprint: info.fingerprint,
        stages: info.stage_versions,
        threads: info.threads,
        models: info.models.iter().map(|d| id("info.models", d)).collect::<Result<_, _>>()?,
    })
}

fn report(shard: m::ShardReport) -> Result<Report, ConvertError> {
    let phase = match shard.phase() {
        m::Phase::Waiting => Phase::Waiting,
        m::Phase::Loading => Phase::Loading,
        m::Phase::Pruning => Phase::Pruning,
        m::Phase::Evaluating => Phase::Evaluating,
        m::Phase::Committing => Phase::Committing,
        m::Phase::Finished => Phase::Finished,
        m::Phase::Unspecified => {
            return Err(ConvertError::Enum { field: "shards.phase", value: shard.phase.to_string() });
        }
    };
    Ok(Report {
        variant: id("shards.variant_key", &shard.variant_key)?,
        attempt: id::<AttemptId>("shards.attempt", &shard.attempt)?,
        phase,
        progress: (shard.progress_done, shard.progress_total),
        variant_done: shard.variant_done,
        cells_done: cells("shards.cells_done", &shard.cells_done)?,
        cells_begun: cells("shards.cells_begun", &shard.cells_begun)?,
        faults: shard.failures.into_iter().map(fault).collect::<Result<_, _>>()?,
    })
}

fn fault(failure: m::Failure) -> Result<Fault, ConvertError> {
    let kind = match failure.kind() {
        m::FailureKind::Preempted => FaultKind::Preempted,
        m::FailureKind::ComputeLost => FaultKind::ComputeLost,
        m::FailureKind::NodeFault => FaultKind::NodeFault,
        m::FailureKind::CellError => FaultKind::CellError,
        m::FailureKind::StoreError => FaultKind::StoreError,
        m::FailureKind::OutOfMemory => FaultKind::OutOfMemory,
        m::FailureKind::Unspecified => {
            return Err(ConvertError::Enum { field: "failures.kind", value: failure.kind.to_string() });
        }
    };
    let code = serde_json::from_value(serde_json::Value::String(failure.code.clone()))
        .map_err(|_| ConvertError::Enum { field: "failures.code", value: failure.code })?;
    Ok(Fault { key: id("failures.key", &failure.key)?, kind, code, message: failure.message })
}

fn cells(field: &'static str, keys: &[String]) -> Result<BTreeSet<CellKey>, ConvertError> {
    keys.iter().map(|key| id(field, key)).collect()
}

fn id<T: std::str::FromStr<Err = IdError>>(field: &'static str, text: &str) -> Result<T, ConvertError> {
    text.parse().map_err(|source| ConvertError::Id { field, source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use espalier_proto::ids::Digest;

    fn request() -> m::SyncRequest {
        let info = m::WorkerInfo { backend: m::Backend::Cpu.into(), threads: 2, ..Default::default() };
        let failure = m::Failure {
            key: Digest::of(b"c").to_string(),
            kind: m::FailureKind::CellError.into(),
            code: "non_finite_scores".into(),
            message: "NaN".into(),
        };
        let shard = m::ShardReport {
            variant_key: Digest::of(b"v").to_string(),
            attempt: "run.demo-1-1".into(),
            phase: m::Phase::Evaluating.into(),
            failures: vec![failure],
            ..Default::default()
        };
        m::SyncRequest { worker_id: "w".into(), info: Some(info), shards: vec![shard], ..Default::default() }
    }

    #[test]
    fn a_whole_message_is_taken_as_it_is() {
        let sync = sync(request(), 7).unwrap();
        assert_eq!((sync.call, sync.facts.threads, sync.shards[0].phase), (7, 2, Phase::Evaluating));
        assert_eq!(sync.shards[0].faults[0].code.as_str(), "non_finite_scores");
    }

    #[test]
    fn what_is_not_a_word_of_the_protocol_is_refused_by_field() {
        type Spoil = fn(&mut m::SyncRequest);
        let spoils: [(Spoil, &str); 6] = [
            (|r| r.worker_id.clear(), "worker_id"),
            (|r| r.info = None, "info"),
            (|r| r.info.as_mut().unwrap().backend = 0, "info.backend"),
            (|r| r.shards[0].phase = 0, "shards.phase"),
            (|r| r.shards[0].variant_key = "x".into(), "shards.variant_key"),
            (|r| r.shards[0].failures[0].code = "bad luck".into(), "failures.code"),
        ];
        for (spoil, field) in spoils {
            let mut spoiled = request();
            spoil(&mut spoiled);
            assert!(sync(spoiled, 1).unwrap_err().to_string().contains(field), "{field}");
        }
    }
}
