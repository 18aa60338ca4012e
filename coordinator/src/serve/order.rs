//! The order in which the log of a sweep is written: what is decided first is written first, and what a user asks for after all that was
//! decided before. Decides nothing.

use super::epoch::Epoch;
use super::fold::Fold;
use super::log::{self, LogError};
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::Name;
use espalier_proto::sweep::LogEvent;
use futures::FutureExt;
use futures::future::{BoxFuture, MaybeDone, maybe_done};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::OwnedMutexGuard;

/// The right to write; what the log said when a decision was last written to it.
pub(super) type Turn = OwnedMutexGuard<Fold>;

/// Of one sweep.
#[derive(Default)]
struct Line {
    /// It is given in the order of asking.
    turn: Arc<tokio::sync::Mutex<Fold>>,
    /// Everything decided that is not written yet has a copy.
    decided: Arc<()>,
}

/// Of every sweep. Copies are of the same orders.
#[derive(Clone, Default)]
pub(super) struct Orders(Arc<Mutex<BTreeMap<Name, Line>>>);

impl Orders {
    /// A place in the order for what a user asks for.
    pub(super) fn asked(&self, sweep: &Name) -> Place {
        self.line(sweep, |line| Place::at_the_end_of(line, sweep, None))
    }

    /// The same for what was decided just now.
    pub(super) fn decided(&self, sweep: &Name) -> Place {
        self.line(sweep, |line| Place::at_the_end_of(line, sweep, Some(line.decided.clone())))
    }

    /// The turn, if nobody has it or waits for it.
    pub(super) fn unused(&self, sweep: &Name) -> Option<Turn> {
        self.line(sweep, |line| line.turn.clone().try_lock_owned().ok())
    }

    /// Something was decided that the log does not say yet.
    pub(super) fn is_behind(&self, sweep: &Name) -> bool {
        self.line(sweep, |line| Arc::strong_count(&line.decided) > 1)
    }

    fn line<T>(&self, sweep: &Name, with: impl FnOnce(&Line) -> T) -> T {
        let mut lines = self.0.lock().expect("nothing panics while it holds the orders of logs");
        with(lines.entry(sweep.clone()).or_default())
    }
}

/// A place in the order. Given up it is nobody's.
pub(super) struct Place {
    sweep: Name,
    turn: MaybeDone<BoxFuture<'static, Turn>>,
    decided: Option<Arc<()>>,
}

impl Place {
    fn at_the_end_of(line: &Line, sweep: &Name, decided: Option<Arc<()>>) -> Self {
        // Whatever else its task did: a lock that is asked for within limits may not yet have been asked for.
        let turn = tokio::task::unconstrained(line.turn.clone().lock_owned());
        let mut turn = maybe_done(turn.boxed());
        // Places are given at the first asking, which is now; whether the turn has come is seen later.
        let _ = (&mut turn).now_or_never();
        Self { sweep: sweep.clone(), turn, decided }
    }

    /// Waits for the turn, which lasts until it is dropped.
    pub(super) async fn turn(&mut self) -> Turn {
        (&mut self.turn).await;
        std::pin::Pin::new(&mut self.turn).take_output().expect("a place has one turn")
    }

    /// Writes what was decided when its turn has come.
    pub(super) async fn write(
        mut self,
        bucket: &Bucket,
        me: &Epoch,
        event: LogEvent,
    ) -> Result<(), LogError> {
        let mut said = self.turn().await;
        let written = log::write_after(bucket, me, &self.sweep, event, &mut said).await;
        self.decided = None;
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn turns_come_in_the_order_of_asking_whoever_waits_first_and_a_place_that_is_given_up_is_nobodys() {
        let (orders, sweep) = (Orders::default(), "s".parse::<Name>().unwrap());
        let mut first = orders.decided(&sweep);
        let (given_up, mut second, mut third) =
            (orders.decided(&sweep), orders.asked(&sweep), orders.decided(&sweep));
        assert!(orders.is_behind(&sweep) && orders.unused(&sweep).is_none());
        drop(given_up);
        let told = Mutex::new(Vec::new());
        let turn = async |place: &mut Place, n: u8| {
            let turn = place.turn().await;
            tokio::task::yield_now().await;
            told.lock().unwrap().push(n);
            drop(turn);
        };
        tokio::join!(turn(&mut third, 3), turn(&mut second, 2), turn(&mut first, 1));
        assert_eq!(*told.lock().unwrap(), [1, 2, 3]);
        assert!(orders.unused(&sweep).is_some());
        drop((first, third));
        assert!(!orders.is_behind(&sweep));
    }
}
