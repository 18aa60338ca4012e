//! How far a fetch is, with an estimate from the bytes that have come since it began.

use crate::clock::Stopwatch;
use std::time::Duration;

/// How far a fetch is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The file: `org/name: model.safetensors`.
    pub what: String,
    /// Bytes that are here.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
    /// Time to go.
    pub left: Option<Duration>,
}

impl Progress {
    /// The share that is here, in twentieths: what a plain log tells.
    pub fn twentieth(&self) -> u64 {
        (self.done * 20).checked_div(self.total).unwrap_or(20)
    }
}

/// Before this nothing is known of the speed.
const FIRST_ESTIMATE: Duration = Duration::from_secs(3);

/// Counts bytes of all files of a fetch.
pub struct Meter {
    watch: Stopwatch,
    /// Bytes of files before the present one.
    before: u64,
    /// Bytes that were here when the present file began, and those of files before it.
    found: u64,
    at: u64,
    total: u64,
    what: String,
}

impl Meter {
    /// Nothing of `total` bytes is here.
    pub fn new(total: u64) -> Self {
        Self { watch: Stopwatch::start(), before: 0, found: 0, at: 0, total, what: String::new() }
    }

    /// The next file.
    pub fn begin(&mut self, what: String) {
        self.what = what;
        self.at = 0;
    }

    /// `at` bytes of the present file were here before.
    pub fn resumed(&mut self, at: u64) {
        self.found += at.saturating_sub(self.at);
        self.at = at;
    }

    /// `at` bytes of the present file are here now.
    pub fn at(&mut self, at: u64) {
        self.at = at;
    }

    /// The present file, of `size` bytes, is here.
    pub fn end(&mut self, size: u64) {
        // What another process has fetched came without work of ours.
        self.found += size.saturating_sub(self.at);
        self.before += size;
        self.at = 0;
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let done = self.before + self.at;
        Progress { what: self.what.clone(), done, total: self.total, left: self.left(done) }
    }

    fn left(&self, done: u64) -> Option<Duration> {
        let (spent, came) = (self.watch.elapsed(), done.saturating_sub(self.found));
        if spent < FIRST_ESTIMATE || came == 0 {
            return None;
        }
        let speed = came as f64 / spent.as_secs_f64();
        Duration::try_from_secs_f64(self.total.saturating_sub(done) as f64 / speed).ok()
    }
}
