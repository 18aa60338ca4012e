//! Chooses, prepares and names what computes; measures its memory; fingerprints its bits.
//!
//! * [`open`]: `cpu` or `cuda:N` → a device whose threads and number formats are pinned.
//! * [`describe`]: name and memory for people and for plans.
//! * [`memory`]: the allocator's peak, the process's peak.
//! * [`fingerprint`]: a digest of the device's own bits.
//! * [`gflops`]: a short measurement of its speed.

mod cpu;
mod fingerprint;
pub mod memory;
mod native;
mod nvidia;
mod nvrtc;
mod open;
mod speed;
#[cfg(test)]
mod tests;

pub use fingerprint::fingerprint;
pub use nvidia::{DRIVER_NEEDED, Energy, driver_is_there, driver_version, gpu_count};
pub use open::{Description, describe, open, set_tf32};
pub use speed::gflops;
