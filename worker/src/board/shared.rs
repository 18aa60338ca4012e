//! The board between the two tasks of a supervisor, with a bell on either side: orders ring for the execution, progress worth
//! telling rings for the session.

use super::{Board, Order};
use std::sync::Mutex;
use tokio::sync::watch;

/// The board and its bells.
#[derive(Debug)]
pub struct Shared {
    board: Mutex<Board>,
    orders: watch::Sender<u64>,
    news: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { board: Mutex::default(), orders: watch::Sender::new(0), news: watch::Sender::new(0) }
    }
}

impl Shared {
    /// The board, for a moment. No guard is given out: one in a condition would live as long as its body.
    pub fn with<T>(&self, look: impl FnOnce(&mut Board) -> T) -> T {
        look(&mut self.board.lock().expect("nothing panics while it holds the board"))
    }

    /// Changes what the coordinator wants to know at once.
    pub fn update<T>(&self, change: impl FnOnce(&mut Board) -> T) -> T {
        let result = self.with(change);
        self.tell();
        result
    }

    /// Changes how far a shard is: the coordinator wants to know at once, unless more is in hand than that.
    pub fn update_soon(&self, change: impl FnOnce(&mut Board)) {
        self.update_if(|board| {
            change(board);
            true
        });
    }

    /// The same, where it depends on what the change says.
    pub fn update_if(&self, change: impl FnOnce(&mut Board) -> bool) {
        if self.with(|board| change(board) && !board.has_more()) {
            self.tell();
        }
    }

    /// There is news for the coordinator.
    pub fn tell(&self) {
        self.news.send_modify(|n| *n += 1);
    }

    /// Takes an answer's orders.
    pub fn order(&self, orders: Vec<Order>) {
        self.with(|board| board.apply(orders));
        self.orders.send_modify(|n| *n += 1);
    }

    /// The worker leaves.
    pub fn drain(&self) {
        self.with(Board::drain);
        self.orders.send_modify(|n| *n += 1);
        self.tell();
    }

    /// A bell that rings when there is news.
    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Waits until orders make this true.
    pub async fn until(&self, mut holds: impl FnMut(&Board) -> bool) {
        let mut bell = self.orders.subscribe();
        loop {
            if self.with(|board| holds(board)) {
                return;
            }
            if bell.changed().await.is_err() {
                return;
            }
        }
    }
}
