//! FLOPs → time. The speed is stated (`--gflops`), else measured on records of this sweep in the bucket, else on this device
//! in a moment (the worker's doctor). Without any there is no time, because a guess would look like knowledge.

use std::fmt;

/// How fast one worker is, FLOPs a second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Speed {
    /// While pruning.
    pub prune: f64,
    /// While evaluating.
    pub evaluate: f64,
    /// From where it is known.
    pub source: Source,
}

/// From where a speed is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The user said it.
    Stated,
    /// So many records of this sweep.
    Measured(usize),
    /// A short measurement of this machine's device.
    Short,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stated => write!(f, "the speed that --gflops states"),
            Self::Short => write!(f, "a short measurement of this machine's device"),
            Self::Measured(1) => write!(f, "1 finished cell of this sweep"),
            Self::Measured(n) => write!(f, "{n} finished cells of this sweep"),
        }
    }
}

/// FLOPs done and seconds taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// FLOPs.
    pub flops: f64,
    /// Seconds.
    pub seconds: f64,
}

impl Done {
    /// Adds one finished piece of work.
    pub fn add(&mut self, flops: f64, seconds: f64) {
        self.flops += flops;
        self.seconds += seconds;
    }

    fn rate(&self) -> Option<f64> {
        (self.flops > 0.0 && self.seconds > 0.0).then(|| self.flops / self.seconds)
    }
}

impl Speed {
    /// A stated speed.
    pub fn stated(gflops: f64) -> Self {
        Self { prune: gflops * 1e9, evaluate: gflops * 1e9, source: Source::Stated }
    }

    /// One measured shortly: a guide to the first run's length, not more.
    pub fn short(gflops: f64) -> Self {
        Self { source: Source::Short, ..Self::stated(gflops) }
    }

    /// A measured one; pruning takes evaluation's speed where none was measured. `None` where nothing was.
    pub fn measured(pruned: &Done, evaluated: &Done, cells: usize) -> Option<Self> {
        let evaluate = evaluated.rate()?;
        Some(Self { prune: pruned.rate().unwrap_or(evaluate), evaluate, source: Source::Measured(cells) })
    }

    /// Seconds of this much work on one worker.
    pub fn seconds(&self, prune_flops: f64, evaluate_flops: f64) -> f64 {
        prune_flops / self.prune + evaluate_flops / self.evaluate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_measured_gives_no_speed_and_a_measured_one_gives_time_back() {
        assert_eq!(Speed::measured(&Done::default(), &Done::default(), 0), None);
        let mut evaluated = Done::default();
        evaluated.add(6e9, 2.0);
        evaluated.add(3e9, 1.0);
        let speed = Speed::measured(&Done::default(), &evaluated, 2).unwrap();
        assert_eq!(speed.seconds(3e9, 6e9), 3.0);
    }

    #[test]
    fn a_short_measurement_is_marked_as_one() {
        let speed = Speed::short(2.0);
        assert_eq!(speed.seconds(3e9, 1e9), 2.0);
        assert_eq!(speed.source.to_string(), "a short measurement of this machine's device");
    }
}
