// Transposes small matrices, cache line by cache line.
#pragma once

#include <cstdint>

#include "common/cpu.h"

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace maskrt {

// out[j * out_stride + i] = in[i * in_stride + j], i < rows, j < columns.
template <typename T>
MASKRT_INLINE void transpose(const T* in, int64_t in_stride, T* out, int64_t out_stride,
                             int32_t rows, int32_t columns) {
  for (int32_t j = 0; j < columns; ++j) {
    for (int32_t i = 0; i < rows; ++i) out[j * out_stride + i] = in[i * in_stride + j];
  }
}

#if defined(__SSE2__)
template <>
MASKRT_INLINE void transpose<float>(const float* in, int64_t in_stride, float* out,
                                    int64_t out_stride, int32_t rows, int32_t columns) {
  int32_t j = 0;
  for (; j + 4 <= columns; j += 4) {
    int32_t i = 0;
    for (; i + 4 <= rows; i += 4) {
      const float* const from = in + i * in_stride + j;
      __m128 a = _mm_loadu_ps(from);
      __m128 b = _mm_loadu_ps(from + in_stride);
      __m128 c = _mm_loadu_ps(from + 2 * in_stride);
      __m128 d = _mm_loadu_ps(from + 3 * in_stride);
      _MM_TRANSPOSE4_PS(a, b, c, d);
      float* const to = out + j * out_stride + i;
      _mm_storeu_ps(to, a);
      _mm_storeu_ps(to + out_stride, b);
      _mm_storeu_ps(to + 2 * out_stride, c);
      _mm_storeu_ps(to + 3 * out_stride, d);
    }
    for (; i < rows; ++i) {
      for (int32_t k = j; k < j + 4; ++k) out[k * out_stride + i] = in[i * in_stride + k];
    }
  }
  for (; j < columns; ++j) {
    for (int32_t i = 0; i < rows; ++i) out[j * out_stride + i] = in[i * in_stride + j];
  }
}
#endif

}  // namespace maskrt
