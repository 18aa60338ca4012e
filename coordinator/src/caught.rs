//! Crates that read what others made and panic at some of it, where they should refuse it: a panic becomes a refusal.
//!
//! Only for calls into such a crate that leave nothing half done. Our own readers do not panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Most characters of a panic's message.
const LONGEST: usize = 300;

/// What `work` gives, or the message that it panicked with.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked");
        text.chars().take(LONGEST).collect()
    })
}
