// What kernels need of CUDA. A kernel.cu is read by nvcc, and by a C++ compiler where the tests run
// the kernels' code on the CPU (MASKRT_EMULATED): so kernels are launched by launch() instead of
// <<<>>>, and get their shared memory from shared_memory<T>().
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/host_device.h"
#include "common/status.h"

#if defined(MASKRT_EMULATED)
#include "emulation/cuda.h"
#else
#include <cuda_runtime.h>

#if defined(__CUDACC__)  // not in plugin.cpp, which only calls what kernel.h declares
namespace maskrt {

// The block's dynamic shared memory, 16-byte aligned.
template <typename T>
__device__ inline T* shared_memory() {
  extern __shared__ __align__(16) unsigned char maskrt_shared_memory[];
  return reinterpret_cast<T*>(maskrt_shared_memory);
}

// Queues the kernel. Its parameters are copied before the call returns.
template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, const Arguments&... arguments) {
  // clang-format off
  kernel<<<grid, block, shared_bytes, stream>>>(arguments...);
  // clang-format on
  return cudaPeekAtLastError();
}

}  // namespace maskrt
#endif
#endif

namespace maskrt {

// Shared memory that every device grants without being asked for more.
constexpr size_t kMaxSharedBytes = 48 * 1024;

template <typename T>
MASKRT_HOST_DEVICE constexpr T ceil_div(T a, T b) {
  return (a + b - 1) / b;
}

// Hands out parts of the workspace that TensorRT or the caller gives, 256-byte aligned. With a null
// base it only counts.
class Workspace {
 public:
  explicit Workspace(void* base) : base_(static_cast<unsigned char*>(base)) {}

  template <typename T>
  T* take(int64_t count) {
    const size_t at = bytes_;
    bytes_ += (static_cast<size_t>(count) * sizeof(T) + 255) / 256 * 256;
    return base_ ? reinterpret_cast<T*>(base_ + at) : nullptr;
  }

  size_t bytes() const { return bytes_; }

 private:
  unsigned char* base_;
  size_t bytes_ = 0;
};

inline int cuda_status(const char* operation, cudaError_t error) {
  if (error == cudaSuccess) return MASKRT_OK;
  return fail(MASKRT_CUDA_ERROR, "%s: CUDA says %s (error %d)", operation,
              cudaGetErrorString(error), static_cast<int>(error));
}

}  // namespace maskrt

#define MASKRT_RETURN_IF_ERROR(call)        \
  do {                                      \
    const cudaError_t error = (call);       \
    if (error != cudaSuccess) return error; \
  } while (0)

// The C interface of an operator on the device, from its namespace's check(), workspace_bytes() and
// launch(). The first function gives -1 for params that the second would refuse.
#define MASKRT_CUDA_INTERFACE(operation, Params)                                              \
  MASKRT_API int64_t maskrt_cuda_##operation##_workspace(const Params* params) {              \
    if (!params || ::maskrt::operation::check(*params) != MASKRT_OK) return -1;               \
    return static_cast<int64_t>(::maskrt::operation::workspace_bytes(*params));               \
  }                                                                                           \
  MASKRT_API int maskrt_cuda_##operation(const Params* params, void* workspace, size_t bytes, \
                                         cudaStream_t stream) {                               \
    MASKRT_EXPECT(params, #operation ": found a null pointer for params");                    \
    const int status = ::maskrt::operation::check(*params);                                   \
    if (status != MASKRT_OK) return status;                                                   \
    const size_t needed = ::maskrt::operation::workspace_bytes(*params);                      \
    MASKRT_EXPECT(needed == 0 || (workspace && bytes >= needed),                              \
                  #operation ": found a workspace of %zu bytes, expected %zu",                \
                  workspace ? bytes : size_t{0}, needed);                                     \
    return ::maskrt::cuda_status(#operation,                                                  \
                                 ::maskrt::operation::launch(*params, workspace, stream));    \
  }
