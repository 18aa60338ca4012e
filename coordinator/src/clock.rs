//! The only reader of time: everything else is told what time it is, so that tests decide it.

use std::time::{Duration, Instant};

/// A point from which time is measured; never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts measuring.
    #[expect(clippy::disallowed_methods, reason = "this file is where time is read")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Milliseconds since the start.
    pub fn millis(&self) -> u64 {
        self.elapsed().as_millis() as u64
    }
}

/// Now, UTC, RFC 3339 to the millisecond; for people, never compared between machines.
#[expect(clippy::disallowed_methods, reason = "this file is where time is read")]
pub fn utc() -> String {
    chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Seconds from then till now; negative if then is yet to come.
#[expect(clippy::disallowed_methods, reason = "this file is where time is read")]
pub fn seconds_since(then: chrono::DateTime<chrono::Utc>) -> i64 {
    (chrono::Utc::now() - then).num_seconds()
}

/// Waits.
#[expect(clippy::disallowed_methods, reason = "this file is where time is read")]
pub async fn sleep(duration: Duration) {
    tokio::time::sleep(duration).await;
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_time_for_people_is_utc_to_the_millisecond() {
        let now = super::utc();
        assert!(now.ends_with('Z') && now.len() == "2024-01-01T00:00:00.000Z".len(), "{now}");
    }
}
