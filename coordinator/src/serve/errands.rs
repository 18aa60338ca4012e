//! What a driver has under way at its bucket, and what of that failed last. Decides nothing, and delays nothing but an end.
//!
//! In: writes, reads, and looks, of which one at a time shows whether the bucket answers. Out: a line for each kind of trouble, and since
//! when the bucket has not answered.

use crate::clock::{self, Stopwatch};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::{JoinError, JoinSet};

/// A bucket that has not answered for so long is told as silent: the slowest answers of a well one take a few seconds.
const SILENT: Duration = Duration::from_secs(20);

/// What is done. Of each kind the last trouble is kept: its text holds times and counts, which differ each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A later epoch is looked for.
    Epoch,
    /// Lost records are looked for.
    Records,
    /// The record of a failure is written.
    Failure,
    /// The log of a sweep is written.
    Log,
    /// What panicked.
    Bug,
}

/// What came of it: what went wrong, if anything did.
type Done = (Kind, Option<String>);

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Errands {
    writes: JoinSet<Done>,
    reads: JoinSet<Done>,
    /// One at a time: each is tried again for minutes by itself.
    look: JoinSet<Done>,
    /// When the look that is under way was begun.
    looked: Option<Stopwatch>,
    /// The first look since the bucket last answered was begun then.
    unanswered: Option<Stopwatch>,
    /// The log has told that it does not answer.
    told: bool,
    failed: BTreeMap<Kind, String>,
}

impl Errands {
    /// Begins something that must be finished before the end; it gives what went wrong.
    pub(super) fn write(&mut self, kind: Kind, work: impl Future<Output = Option<String>> + Send + 'static) {
        self.writes.spawn(async move { (kind, work.await) });
    }

    /// Begins something that nobody misses after the end.
    pub(super) fn read(&mut self, kind: Kind, work: impl Future<Output = Option<String>> + Send + 'static) {
        self.reads.spawn(async move { (kind, work.await) });
    }

    /// Begins a look, unless the last one is still under way.
    pub(super) fn look(&mut self, kind: Kind, work: impl Future<Output = Option<String>> + Send + 'static) {
        if self.look.is_empty() {
            self.looked = Some(Stopwatch::start());
            self.unanswered = self.unanswered.or(self.looked);
            self.look.spawn(async move { (kind, work.await) });
        }
    }

    /// Waits until something has come back; true if that changes what is to be shown. Given up it loses nothing.
    pub(super) async fn next(&mut self) -> bool {
        let done = tokio::select! {
            Some(done) = self.writes.join_next() => done,
            Some(done) = self.reads.join_next() => done,
            Some(done) = self.look.join_next() => {
                // A refusal is an answer too.
                if self.looked.is_none_or(|began| began.elapsed() < SILENT) {
                    self.unanswered = None;
                }
                done
            }
            else => std::future::pending().await,
        };
        self.note(done)
    }

    /// Time has passed; true if the bucket has become silent by it.
    pub(super) fn tick(&mut self) -> bool {
        let news = !self.told && self.silent().is_some();
        if news {
            self.told = true;
            tracing::warn!("the bucket has not answered for {} s; what needs it waits", SILENT.as_secs());
        }
        news
    }

    /// Waits for what is being written, so long at most; gives how much of it is left. Nothing else is waited for.
    pub(super) async fn finish(&mut self, patience: Duration) -> usize {
        let all = async {
            while let Some(done) = self.writes.join_next().await {
                self.note(done);
            }
        };
        tokio::select! {
            () = all => {}
            () = clock::sleep(patience) => {}
        }
        self.writes.len()
    }

    /// What went wrong since the bucket last did as it was asked, a line a kind; the log has all of it.
    pub(super) fn failed(&self) -> impl Iterator<Item = &String> {
        self.failed.values()
    }

    /// Since when the bucket has not answered, where that is long.
    pub(super) fn silent(&self) -> Option<Stopwatch> {
        self.unanswered.filter(|since| since.elapsed() >= SILENT)
    }

    fn note(&mut self, done: Result<Done, JoinError>) -> bool {
        let (kind, trouble) = match done {
            Ok((_, None)) => {
                let news = self.told || !self.failed.is_empty();
                if self.told {
                    tracing::warn!("the bucket answers again");
                }
                (self.told, self.unanswered) = (false, None);
                self.failed.clear();
                return news;
            }
            Ok((kind, Some(trouble))) => (kind, trouble),
            Err(error) => (Kind::Bug, error.to_string()),
        };
        tracing::error!(%trouble, "bucket");
        self.failed.insert(kind, trouble);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fails(n: u32) -> Option<String> {
        Some(format!("no answer after {n} retries"))
    }

    #[tokio::test]
    async fn of_each_kind_the_last_trouble_is_told_until_the_bucket_does_as_it_is_asked() {
        let mut errands = Errands::default();
        for n in 0..3 {
            errands.write(Kind::Log, fails(n));
            errands.write(Kind::Failure, fails(n));
            assert!(errands.next().await && errands.next().await);
        }
        let told: Vec<_> = errands.failed().cloned().collect();
        assert_eq!(told, ["no answer after 2 retries"; 2]);
        errands.read(Kind::Records, async { None });
        assert!(errands.next().await);
        assert_eq!(errands.failed().count(), 0);
    }

    #[tokio::test]
    async fn one_look_at_a_time_and_a_refusal_is_no_silence() {
        let mut errands = Errands::default();
        errands.look(Kind::Epoch, std::future::pending());
        errands.look(Kind::Epoch, std::future::pending());
        assert_eq!(errands.look.len(), 1);
        let mut errands = Errands::default();
        errands.look(Kind::Epoch, fails(0));
        assert!(errands.next().await && errands.unanswered.is_none());
    }

    #[tokio::test]
    async fn writes_that_hang_are_waited_for_as_long_as_is_said_and_counted() {
        let mut errands = Errands::default();
        errands.write(Kind::Log, async { None });
        errands.write(Kind::Log, std::future::pending());
        errands.read(Kind::Records, std::future::pending());
        let began = Stopwatch::start();
        assert_eq!(errands.finish(Duration::from_secs(1)).await, 1);
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    }
}
