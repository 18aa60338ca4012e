//! How often a status is made: with ten thousand workers one takes milliseconds, with one worker microseconds. It may take a
//! fiftieth of the time; what somebody waits for is shown at once all the same.

use crate::clock::Stopwatch;
use std::time::Duration;

/// A status may take this part of the time.
const SHARE: u32 = 50;

/// When the next status is due.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    changed: bool,
    next: Duration,
}

impl Pace {
    /// There is something that the last status does not show.
    pub(super) fn changed(&mut self) {
        self.changed = true;
    }

    pub(super) fn is_due(&self, clock: Stopwatch) -> bool {
        self.changed && clock.elapsed() >= self.next
    }

    /// One was made, and took so long.
    pub(super) fn shown(&mut self, clock: Stopwatch, took: Duration) {
        *self = Self { changed: false, next: clock.elapsed() + took * SHARE };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_took_long_is_not_made_again_soon_and_one_without_news_never() {
        let clock = Stopwatch::start();
        let mut pace = Pace::default();
        assert!(!pace.is_due(clock));
        pace.changed();
        assert!(pace.is_due(clock));
        pace.shown(clock, Duration::from_secs(10));
        pace.changed();
        assert!(!pace.is_due(clock));
    }
}
