//! Faults that tests ask for with `ESPALIER_TEST_FAULTS`, so that what must survive them is tried with real processes. None
//! unless asked for; with any, the child says so aloud.
//!
//! A list with commas: `slow=MS` sleeps after every step, `slow-prune=MS` after every block that is pruned, `oom-above=N` runs out of memory where more than N micro-batches go through
//! the blocks together, `kind=NAME` gives the bits and the fingerprint of another kind of device, `die=METHOD` ends the process where
//! that method is to prune.

use espalier_proto::inputs::Windows;
use espalier_proto::records::Outcome;
use std::str::FromStr;
use std::time::Duration;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    slow: Option<Duration>,
    slow_prune: Option<Duration>,
    oom_above: Option<usize>,
    kind: Option<String>,
    die: Option<String>,
}

/// A fault that is none.
#[derive(Debug, thiserror::Error)]
#[error("fault {word:?}, expected slow=MS, slow-prune=MS, oom-above=N, kind=NAME or die=METHOD")]
pub struct FaultsError {
    word: String,
}

impl FromStr for Faults {
    type Err = FaultsError;

    fn from_str(text: &str) -> Result<Self, FaultsError> {
        let mut faults = Self::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            let bad = || FaultsError { word: word.to_owned() };
            let (name, value) = word.split_once('=').ok_or_else(bad)?;
            let millis = || value.parse().map(|ms| Some(Duration::from_millis(ms))).map_err(|_| bad());
            match name {
                "slow" => faults.slow = millis()?,
                "slow-prune" => faults.slow_prune = millis()?,
                "oom-above" => faults.oom_above = Some(value.parse().map_err(|_| bad())?),
                "kind" => faults.kind = Some(value.to_owned()),
                "die" => faults.die = Some(value.to_owned()),
                _ => return Err(bad()),
            }
        }
        Ok(faults)
    }
}

impl Faults {
    /// A step is done.
    pub(super) fn step(&self) {
        self.slow.into_iter().for_each(std::thread::sleep);
    }

    /// A block is pruned.
    pub(super) fn block(&self) {
        self.slow_prune.or(self.slow).into_iter().for_each(std::thread::sleep);
    }

    /// So many micro-batches are to go through the blocks together.
    ///
    /// # Panics
    /// If that is too many: as libtorch does where memory does not suffice.
    pub(super) fn wave(&self, batches: usize) {
        if let Some(most) = self.oom_above.filter(|most| batches > *most) {
            panic!("Torch(\"CUDA out of memory: {batches} micro-batches, a test allows {most}\")");
        }
    }

    /// This method is to prune.
    pub(super) fn prune(&self, method: &str) {
        if self.die.as_deref() == Some(method) {
            // SAFETY: ends this process.
            unsafe { libc::raise(libc::SIGKILL) };
        }
    }

    /// Of a device of this fingerprint.
    pub(super) fn fingerprint(&self, found: String) -> String {
        match &self.kind {
            None => found,
            Some(kind) => format!("{found}-{kind}"),
        }
    }

    /// Another device's activations differ, and so do its masks: here because the first window runs backwards.
    pub(super) fn calibration(&self, windows: &mut Windows) {
        if let (Some(_), Some(first)) = (&self.kind, windows.windows.first_mut()) {
            first.reverse();
        }
    }

    /// Another device's likelihoods differ in their last bit.
    pub(super) fn outcome(&self, outcome: &mut Outcome) {
        if let (Some(_), Outcome::Perplexity { window_nll, .. }) = (&self.kind, outcome) {
            window_nll.iter_mut().for_each(|nll| *nll = f64::from_bits(nll.to_bits() + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_fails_unless_a_test_asks_for_it() {
        let none: Faults = "".parse().unwrap();
        assert_eq!(none, Faults::default());
        assert_eq!(none.fingerprint("f".to_owned()), "f");
        none.wave(usize::MAX);
        none.prune("wanda");
        let some: Faults = "slow=1,oom-above=4,kind=b".parse().unwrap();
        assert_ne!(some.fingerprint("f".to_owned()), "f");
        assert!(std::panic::catch_unwind(|| some.wave(5)).is_err());
        some.wave(4);
        assert!("fast=1".parse::<Faults>().is_err() && "slow".parse::<Faults>().is_err());
    }
}
