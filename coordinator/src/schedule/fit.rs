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
    #[error("{}", memory(*found, *wanted))]
    Memory { found: u64, wanted: u64 },
    #[error("its stage {stage} is of version {found:?}, the keys were made with {wanted}")]
    Stage { stage: String, found: Option<u32>, wanted: u32 },
    #[error("its node failed {faults} times in a row")]
    Faulty { faults: u32 },
    #[error("it takes nothing new: it leaves, has only just joined, or does not reach its bucket")]
    Leaves,
    #[error("it was not heard of for {seconds} s")]
    Silent { seconds: u64 },
}

/// As the worker's `--memory-gib` has it, with as many digits as tell the two apart.
fn memory(found: u64, wanted: u64) -> String {
    let gib = |bytes: u64, digits: usize| format!("{:.digits$}", bytes as f64 / f64::from(1 << 30));
    let digits =
        (2..9).find(|n| gib(found, *n) != gib(wanted, *n) && gib(found, *n) != gib(0, *n)).unwrap_or(9);
    let (found, wanted) = (gib(found, digits), gib(wanted, digits));
    format!("it has {found} GiB of memory for shards, the variant needs {wanted} GiB")
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

#[cfg(test)]
mod tests {
    use super::Misfit;

    #[test]
    fn memory_is_told_in_gib_with_digits_enough_to_tell_two_apart() {
        let told = |found, wanted| Misfit::Memory { found, wanted }.to_string();
        let [small, large] = [told(1 << 20, 271 << 20), told(8 << 30, (8 << 30) + (1 << 20))];
        assert_eq!(small, "it has 0.001 GiB of memory for shards, the variant needs 0.265 GiB");
        assert_eq!(large, "it has 8.000 GiB of memory for shards, the variant needs 8.001 GiB");
        assert!(told(4 << 30, 10 << 30).contains("4.00 GiB"));
    }
}
