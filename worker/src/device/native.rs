//! The shim's functions (native/shim.cpp), made safe.

/// A figure of the CUDA allocator.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bytes {
    Allocated = 0,
    AllocatedPeak = 1,
    ReservedPeak = 3,
}

mod ffi {
    unsafe extern "C" {
        pub(super) safe fn espalier_cuda_bytes(device: i32, what: i32) -> i64;
        pub(super) safe fn espalier_cuda_reset_peak(device: i32);
        pub(super) safe fn espalier_cuda_empty_cache();
        pub(super) safe fn espalier_tf32(on: bool);
        pub(super) fn espalier_libraries(into: *mut u8, room: i64) -> i64;
        pub(super) fn espalier_cpu_capability(into: *mut u8, room: i64) -> i64;
    }
}

/// Bytes of the allocator of GPU `index`; `None` where CUDA has allocated nothing.
pub(super) fn cuda_bytes(index: usize, what: Bytes) -> Option<u64> {
    u64::try_from(ffi::espalier_cuda_bytes(index as i32, what as i32)).ok()
}

/// Starts a new peak.
pub(super) fn cuda_reset_peak(index: usize) {
    ffi::espalier_cuda_reset_peak(index as i32);
}

/// Gives unused memory back to the device.
pub(super) fn cuda_empty_cache() {
    ffi::espalier_cuda_empty_cache();
}

/// Whether products of float32 matrices on a GPU are in TF32.
pub(super) fn tf32(on: bool) {
    ffi::espalier_tf32(on);
}

/// Versions of libtorch and of what it uses.
pub(super) fn libraries() -> String {
    text(ffi::espalier_libraries)
}

/// The instruction set of libtorch's CPU kernels.
pub(super) fn cpu_capability() -> String {
    text(ffi::espalier_cpu_capability)
}

fn text(get: unsafe extern "C" fn(*mut u8, i64) -> i64) -> String {
    let mut room = vec![0u8; 1 << 16];
    // SAFETY: the function writes at most `room.len()` bytes to `room` and returns how long the text is.
    let length = unsafe { get(room.as_mut_ptr(), room.len() as i64) };
    room.truncate(usize::try_from(length).unwrap_or(0));
    String::from_utf8_lossy(&room).into_owned()
}
