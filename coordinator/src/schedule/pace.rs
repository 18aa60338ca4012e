//! How fast cells are done.

/// How fast cells have been done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Work of cells that were done.
    cost: u128,
    /// Time that they took.
    millis: u128,
}

impl Pace {
    pub(super) fn add(&mut self, cost: u64, took: u64) {
        self.cost += u128::from(cost.max(1));
        self.millis += u128::from(took);
    }

    /// Time that so much work takes; unknown before anything was done.
    pub(super) fn time(self, cost: u64) -> Option<u64> {
        (u128::from(cost.max(1)) * self.millis).checked_div(self.cost).and_then(|time| time.try_into().ok())
    }
}
