//! Opens `cpu` or `cuda:N`: pins threads and number formats, and brings CUDA's part of libtorch in where it is wanted.
//!
//! libtorch_cuda.so is opened at run time, so that one binary serves both. Nothing may ask libtorch for CUDA before that: it
//! remembers the first answer.

use super::{cpu, native, nvidia, nvrtc};
use crate::error::EngineError;
use espalier_proto::recipe::Backend;
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use tch::Device;

/// A device for people and for plans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its kind.
    pub backend: Backend,
    /// Its name.
    pub name: String,
    /// Its memory, bytes.
    pub memory_bytes: u64,
}

/// Opens a device. `threads`: of the whole process, pinned by the first call. `cuda_library`: libtorch_cuda.so; where
/// `None` it is looked for beside libtorch_cpu.so.
pub fn open(name: &str, threads: u32, cuda_library: Option<&Path>) -> Result<Device, EngineError> {
    let refuse = |why: String| EngineError::NoDevice { device: name.to_owned(), why };
    pin_threads(threads).map_err(refuse)?;
    if name == "cpu" {
        return Ok(Device::Cpu);
    }
    let index = match name.strip_prefix("cuda") {
        Some("") => Some(0),
        Some(rest) => rest.strip_prefix(':').and_then(|n| n.parse().ok()),
        None => None,
    };
    let index: usize = index.ok_or_else(|| refuse("expected cpu or cuda:N".to_owned()))?;
    open_cuda(cuda_library).map_err(refuse)?;
    if !tch::Cuda::is_available() {
        // The kernel's part is seen in every container of the host, the libraries only where a GPU was given.
        let driver = nvidia::driver_version().map_or_else(
            || {
                "there is one, but its libraries are not here: a container has them when it is given a GPU"
                    .to_owned()
            },
            |version| format!("the driver is {version}"),
        );
        return Err(refuse(format!(
            "libtorch finds no usable NVIDIA GPU (CUDA 13 needs driver {} or newer; {driver})",
            nvidia::DRIVER_NEEDED
        )));
    }
    let count = tch::Cuda::device_count();
    if index as i64 >= count {
        return Err(refuse(format!("there are {count} GPUs")));
    }
    native::tf32(false);
    Ok(Device::Cuda(index))
}

/// Products of float32 matrices in TF32, as the sweep asks; no CPU has it.
pub fn set_tf32(on: bool) {
    native::tf32(on);
}

/// The device's name and memory.
pub fn describe(device: Device) -> Description {
    if let Device::Cuda(index) = device {
        let gpu = nvidia::gpu(index);
        return Description {
            backend: Backend::Cuda,
            name: gpu.as_ref().map_or_else(|| format!("GPU {index}"), |g| g.name.clone()),
            memory_bytes: gpu.map_or(0, |g| g.memory_bytes),
        };
    }
    Description { backend: Backend::Cpu, name: cpu::model(), memory_bytes: cpu::memory_bytes() }
}

/// The threads that the first call pinned.
static PINNED: Mutex<Option<u32>> = Mutex::new(None);

fn pin_threads(threads: u32) -> Result<(), String> {
    let mut pinned = PINNED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = *pinned {
        return match before == threads {
            true => Ok(()),
            false => Err(format!("this process has {before} threads pinned, {threads} were asked for")),
        };
    }
    if threads == 0 || threads > 1024 {
        return Err(format!("threads: found {threads}, expected 1 to 1024"));
    }
    // Fewer threads than asked for, silently, would change last bits.
    if let Some(limit) = std::env::var_os("OMP_THREAD_LIMIT") {
        return Err(format!("OMP_THREAD_LIMIT is {}, expected unset: it changes results", limit.display()));
    }
    openmp_dynamic_off();
    tch::set_num_interop_threads(1);
    tch::set_num_threads(threads as i32);
    *pinned = Some(threads);
    Ok(())
}

/// OMP_DYNAMIC is read when the process starts, so it is overruled by call.
fn openmp_dynamic_off() {
    // SAFETY: the symbol, where there is one, is OpenMP's `void omp_set_dynamic(int)`.
    unsafe {
        if let Ok(set) = Library::this().get::<unsafe extern "C" fn(i32)>(b"omp_set_dynamic\0") {
            set(0);
        }
    }
}

/// Brings CUDA's part of libtorch into this process. A file that was asked for is opened even without a driver, so that a wrong
/// path is told wherever it is tried.
fn open_cuda(asked_for: Option<&Path>) -> Result<(), String> {
    let loaded = loaded_libraries();
    let named = |name: &str| loaded.iter().find(|path| path.file_name().is_some_and(|n| n == name));
    if let Some(before) = named("libtorch_cuda.so") {
        return needs_driver(before);
    }
    let path = match asked_for {
        // Links followed: what it needs lies beside the file itself ($ORIGIN), which a folder of links may not have.
        Some(path) => path.canonicalize().map_err(|e| format!("{}: {e}", path.display()))?,
        None if !nvidia::driver_is_there() => return Err("there is no NVIDIA driver".to_owned()),
        None => {
            let cpu = named("libtorch_cpu.so").ok_or("libtorch_cpu.so is not among the loaded libraries")?;
            let path = cpu.with_file_name("libtorch_cuda.so");
            path.canonicalize()
                .map_err(|e| format!("{}: {e}, expected a libtorch with CUDA", path.display()))?
        }
    };
    // SAFETY: libtorch's own library; its initialisers register CUDA, which is what it is opened for.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_GLOBAL) };
    let library = library.map_err(|e| format!("{} cannot be opened: {e}", path.display()))?;
    // It stays for the life of the process: libtorch holds pointers into it.
    std::mem::forget(library);
    nvrtc::preload(&loaded_libraries());
    needs_driver(&path)
}

fn needs_driver(library: &Path) -> Result<(), String> {
    match nvidia::driver_is_there() {
        true => Ok(()),
        false => Err(format!("{} is open, but there is no NVIDIA driver", library.display())),
    }
}

/// Files mapped into this process, links followed.
fn loaded_libraries() -> Vec<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    maps.lines().filter_map(|line| line.find('/').map(|at| PathBuf::from(&line[at..]))).collect()
}
