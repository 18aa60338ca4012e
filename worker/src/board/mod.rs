//! What a worker holds, between the session that hears of it and the execution that does it.
//!
//! * [`Board`], [`Order`], [`Failed`]: the bookkeeping, pure. * [`Shared`]: the board with a bell on either side.

mod order;
mod shards;
mod shared;
#[cfg(test)]
mod tests;

pub use order::{Failed, Order, OrderError};
pub use shards::Board;
pub use shared::Shared;
