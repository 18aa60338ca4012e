//! Peaks of memory: the allocator's on a GPU, the whole GPU's, and the process's. MiB throughout.

use super::native::{self, Bytes};
use super::{cpu, nvidia};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tch::Device;

const MIB: f64 = 1024.0 * 1024.0;

/// Starts new peaks of the allocator and of the process.
pub fn reset_peaks(device: Device) {
    cpu::reset_peak_rss();
    if let Device::Cuda(index) = device {
        native::cuda_reset_peak(index);
    }
}

/// The most that the allocator had given out since the reset; `None` on CPU.
pub fn peak_alloc_mib(device: Device) -> Option<f64> {
    of_gpu(device, Bytes::AllocatedPeak)
}

/// The most that the allocator had taken from the device since the reset; `None` on CPU.
pub fn peak_reserved_mib(device: Device) -> Option<f64> {
    of_gpu(device, Bytes::ReservedPeak)
}

/// What the allocator has given out now; `None` on CPU.
pub fn allocated_mib(device: Device) -> Option<f64> {
    of_gpu(device, Bytes::Allocated)
}

/// The process's peak resident set since the reset.
pub fn rss_mib() -> f64 {
    cpu::peak_rss_mib()
}

/// Gives unused memory back: after an out-of-memory error, and before another model.
pub fn empty_cache(device: Device) {
    if device.is_cuda() {
        native::cuda_empty_cache();
    }
}

fn of_gpu(device: Device, what: Bytes) -> Option<f64> {
    match device {
        Device::Cuda(index) => native::cuda_bytes(index, what).map(|bytes| bytes as f64 / MIB),
        Device::Cpu | Device::Mps | Device::Vulkan => None,
    }
}

/// Watches how much of a whole GPU is in use, all processes together.
#[derive(Debug)]
pub struct DeviceWatch {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl DeviceWatch {
    /// How often the driver is asked.
    const EVERY: Duration = Duration::from_millis(100);

    /// `None` on CPU and where the driver does not tell.
    pub fn start(device: Device) -> Option<Self> {
        let Device::Cuda(index) = device else { return None };
        let most = Arc::new(AtomicU64::new(nvidia::used_bytes(index)?));
        let stop = Arc::new(AtomicBool::new(false));
        let (most_there, stop_there) = (Arc::clone(&most), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stop_there.load(Ordering::Relaxed) {
                if let Some(used) = nvidia::used_bytes(index) {
                    most_there.fetch_max(used, Ordering::Relaxed);
                }
                std::thread::park_timeout(Self::EVERY);
            }
        });
        Some(Self { stop, most, thread: Some(thread) })
    }

    /// The most seen, MiB.
    pub fn peak_mib(&self) -> f64 {
        self.most.load(Ordering::Relaxed) as f64 / MIB
    }
}

impl Drop for DeviceWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}
