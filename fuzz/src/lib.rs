//! Everything that reads bytes of others, as plain functions of bytes: libFuzzer calls them (`make fuzz`), and so does an
//! ordinary test over the inputs that are kept (`tests/replay.rs`). A target panics where a claim about the reader is broken.
//!
//! Claims that hold of all: no panic, no more memory than [`memory::MOST`] at once whatever a header says, no endless loop.

pub mod memory;
pub mod targets;
pub mod words;

pub use targets::{TARGETS, Target};

/// Runs one input under the bound on memory.
pub fn run(target: &Target, bytes: &[u8]) {
    memory::bounded(|| (target.run)(bytes));
}
