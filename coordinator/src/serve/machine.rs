//! What this machine offers to a local run: GPUs, cores, memory. Decides how many workers are started and on what.

use espalier_proto::recipe::{Backend, Dtype};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// `--devices`: on what a local run works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Devices {
    /// All GPUs where the sweep asks for cuda, else as many CPU workers as cores and memory allow.
    #[default]
    All,
    /// So many CPU workers.
    Cpu(usize),
    /// These GPUs.
    Cuda(Vec<u32>),
}

/// `--devices` is not written as it should be.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("--devices {value:?}: expected all, cpu:WORKERS or cuda:INDEX,INDEX,…")]
pub struct DevicesError {
    /// As given.
    pub value: String,
}

impl std::str::FromStr for Devices {
    type Err = DevicesError;

    fn from_str(text: &str) -> Result<Self, DevicesError> {
        let error = || DevicesError { value: text.to_owned() };
        match text.split_once(':') {
            None if matches!(text, "all" | "auto" | "cpu" | "cuda") => Ok(Self::All),
            Some(("cpu", n)) => n.parse().ok().filter(|n| *n > 0).map(Self::Cpu).ok_or_else(error),
            Some(("cuda", list)) => {
                let indices: Result<Vec<u32>, _> = list.split(',').map(str::parse).collect();
                indices.map(Self::Cuda).map_err(|_| error())
            }
            _ => Err(error()),
        }
    }
}

/// What the workers of a run must be and how much there is to do.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Kind of device.
    pub backend: Backend,
    /// Threads of one CPU worker.
    pub threads: u32,
    /// Bytes that one worker is predicted to take.
    pub worker_bytes: u64,
    /// More workers than this would find nothing to do.
    pub useful: usize,
}

/// The devices of the workers to start: `cpu` or `cuda:N`, one a worker. Empty where the sweep asks for GPUs and there are none.
pub fn worker_devices(devices: &Devices, demand: Demand, worker: &Path) -> Vec<String> {
    match (demand.backend, devices) {
        (Backend::Cuda, Devices::Cuda(indices)) => indices.iter().map(|i| format!("cuda:{i}")).collect(),
        (Backend::Cuda, _) => {
            (0..gpus(worker)).take(demand.useful.max(1)).map(|i| format!("cuda:{i}")).collect()
        }
        (Backend::Cpu, Devices::Cpu(n)) => vec!["cpu".to_owned(); *n],
        (Backend::Cpu, _) => {
            let cores = std::thread::available_parallelism().map_or(1, usize::from);
            vec!["cpu".to_owned(); cpu_workers(demand, cores, available_memory())]
        }
    }
}

/// As many workers as cores, memory and work allow, at least one.
fn cpu_workers(demand: Demand, cores: usize, memory: Option<u64>) -> usize {
    let by_cores = cores / demand.threads.max(1) as usize;
    let by_memory = memory.map_or(usize::MAX, |m| (m / demand.worker_bytes.max(1)) as usize);
    by_cores.min(by_memory).min(demand.useful).max(1)
}

/// What `backend: auto` is on this machine.
pub fn backend(worker: &Path) -> Backend {
    if gpus(worker) > 0 { Backend::Cuda } else { Backend::Cpu }
}

/// GPUs that the worker binary sees; it is the one that has to use them. Asked once, and only where there may be one: starting it takes
/// a second.
fn gpus(worker: &Path) -> usize {
    static SEEN: OnceLock<usize> = OnceLock::new();
    *SEEN.get_or_init(|| seen_by(worker))
}

/// What a driver of NVIDIA's makes on Linux, and what leads to one under Windows. Without it there is no GPU to ask for.
const DRIVER: [&str; 2] = ["/dev/nvidiactl", "/dev/dxg"];

fn seen_by(worker: &Path) -> usize {
    if !DRIVER.iter().any(|path| Path::new(path).exists()) {
        return 0;
    }
    let asked = Command::new(worker).args(["doctor", "--device", "cpu", "--output", "json"]).output();
    let Ok(output) = asked else { return 0 };
    let about: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    about["gpus"].as_array().map_or(0, Vec::len)
}

