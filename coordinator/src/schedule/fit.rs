//! Which workers can run what.

use super::event::{Needs, WorkerFacts};
use espalier_proto::recipe::Backend;

/// Node faults in a row after which a worker is given nothing more.
pub(super) const NODE_FAULTS: u32 = 3;

/// Why a worker cannot run a variant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum Misfit {
    #[error("its device is {found}, the sweep asks for {wanted}", found = found.as_str(), wanted = wanted.as_str())]
    Backend { found: Backend, wanted: Backend },
    #[error("it computes with {found} threads, the sweep asks for {wanted}")]
    Threads { found: u32, wanted: u32 },
    #[error("its device kind is {found}, the sweep asks for {wanted}")]
    DeviceKind { found: String, wanted: String },
    #[error("it has {found} bytes of memory for shards, the variant needs {wanted}")]
    Memory { found: u64, wanted: u64 },
    #[error("its stage {stage} is of version {found:?}, the keys were made with {wanted}")]
    Stage { stage: String, found: Option<u32>, wanted: u32 },
    #[error("its node failed {faults} times in a row")]
    Faulty { faults: u32 },
}

impl WorkerFacts {
    /// They fit the same shards.
    pub(super) fn same_kind(&self, other: &Self) -> bool {
        self.backend == other.backend
            && self.memory == other.memory
            && self.threads == other.threads
            && self.fingerprint == other.fingerprint
            && self.stages == other.stages
    }
}

/// Why a device of this kind cannot run what needs this.
pub(super) fn misfit(facts: &WorkerFacts, needs: &Needs) -> Option<Misfit> {
    if facts.backend != needs.backend {
        return Some(Misfit::Backend { found: facts.backend, wanted: needs.backend });
    }
    if let Some(wanted) = needs.threads.filter(|t| *t != facts.threads) {
        return Some(Misfit::Threads { found: facts.threads, wanted });
    }
    if let Some(wanted) = needs.device_kind.as_ref().filter(|k| **k != facts.fingerprint) {
        return Some(Misfit::DeviceKind { found: facts.fingerprint.clone(), wanted: wanted.clone() });
    }
    if needs.memory > facts.memory {
        return Some(Misfit::Memory { found: facts.memory, wanted: needs.memory });
    }
    needs.stages.iter().find(|(stage, version)| facts.stages.get(*stage) != Some(version)).map(
        |(stage, version)| Misfit::Stage {
            stage: stage.clone(),
            found: facts.stages.get(stage).copied(),
            wanted: *version,
        },
    )
}
