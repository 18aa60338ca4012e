//! What a request costs: seconds, memory, energy.

use super::protocol::Spent;
use crate::clock;
use crate::device::{self, memory};
use std::collections::BTreeMap;
use std::time::Instant;
use tch::Device;

/// Seconds and memory of one request.
pub(super) struct Watch {
    device: Device,
    start: Instant,
    whole_device: Option<memory::DeviceWatch>,
    energy: Option<device::Energy>,
}

impl Watch {
    pub(super) fn start(device: Device) -> Self {
        memory::reset_peaks(device);
        Self {
            device,
            start: clock::now(),
            whole_device: memory::DeviceWatch::start(device),
            energy: match device {
                Device::Cuda(index) => device::Energy::start(index),
                Device::Cpu | Device::Mps | Device::Vulkan => None,
            },
        }
    }

    /// All of the time was this stage's.
    pub(super) fn stop_all(self, stage: &str) -> Spent {
        let seconds = self.start.elapsed().as_secs_f64();
        self.stop([(stage.to_owned(), seconds)].into())
    }

    pub(super) fn stop(self, seconds: BTreeMap<String, f64>) -> Spent {
        Spent {
            seconds,
            peak_alloc_mib: memory::peak_alloc_mib(self.device),
            peak_device_mib: self.whole_device.as_ref().map(memory::DeviceWatch::peak_mib),
            rss_mib: memory::rss_mib(),
            joules: self.energy.as_ref().and_then(device::Energy::joules),
        }
    }
}