/// What a speed is measured for.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Kind of device.
    pub backend: Backend,
    /// Threads of one CPU worker.
    pub threads: Option<u32>,
    /// Number format.
    pub dtype: Dtype,
    /// Width of the model.
    pub width: usize,
}

/// GFLOP/s of the device that one worker would have, as the worker binary measures it in a moment; or why it cannot.
pub fn speed(worker: &Path, devices: &Devices, measured: Measured) -> Result<f64, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if let Some(threads) = measured.threads.filter(|n| *n as usize > cores) {
        return Err(format!("{threads} threads are more than this machine's {cores} cores"));
    }
    let device = match (measured.backend, devices) {
        (Backend::Cpu, _) => "cpu".to_owned(),
        (Backend::Cuda, Devices::Cuda(indices)) => format!("cuda:{}", indices.first().unwrap_or(&0)),
        (Backend::Cuda, _) => "cuda:0".to_owned(),
    };
    let mut command = Command::new(worker);
    command.args(["doctor", "--output", "json", "--device", &device, "--speed", measured.dtype.as_str()]);
    command.args(["--width", &measured.width.max(1).to_string()]);
    if let Some(threads) = measured.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    let worker = worker.display();
    let said = command.output().map_err(|error| format!("{worker} cannot be started: {error}"))?;
    let about: serde_json::Value = serde_json::from_slice(&said.stdout).unwrap_or_default();
    let stderr = String::from_utf8_lossy(&said.stderr);
    let first = stderr.lines().next().unwrap_or("it said nothing");
    about["gflops"]
        .as_f64()
        .filter(|speed| speed.is_finite() && *speed > 0.0)
        .ok_or_else(|| format!("{worker} measured no speed ({}): {first}", said.status))
}

/// GiB that each of so many CPU workers may use: its share of four fifths of the machine, or of this process's control group.
/// `None` where the machine does not tell.
pub fn memory_share_gib(workers: usize) -> Option<f64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find(|l| l.starts_with("MemTotal:"))?;
    let host = line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024;
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|t| t.trim().parse().ok());
    let share = group.unwrap_or(u64::MAX).min(host) / 5 * 4 / workers.max(1) as u64;
    Some(share as f64 / f64::from(1 << 30))
}

/// Bytes that can still be used, by the kernel's own account and by this process's control group.
fn available_memory() -> Option<u64> {
    let meminfo = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = meminfo.lines().find(|l| l.starts_with("MemAvailable:"))?;
    let host = line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024;
    let read = |name: &str| {
        std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse::<u64>().ok()
    };
    let group = read("memory.max").map(|max| max.saturating_sub(read("memory.current").unwrap_or(0)));
    Some(group.map_or(host, |g| g.min(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demand(threads: u32, useful: usize) -> Demand {
        Demand { backend: Backend::Cpu, threads, worker_bytes: 2 << 30, useful }
    }

    #[test]
    fn cpu_workers_are_limited_by_cores_memory_and_work_and_are_at_least_one() {
        let gib = |n: u64| Some(n << 30);
        assert_eq!(cpu_workers(demand(2, 100), 16, gib(100)), 8);
        assert_eq!(cpu_workers(demand(2, 100), 16, gib(4)), 2);
        assert_eq!(cpu_workers(demand(2, 3), 16, gib(100)), 3);
        assert_eq!(cpu_workers(demand(8, 3), 2, gib(0)), 1);
    }

    #[test]
    fn cpu_workers_share_the_machines_memory() {
        let (one, four) = (memory_share_gib(1).unwrap(), memory_share_gib(4).unwrap());
        assert!(one > 0.0 && (one / 4.0 - four).abs() < 1e-6, "{one} {four}");
    }

    #[test]
    fn devices_are_read_as_documented() {
        assert_eq!("cuda:0,2".parse(), Ok(Devices::Cuda(vec![0, 2])));
        assert_eq!("cpu:3".parse(), Ok(Devices::Cpu(3)));
        assert!("cpu:0".parse::<Devices>().is_err() && "tpu".parse::<Devices>().is_err());
    }
}
