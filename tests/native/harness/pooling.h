// What the cases of RoIAlign and MultilevelRoIAlign share.
#pragma once

#include "harness/subject.h"

namespace harness {

// Of feature maps: real numbers of a size that int8 with these scales holds too.
inline std::vector<float> feature_values(const Sides& sides, Format format, uint32_t seed) {
  const bool steps = format.type == DataType::kINT8;
  std::vector<float> values = steps ? noise(count_of(sides), -120.0f, 120.0f, seed)
                                    : noise(count_of(sides), -3.0f, 3.0f, seed);
  for (float& value : values) value = rounded(format.type, value);
  return values;
}

// How far the type's rounding and the order of sums may take a pooled value from the CPU's.
inline void expect_pooled(const std::vector<float>& found, const std::vector<float>& expected,
                          DataType type) {
  switch (type) {
    case DataType::kHALF:
      return expect_close("pooled", found, expected, 1e-5f, 5e-4f);
    case DataType::kBF16:
      return expect_close("pooled", found, expected, 1e-5f, 4e-3f);
    case DataType::kINT8:  // rounded to whole steps, and saturated
      return expect_close("pooled", found, expected, 0.501f, 0.0f);
    default:
      return expect_close("pooled", found, expected, 2e-5f, 1e-5f);
  }
}

// xyxy, some of them beyond the canvas, one empty.
inline std::vector<float> some_rois(size_t count, float side) {
  std::vector<float> rois = noise(4 * count, -0.1f * side, 0.8f * side, 7);
  for (size_t i = 0; i < 4 * count; i += 4) {
    const float share = static_cast<float>(i % 28) / 28.0f;
    rois[i + 2] = rois[i] + side * share * share;
    rois[i + 3] = rois[i + 1] + 0.7f * side * share * share;
  }
  return rois;
}

}  // namespace harness
