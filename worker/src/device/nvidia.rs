//! What NVIDIA's driver tells of a GPU, without touching CUDA: name, memory, energy.

use nvml_wrapper::Nvml;
use std::path::Path;
use std::sync::OnceLock;

/// An NVIDIA driver is loaded.
pub fn driver_is_there() -> bool {
    Path::new("/proc/driver/nvidia/version").exists()
        || Path::new("/dev/nvidiactl").exists()
        || nvml().is_some()
}

/// The oldest driver that CUDA 13, which libtorch is built with, runs on.
pub const DRIVER_NEEDED: u32 = 580;

/// Version of the NVIDIA driver that is loaded; `None` where there is none, or none that tells.
pub fn driver_version() -> Option<String> {
    nvml()?.sys_driver_version().ok()
}

/// GPUs that this process may use, by the driver and CUDA_VISIBLE_DEVICES.
pub fn gpu_count() -> usize {
    match visible() {
        Some(names) => names.len(),
        None => nvml().and_then(|n| n.device_count().ok()).unwrap_or(0) as usize,
    }
}

/// What is known of a GPU.
#[derive(Clone, Debug)]
pub(super) struct Gpu {
    pub(super) name: String,
    pub(super) memory_bytes: u64,
    /// CUDA cores: streaming multiprocessors times a constant of the architecture.
    pub(super) cores: u32,
    pub(super) capability: String,
    pub(super) driver: String,
}

/// GPU `index`, counted as CUDA counts.
pub(super) fn gpu(index: usize) -> Option<Gpu> {
    let device = device(index)?;
    let capability = device.cuda_compute_capability().ok()?;
    Some(Gpu {
        name: device.name().ok()?,
        memory_bytes: device.memory_info().ok()?.total,
        cores: device.num_cores().unwrap_or(0),
        capability: format!("{}.{}", capability.major, capability.minor),
        driver: nvml()?.sys_driver_version().ok()?,
    })
}

/// Memory of GPU `index` in use by all processes, bytes.
pub(super) fn used_bytes(index: usize) -> Option<u64> {
    Some(device(index)?.memory_info().ok()?.used)
}

/// Energy that a GPU has used since this was made.
#[derive(Debug)]
pub struct Energy {
    index: usize,
    start_mj: u64,
}

impl Energy {
    /// `None` where the GPU does not tell.
    pub fn start(index: usize) -> Option<Self> {
        Some(Self { index, start_mj: device(index)?.total_energy_consumption().ok()? })
    }

    /// Joules since the start.
    pub fn joules(&self) -> Option<f64> {
        let now_mj = device(self.index)?.total_energy_consumption().ok()?;
        Some(now_mj.saturating_sub(self.start_mj) as f64 / 1000.0)
    }
}

fn nvml() -> Option<&'static Nvml> {
    static NVML: OnceLock<Option<Nvml>> = OnceLock::new();
    NVML.get_or_init(|| Nvml::init().ok()).as_ref()
}

/// CUDA counts the devices that CUDA_VISIBLE_DEVICES lists, NVML all of them.
fn device(index: usize) -> Option<nvml_wrapper::Device<'static>> {
    let nvml = nvml()?;
    match visible() {
        None => nvml.device_by_index(index as u32).ok(),
        Some(names) => {
            let name = names.get(index)?;
            match name.parse() {
                Ok(number) => nvml.device_by_index(number).ok(),
                Err(_) => nvml.device_by_uuid(name.as_str()).ok(),
            }
        }
    }
}

fn visible() -> Option<Vec<String>> {
    let list = std::env::var("CUDA_VISIBLE_DEVICES").ok()?;
    Some(list.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect())
}
