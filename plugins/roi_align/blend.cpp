// Compiled with -ffp-contract=fast: the sums may use fused multiply-adds where the processor has
// them. Positions and weights come from elsewhere, so that no sample changes sides.

#include "roi_align/blend.h"

#include <cstring>

#include "common/cpu.h"

namespace maskrt {
namespace roi_align {
namespace {

// Eight channels; compilers take them apart for processors with narrower registers.
typedef float Floats __attribute__((vector_size(32)));
typedef int32_t Ints __attribute__((vector_size(32)));
typedef uint32_t Words __attribute__((vector_size(32)));
typedef uint16_t HalfWords __attribute__((vector_size(16)));
typedef int8_t Bytes __attribute__((vector_size(8)));

MASKRT_INLINE void load(const float* from, Floats& values) {
  std::memcpy(&values, from, sizeof values);
}

MASKRT_INLINE void load(const Half* from, Floats& values) {
  HalfWords packed;
  std::memcpy(&packed, from, sizeof packed);
  const Words bits = __builtin_convertvector(packed, Words);
  // as to_float(Half)
  const Words magnitude = (bits & 0x7fffu) << 13;
  const Words special = magnitude | 0x7f800000u;
  Floats scaled;
  std::memcpy(&scaled, &magnitude, sizeof scaled);
  scaled *= 0x1p112f;
  Words finite;
  std::memcpy(&finite, &scaled, sizeof finite);
  const Words beyond = (Words)(magnitude >= 0x0f800000u);
  const Words result = ((beyond & special) | (~beyond & finite)) | (bits & 0x8000u) << 16;
  std::memcpy(&values, &result, sizeof values);
}

MASKRT_INLINE void load(const BFloat16* from, Floats& values) {
  HalfWords packed;
  std::memcpy(&packed, from, sizeof packed);
  const Words bits = __builtin_convertvector(packed, Words) << 16;
  std::memcpy(&values, &bits, sizeof values);
}

MASKRT_INLINE void load(const int8_t* from, Floats& values) {
  Bytes packed;
  std::memcpy(&packed, from, sizeof packed);
  values = __builtin_convertvector(__builtin_convertvector(packed, Ints), Floats);
}

MASKRT_INLINE void store(const Floats& values, float* to) {
  std::memcpy(to, &values, sizeof values);
}

template <int kVectors, typename T>
MASKRT_INLINE void blend_block(const Blend& b, const T* map, float* out) {
  int32_t y_begin = 0;
  for (int32_t row = 0; row < b.rows; ++row) {
    const int32_t y_end = b.y_end[row];
    // the rows of each column that the RoI touches, summed once for all bins of this row
    for (int32_t i = 0; i < b.num_columns; ++i) {
      const T* const column = map + b.columns[i] * b.cell_stride;
      Floats sums[kVectors] = {};
      for (int32_t r = y_begin; r < y_end; ++r) {
        const Tap tap = b.y[r];
        const T* const cell = column + tap.cell * b.row_stride;
        for (int v = 0; v < kVectors; ++v) {
          Floats values;
          load(cell + 8 * v, values);
          sums[v] += tap.weight * values;
        }
      }
      for (int v = 0; v < kVectors; ++v) store(sums[v], b.wide + i * kVectors * 8 + 8 * v);
    }
    y_begin = y_end;
    int32_t x_begin = 0;
    for (int32_t bin = 0; bin < b.bins; ++bin) {
      const int32_t x_end = b.x_end[bin];
      Floats sums[kVectors] = {};
      for (int32_t k = x_begin; k < x_end; ++k) {
        const Tap tap = b.x[k];
        const float* const column = b.wide + tap.cell * kVectors * 8;
        for (int v = 0; v < kVectors; ++v) {
          Floats values;
          load(column + 8 * v, values);
          sums[v] += tap.weight * values;
        }
      }
      x_begin = x_end;
      for (int v = 0; v < kVectors; ++v) store(sums[v], out + 8 * v);
      out += b.out_stride;
    }
  }
}

template <typename T>
MASKRT_INLINE void blend_as(const Blend& b, const T* map, float* out) {
  if (b.block == kWideBlock) {
    blend_block<kWideBlock / 8>(b, map, out);
  } else {
    blend_block<kBlock / 8>(b, map, out);
  }
}

}  // namespace

MASKRT_CLONES void blend(const Blend& b, const float* map, float* out) { blend_as(b, map, out); }

MASKRT_CLONES void blend(const Blend& b, const Half* map, float* out) { blend_as(b, map, out); }

MASKRT_CLONES void blend(const Blend& b, const BFloat16* map, float* out) { blend_as(b, map, out); }

MASKRT_CLONES void blend(const Blend& b, const int8_t* map, float* out) { blend_as(b, map, out); }

}  // namespace roi_align
}  // namespace maskrt
