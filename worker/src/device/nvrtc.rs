//! Brings NVRTC, CUDA's compiler, into the process together with libtorch_cuda.so.
//!
//! cuDNN (attention in half precision on newer GPUs), cuSPARSELt and libtorch open it by its bare name when they first need a kernel
//! that is not built in, and NVRTC opens its builtins so. Where these are packages of their own, as PyPI's are, no search path leads
//! to them; a library that is in the process already is found by its name. torch's own Python does the same.

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use std::path::{Path, PathBuf};

/// Opens NVRTC and its builtins for the CUDA whose libraries are `loaded`. Without them only what compiles fails, and says so.
pub(super) fn preload(loaded: &[PathBuf]) {
    for file in files(loaded) {
        // SAFETY: NVIDIA's own library, of the CUDA that is loaded; nothing of it is called here.
        match unsafe { Library::open(Some(&file), RTLD_NOW | RTLD_LOCAL) } {
            // It stays for the life of the process: others have found it by then.
            Ok(library) => std::mem::forget(library),
            Err(error) => tracing::warn!(file = %file.display(), %error, "CUDA's compiler cannot be opened"),
        }
    }
}

/// NVRTC's files, of the first folder that has any: that of cuBLAS (CUDA 13, conda, a system's CUDA), its neighbour (packages of
/// CUDA 12), that of libtorch_cuda.so (a libtorch that brings its own). Not CUDA's runtime: a libtorch for CPUs brings one too.
pub(super) fn files(loaded: &[PathBuf]) -> Vec<PathBuf> {
    let folder = |start: &str| {
        let mut named = loaded
            .iter()
            .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(start)));
        named.next().and_then(|path| path.parent())
    };
    let blas = folder("libcublasLt");
    let neighbour =
        blas.and_then(|lib| lib.ancestors().nth(2)).map(|packages| packages.join("cuda_nvrtc/lib"));
    let folders = [blas.map(Path::to_path_buf), neighbour, folder("libtorch_cuda.so").map(Path::to_path_buf)];
    folders
        .into_iter()
        .flatten()
        .map(|folder| inside(&folder))
        .find(|files| !files.is_empty())
        .unwrap_or_default()
}

/// `libnvrtc.so.13`, `libnvrtc-builtins.so.13.0`: neither the second build (`.alt.`) nor what only compilers link to (`.so`).
fn inside(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let wanted =
        |name: &str| name.starts_with("libnvrtc") && name.contains(".so.") && !name.contains(".alt.");
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.file_name().is_some_and(|name| wanted(&name.to_string_lossy()))).collect();
    files.sort();
    files
}
