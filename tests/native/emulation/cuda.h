// Runs CUDA kernels on the CPU, for tests: block after block, each thread as a fiber.
//
// A thread runs until it reaches a barrier or a warp operation, or its end; then the next one runs.
// So what a thread reads of another's shared memory without a barrier between is not there yet (or
// already overwritten, in the reverse order). Shared memory starts as garbage in each block. A
// barrier that some threads never reach ends the process with a message.
//
// What this does not show: races within global memory between blocks, memory order, alignment
// faults of vector loads, limits of registers and of launches, time.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define threadIdx (::maskrt::emulation::thread().index)
#define blockIdx (::maskrt::emulation::thread().block)
#define blockDim (::maskrt::emulation::thread().block_size)
#define gridDim (::maskrt::emulation::thread().grid_size)

struct uint3 {
  unsigned x, y, z;
};

struct dim3 {
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
  unsigned x, y, z;
};

struct alignas(8) int2 {
  int x, y;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

typedef struct CUstream_st* cudaStream_t;

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1, cudaErrorInvalidConfiguration = 9 };

namespace maskrt {
namespace emulation {

// What a stream is given: done at once, or on the simulated GPU (MASKRT_SIMULATED) when the stream
// gets there.
cudaError_t submit(cudaStream_t stream, std::function<void()> work);

}  // namespace emulation
}  // namespace maskrt

inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaSuccess                     ? "no error"
         : error == cudaErrorInvalidValue         ? "invalid argument"
         : error == cudaErrorInvalidConfiguration ? "invalid configuration argument"
                                                  : "launch failure";
}

inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  return maskrt::emulation::submit(stream, [=] { std::memset(memory, value, bytes); });
}

inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, int,
                                   cudaStream_t stream) {
  return maskrt::emulation::submit(stream, [=] { std::memcpy(to, from, bytes); });
}
constexpr int cudaMemcpyDeviceToDevice = 3;

namespace maskrt {
namespace emulation {

struct Thread {
  uint3 index;
  uint3 block;
  dim3 block_size;
  dim3 grid_size;
};

enum class Vote { kNone, kAnd, kOr, kCount };

// Of the fiber that runs.
const Thread& thread();
// Of the block that runs.
void* shared_memory();
// Waits for all threads of the block; the vote over their values.
int block_barrier(Vote vote, int value);
// Waits for all lanes of the warp; what each of them brought.
const uint64_t* warp_exchange(unsigned mask, uint64_t value);
// Whether a device would take such a launch.
cudaError_t check(dim3 grid, dim3 block, size_t shared_bytes);
void run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel);

inline unsigned lane() {
  const Thread& t = thread();
  return (t.index.x + t.block_size.x * (t.index.y + t.block_size.y * t.index.z)) % 32;
}

template <typename T>
uint64_t pack(T value) {
  static_assert(sizeof(T) <= 8, "warp operations exchange up to 8 bytes");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}

template <typename T>
T unpack(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

template <typename T>
T shuffle(unsigned mask, T value, unsigned source, int width, bool in_range) {
  const uint64_t* const lanes = warp_exchange(mask, pack(value));
  (void)width;
  return in_range ? unpack<T>(lanes[source % 32]) : value;
}

}  // namespace emulation

template <typename T>
T* shared_memory() {
  return static_cast<T*>(emulation::shared_memory());
}

template <typename... Parameters, typename... Arguments>
cudaError_t launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes,
                   cudaStream_t stream, const Arguments&... arguments) {
  const cudaError_t error = emulation::check(grid, block, shared_bytes);
  if (error != cudaSuccess) return error;
  return emulation::submit(
      stream, [=] { emulation::run(grid, block, shared_bytes, [&] { kernel(arguments...); }); });
}

}  // namespace maskrt

inline void __syncthreads() { maskrt::emulation::block_barrier(maskrt::emulation::Vote::kNone, 0); }
inline int __syncthreads_and(int value) {
  return maskrt::emulation::block_barrier(maskrt::emulation::Vote::kAnd, value);
}
inline int __syncthreads_or(int value) {
  return maskrt::emulation::block_barrier(maskrt::emulation::Vote::kOr, value);
}
inline int __syncthreads_count(int value) {
  return maskrt::emulation::block_barrier(maskrt::emulation::Vote::kCount, value);
}
inline void __syncwarp(unsigned mask = 0xffffffffu) { maskrt::emulation::warp_exchange(mask, 0); }

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const unsigned base = maskrt::emulation::lane() / width * width;
  return maskrt::emulation::shuffle(mask, value, base + static_cast<unsigned>(source) % width,
                                    width, true);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32) {
  return maskrt::emulation::shuffle(mask, value, maskrt::emulation::lane() ^ lanes, width, true);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = maskrt::emulation::lane();
  return maskrt::emulation::shuffle(mask, value, lane - delta, width, lane % width >= delta);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = maskrt::emulation::lane();
  return maskrt::emulation::shuffle(mask, value, lane + delta, width,
                                    lane % width + delta < static_cast<unsigned>(width));
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  const uint64_t* const lanes = maskrt::emulation::warp_exchange(mask, predicate != 0);
  unsigned bits = 0;
  for (int i = 0; i < 32; ++i) bits |= (mask >> i & 1u) && lanes[i] ? 1u << i : 0u;
  return bits;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) == mask;
}

// One thread runs at a time: plain operations are atomic.
template <typename T>
T atomicAdd(T* address, T value) {
  const T old = *address;
  *address = old + value;
  return old;
}
template <typename T>
T atomicMax(T* address, T value) {
  const T old = *address;
  if (value > old) *address = value;
  return old;
}
template <typename T>
T atomicOr(T* address, T value) {
  const T old = *address;
  *address = old | value;
  return old;
}

inline int min(int a, int b) { return b < a ? b : a; }
inline int max(int a, int b) { return a < b ? b : a; }

inline int __popc(unsigned value) { return __builtin_popcount(value); }
inline int __popcll(unsigned long long value) { return __builtin_popcountll(value); }
inline int __ffs(int value) { return __builtin_ffs(value); }
inline int __ffsll(long long value) { return __builtin_ffsll(value); }
inline int __clz(int value) { return value ? __builtin_clz(static_cast<unsigned>(value)) : 32; }
template <typename T>
T __ldg(const T* address) {
  return *address;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned selector) {
  const uint64_t bytes = static_cast<uint64_t>(y) << 32 | x;
  unsigned result = 0;
  for (int i = 0; i < 4; ++i) {
    result |= static_cast<unsigned>(bytes >> (8 * (selector >> (4 * i) & 7)) & 255) << (8 * i);
  }
  return result;
}
