// The arithmetic of RoIAlign (Mask R-CNN, section 3), in the order of operations of torchvision's
// roi_align (csrc/ops/cpu/roi_align_common.h).
//
// The average of bilinear samples over a grid is separable: whether a sample lies outside is
// decided axis by axis, so a bin's value is the sum over rows of (row weight) times the sum over
// columns of (column weight) times (cell). Samples that share a cell share its weight: a bin of 2 x
// 2 samples touches 4 to 16 cells, mostly 9 or 12.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace maskrt {
namespace roi_align {

// A RoI with more samples per bin and axis has bins of more than 4 million cells: of no use, and
// float32 does not hold its sample positions.
constexpr float kMaxAdaptiveSamples = 4194304.0f;

// One axis of a RoI, in cells.
struct Axis {
  float start;      // of the first bin
  float bin;        // size of a bin
  int32_t samples;  // per bin; 0: the RoI gives zeros
};

MASKRT_HOST_DEVICE inline Axis axis_of(float low, float high, float spatial_scale, bool aligned,
                                       int32_t bins, int32_t sampling_ratio) {
  const float offset = aligned ? 0.5f : 0.0f;
  const float start = low * spatial_scale - offset;
  const float end = high * spatial_scale - offset;
  float size = end - start;
  if (!aligned && !(size > 1.0f)) size = 1.0f;
  const float bin = size / static_cast<float>(bins);
  const bool near = std::fabs(start) <= 1e9f && std::fabs(end) <= 1e9f;  // false for NaN
  if (!near || !(std::fabs(bin) <= kMaxAdaptiveSamples)) return {0.0f, 0.0f, 0};
  int32_t samples = sampling_ratio;
  if (samples == 0) samples = static_cast<int32_t>(std::ceil(bin));
  return {start, bin, samples > 0 ? samples : 0};
}

// A cell along one axis, and what it contributes to a bin.
struct Tap {
  int32_t cell;
  float weight;
};

// Calls emit(cell, weight) for each cell that the bin touches, each once; at most 2 * samples, and
// with adaptive sampling all bins together at most side + 2 * bins times (neighbouring bins share
// two cells, as samples are at most one cell apart).
template <typename Emit>
MASKRT_HOST_DEVICE inline void for_each_tap(const Axis& axis, int32_t bin, int32_t side,
                                            Emit& emit) {
  const auto samples = static_cast<float>(axis.samples);
  const float base = axis.start + static_cast<float>(bin) * axis.bin;
  int32_t first = 0, last = axis.samples;
  if (axis.samples > 8) {
    // only those that can lie on the map: a huge RoI has few of them
    const float step = axis.bin / samples;
    const float low = (-1.0f - base) / step - 3.0f;
    const float high = (static_cast<float>(side) - base) / step + 3.0f;
    if (low > 0.0f) first = low < samples ? static_cast<int32_t>(low) : axis.samples;
    if (high < samples) last = high > 0.0f ? static_cast<int32_t>(high) : 0;
  }
  const float share = 1.0f / samples;
  Tap older = {-1, 0.0f}, newer = {-1, 0.0f};  // not emitted yet: the next sample may share them
  for (int32_t i = first; i < last; ++i) {
    float position = base + (static_cast<float>(i) + 0.5f) * axis.bin / samples;
    if (!(position >= -1.0f && position <= static_cast<float>(side))) continue;
    if (position <= 0.0f) position = 0.0f;
    int32_t cell = static_cast<int32_t>(position);
    float fraction = position - static_cast<float>(cell);
    if (cell >= side - 1) {
      cell = side - 1;
      fraction = 0.0f;
    }
    for (int32_t corner = 0; corner < 2; ++corner) {
      const float weight = (corner ? fraction : 1.0f - fraction) * share;
      const int32_t at = cell + corner;
      if (weight == 0.0f) continue;
      if (at == newer.cell) {
        newer.weight += weight;
      } else if (at == older.cell) {
        older.weight += weight;
      } else {
        if (older.cell >= 0) emit(older.cell, older.weight);
        older = newer;
        newer = {at, weight};
      }
    }
  }
  if (older.cell >= 0) emit(older.cell, older.weight);
  if (newer.cell >= 0) emit(newer.cell, newer.weight);
}

// Taps of all bins of an axis: how many there can be, when a bin's are made even in number.
MASKRT_HOST_DEVICE inline int64_t max_taps(int32_t bins, int32_t sampling_ratio, int32_t side) {
  return sampling_ratio > 0 ? 2LL * bins * sampling_ratio : 3LL * bins + side;
}

}  // namespace roi_align
}  // namespace maskrt
