// e^x in float32 with the same bits on every target: the C library's, CUDA's and PyTorch's differ
// in the last one, and then so do the decisions that follow from it. Loops over it vectorise.
#pragma once

#include <cstdint>

#include "common/half.h"
#include "common/host_device.h"

namespace maskrt {

// Within one unit in the last place, and never falls where x rises. Method and coefficients: expf
// of the Cephes library (S. Moshier).
MASKRT_HOST_DEVICE inline float exponential(float x) {
  // beyond these bounds the result is 0 or infinity; NaN passes
  x = x < -105.0f ? -105.0f : x;
  x = x > 89.0f ? 89.0f : x;
  // 1.5 * 2^23 leaves no bits for fractions: n = x / ln 2, rounded to nearest
  const float shifted = x * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  // x - n * ln 2 in two parts, of which the first has few bits: its product with n is exact
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * (r * r) + r) + 1.0f;
  // times 2^n in two steps, each of them a normal number
  const auto power = static_cast<int32_t>(float_to_bits(shifted) - 0x4b400000u);
  const int32_t half = power >> 1;
  const float first = bits_to_float(static_cast<uint32_t>(half + 127) << 23);
  const float second = bits_to_float(static_cast<uint32_t>(power - half + 127) << 23);
  return p * first * second;
}

MASKRT_HOST_DEVICE inline float sigmoid(float x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace maskrt
