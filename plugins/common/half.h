// 16-bit floats as they lie in memory, and their way to float32 and back. All arithmetic is
// float32.
#pragma once

#include <cstdint>
#include <cstring>

#include "common/host_device.h"

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#endif

namespace maskrt {

struct Half {  // IEEE binary16
  uint16_t bits;
};

struct BFloat16 {  // the upper half of a float32
  uint16_t bits;
};

MASKRT_HOST_DEVICE inline float bits_to_float(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

MASKRT_HOST_DEVICE inline uint32_t float_to_bits(float value) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(value);
#else
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
#endif
}

MASKRT_HOST_DEVICE inline float to_float(float value) { return value; }
MASKRT_HOST_DEVICE inline float to_float(int8_t value) { return static_cast<float>(value); }

MASKRT_HOST_DEVICE inline float to_float(Half value) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(value.bits));
#else
  // branchless, so that loops over it vectorise: shift the exponent into place, scale by 2^112
  const uint32_t magnitude = static_cast<uint32_t>(value.bits & 0x7fffu) << 13;
  const uint32_t sign = static_cast<uint32_t>(value.bits & 0x8000u) << 16;
  const uint32_t finite = float_to_bits(bits_to_float(magnitude) * 0x1p112f);
  const uint32_t special = magnitude | 0x7f800000u;  // infinities and NaN
  return bits_to_float((magnitude >= 0x0f800000u ? special : finite) | sign);
#endif
}

MASKRT_HOST_DEVICE inline float to_float(BFloat16 value) {
  return bits_to_float(static_cast<uint32_t>(value.bits) << 16);
}

// Rounds to nearest, ties to even; beyond the largest number: infinity.
template <typename T>
MASKRT_HOST_DEVICE inline T from_float(float value);

template <>
MASKRT_HOST_DEVICE inline float from_float<float>(float value) {
  return value;
}

template <>
MASKRT_HOST_DEVICE inline Half from_float<Half>(float value) {
#if defined(__CUDA_ARCH__)
  return {__half_as_ushort(__float2half_rn(value))};
#else
  const uint32_t bits = float_to_bits(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  // normal numbers: rebias the exponent and round in integers
  const uint32_t normal = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  // below 2^-14 float addition rounds at the right bit
  const uint32_t denormal = float_to_bits(bits_to_float(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t half = magnitude < 0x38800000u ? denormal : normal;
  half = magnitude >= 0x477ff000u ? 0x7c00u : half;  // 65520 and above
  half = magnitude > 0x7f800000u ? 0x7e00u : half;
  return {static_cast<uint16_t>(half | sign)};
#endif
}

template <>
MASKRT_HOST_DEVICE inline BFloat16 from_float<BFloat16>(float value) {
  const uint32_t bits = float_to_bits(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const uint32_t nan = 0x7fc0u;
  return {static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded)};
}

// Saturates; NaN gives 0.
template <>
MASKRT_HOST_DEVICE inline int8_t from_float<int8_t>(float value) {
  float bounded = value > -128.0f ? value : -128.0f;
  bounded = bounded < 127.0f ? bounded : 127.0f;
  bounded = value == value ? bounded : 0.0f;
#if defined(__CUDA_ARCH__)
  return static_cast<int8_t>(__float2int_rn(bounded));
#else
  // 1.5 * 2^23 leaves no bits for fractions: the addition rounds to nearest, ties to even
  return static_cast<int8_t>(static_cast<int32_t>((bounded + 12582912.0f) - 12582912.0f));
#endif
}

}  // namespace maskrt
