// Several neighbouring elements, moved by one load or store and computed with as float32.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/cuda.h"
#include "common/half.h"

namespace maskrt {
namespace roi_align {

// An address that the compiler does not take apart again: adding an offset to it is then one
// instruction, where it would otherwise regroup the sums that the address is made of.
__device__ __forceinline__ const void* opaque(const void* address) {
#if defined(__CUDA_ARCH__)
  asm("" : "+l"(address));
#endif
  return address;
}

// Loads from global memory that is only read while the kernel runs. In assembly, as the compiler
// cannot know that an opaque address is not one of shared memory.
__device__ __forceinline__ uint4 load_vector(const void* from) {
#if defined(__CUDA_ARCH__)
  uint4 words;
  asm("ld.global.nc.v4.u32 {%0, %1, %2, %3}, [%4];"
      : "=r"(words.x), "=r"(words.y), "=r"(words.z), "=r"(words.w)
      : "l"(__cvta_generic_to_global(from)));
  return words;
#else
  // a vector load from elsewhere is a fault on the device
  if (reinterpret_cast<uintptr_t>(from) % 16 != 0) __builtin_trap();
  return *static_cast<const uint4*>(from);
#endif
}

template <typename T>
__device__ __forceinline__ T load_element(const void* from) {
#if defined(__CUDA_ARCH__)
  T value;
  if constexpr (sizeof(T) == 4) {
    uint32_t bits;
    asm("ld.global.nc.u32 %0, [%1];" : "=r"(bits) : "l"(__cvta_generic_to_global(from)));
    value = *reinterpret_cast<const T*>(&bits);
  } else if constexpr (sizeof(T) == 2) {
    uint16_t bits;
    asm("ld.global.nc.u16 %0, [%1];" : "=h"(bits) : "l"(__cvta_generic_to_global(from)));
    value = *reinterpret_cast<const T*>(&bits);
  } else {
    int32_t bits;
    asm("ld.global.nc.s8 %0, [%1];" : "=r"(bits) : "l"(__cvta_generic_to_global(from)));
    value = static_cast<T>(bits);
  }
  return value;
#else
  return *static_cast<const T*>(from);
#endif
}

__device__ __forceinline__ void store_vector(void* to, uint4 words) {
#if defined(MASKRT_EMULATED)
  if (reinterpret_cast<uintptr_t>(to) % 16 != 0) __builtin_trap();
#endif
  *static_cast<uint4*>(to) = words;
}

// The general case: one element.
template <typename T, int N>
struct Pack {
  static_assert(N == 1, "no vector access for this type and width");
  static __device__ __forceinline__ void load(const T* from, float (&values)[1]) {
    values[0] = to_float(load_element<T>(from));
  }
  static __device__ __forceinline__ void store(T* to, const float (&values)[1]) {
    *to = from_float<T>(values[0]);
  }
};

template <>
struct Pack<float, 4> {
  static __device__ __forceinline__ void load(const float* from, float (&values)[4]) {
    const uint4 words = load_vector(from);
    values[0] = bits_to_float(words.x);
    values[1] = bits_to_float(words.y);
    values[2] = bits_to_float(words.z);
    values[3] = bits_to_float(words.w);
  }
  static __device__ __forceinline__ void store(float* to, const float (&values)[4]) {
    store_vector(to, make_uint4(float_to_bits(values[0]), float_to_bits(values[1]),
                                float_to_bits(values[2]), float_to_bits(values[3])));
  }
};

__device__ __forceinline__ void unpack(uint32_t pair, Half*, float& low, float& high) {
#if defined(__CUDA_ARCH__)
  const float2 both = __half22float2(*reinterpret_cast<const __half2*>(&pair));
  low = both.x;
  high = both.y;
#else
  low = to_float(Half{static_cast<uint16_t>(pair)});
  high = to_float(Half{static_cast<uint16_t>(pair >> 16)});
#endif
}

__device__ __forceinline__ void unpack(uint32_t pair, BFloat16*, float& low, float& high) {
  low = bits_to_float(pair << 16);
  high = bits_to_float(pair & 0xffff0000u);
}

__device__ __forceinline__ uint32_t pack(float low, float high, Half*) {
#if defined(__CUDA_ARCH__)
  const __half2 both = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&both);
#else
  return from_float<Half>(low).bits | static_cast<uint32_t>(from_float<Half>(high).bits) << 16;
#endif
}

__device__ __forceinline__ uint32_t pack(float low, float high, BFloat16*) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  const __nv_bfloat162 both = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&both);
#else
  return from_float<BFloat16>(low).bits | static_cast<uint32_t>(from_float<BFloat16>(high).bits)
                                              << 16;
#endif
}

template <typename T>
struct Pack16Bit {
  static __device__ __forceinline__ void load(const T* from, float (&values)[8]) {
    const uint4 words = load_vector(from);
    T* const kind = nullptr;
    unpack(words.x, kind, values[0], values[1]);
    unpack(words.y, kind, values[2], values[3]);
    unpack(words.z, kind, values[4], values[5]);
    unpack(words.w, kind, values[6], values[7]);
  }
  static __device__ __forceinline__ void store(T* to, const float (&values)[8]) {
    T* const kind = nullptr;
    store_vector(to,
                 make_uint4(pack(values[0], values[1], kind), pack(values[2], values[3], kind),
                            pack(values[4], values[5], kind), pack(values[6], values[7], kind)));
  }
};

template <>
struct Pack<Half, 8> : Pack16Bit<Half> {};
template <>
struct Pack<BFloat16, 8> : Pack16Bit<BFloat16> {};

template <>
struct Pack<int8_t, 16> {
  static __device__ __forceinline__ void load(const int8_t* from, float (&values)[16]) {
    const uint4 words = load_vector(from);
    widen(words.x, values);
    widen(words.y, values + 4);
    widen(words.z, values + 8);
    widen(words.w, values + 12);
  }
  static __device__ __forceinline__ void store(int8_t* to, const float (&values)[16]) {
    store_vector(to, make_uint4(narrow(values), narrow(values + 4), narrow(values + 8),
                                narrow(values + 12)));
  }

 private:
  // The bytes become the last ones of floats of 2^23 and a bit: two instructions at full rate,
  // where the conversion itself has an eighth of it. One of four is converted even so: that unit
  // would be idle otherwise.
  static __device__ __forceinline__ void widen(uint32_t word, float* values) {
    const uint32_t biased = word ^ 0x80808080u;
    values[0] = static_cast<float>(static_cast<int8_t>(word & 255u));
#pragma unroll
    for (unsigned i = 1; i < 4; ++i) {
      values[i] = bits_to_float(__byte_perm(biased, 0x4b000000u, 0x7440u + i)) - 8388736.0f;
    }
  }
  static __device__ __forceinline__ uint32_t narrow(const float* values) {
#if defined(__CUDA_ARCH__)
    uint32_t bytes[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      asm("cvt.rni.sat.s8.f32 %0, %1;" : "=r"(bytes[i]) : "f"(values[i]));
    }
    return __byte_perm(__byte_perm(bytes[0], bytes[1], 0x0040u),
                       __byte_perm(bytes[2], bytes[3], 0x0040u), 0x5410u);
#else
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) {
      word |= static_cast<uint32_t>(static_cast<uint8_t>(from_float<int8_t>(values[i]))) << (8 * i);
    }
    return word;
#endif
  }
};

}  // namespace roi_align
}  // namespace maskrt
