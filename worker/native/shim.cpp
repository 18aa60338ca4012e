// What tch does not wrap: the allocator's figures of any device, the libraries' versions, and TF32 on and off. Only headers without
// CUDA in them are used, so that one binary serves CPU and CUDA. No exception leaves a function; -1 or an empty text means "not known".

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <cstdint>
#include <cstring>
#include <string>

namespace {

c10::DeviceAllocator* cuda_allocator() {
  auto* any = c10::GetAllocator(c10::DeviceType::CUDA);
  auto* device = dynamic_cast<c10::DeviceAllocator*>(any);
  return device != nullptr && device->initialized() ? device : nullptr;
}

// Copies as much of `text` as fits and returns its whole length.
int64_t give(const std::string& text, char* into, int64_t room) {
  if (room > 0) {
    const auto count = std::min<size_t>(text.size(), static_cast<size_t>(room));
    std::memcpy(into, text.data(), count);
  }
  return static_cast<int64_t>(text.size());
}

}  // namespace

extern "C" {

// Bytes of the CUDA allocator: what 0 = is allocated, 1 = was allocated at most, 2 = is reserved, 3 = was reserved at most.
int64_t espalier_cuda_bytes(int32_t device, int32_t what) {
  try {
    auto* allocator = cuda_allocator();
    if (allocator == nullptr) return -1;
    const auto stats = allocator->getDeviceStats(static_cast<c10::DeviceIndex>(device));
    const auto& sizes = what < 2 ? stats.allocated_bytes : stats.reserved_bytes;
    const auto& all = sizes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
    return what % 2 == 0 ? all.current : all.peak;
  } catch (...) {
    return -1;
  }
}

// Starts a new peak.
void espalier_cuda_reset_peak(int32_t device) {
  try {
    auto* allocator = cuda_allocator();
    if (allocator != nullptr) allocator->resetPeakStats(static_cast<c10::DeviceIndex>(device));
  } catch (...) {
  }
}

// Gives unused memory back to the device.
void espalier_cuda_empty_cache() {
  try {
    auto* allocator = cuda_allocator();
    if (allocator != nullptr) allocator->emptyCache();
  } catch (...) {
  }
}

// Versions of libtorch and of the libraries under it, and the instruction set in use.
int64_t espalier_libraries(char* into, int64_t room) {
  try {
    return give(at::show_config() + "\ncapability " + at::get_cpu_capability(), into, room);
  } catch (...) {
    return 0;
  }
}

// The instruction set that libtorch's CPU kernels use.
int64_t espalier_cpu_capability(char* into, int64_t room) {
  try {
    return give(at::get_cpu_capability(), into, room);
  } catch (...) {
    return 0;
  }
}

// Full float32 in matrix products and convolutions, or TF32.
void espalier_tf32(bool on) {
  try {
    at::globalContext().setFloat32MatmulPrecision("highest");
    at::globalContext().setAllowTF32CuBLAS(on);
    at::globalContext().setAllowTF32CuDNN(on);
  } catch (...) {
  }
}

}  // extern "C"
