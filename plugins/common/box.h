// Boxes, xyxy: decoding, clipping and overlap, in the order of operations of torchvision
// (models/detection/_utils.py, ops/boxes.py, csrc/ops/cpu/nms_kernel.cpp).
#pragma once

#include "common/exp.h"
#include "common/host_device.h"

namespace maskrt {

struct alignas(16) Box {
  float x1, y1, x2, y2;
};

MASKRT_HOST_DEVICE inline Box load_box(const float* at) { return {at[0], at[1], at[2], at[3]}; }

MASKRT_HOST_DEVICE inline void store_box(float* at, const Box& box) {
  at[0] = box.x1;
  at[1] = box.y1;
  at[2] = box.x2;
  at[3] = box.y2;
}

// Box regression (R-CNN, appendix C): deltas are (dx, dy, dw, dh), each divided by its weight; the
// last two are at most `clip`.
MASKRT_HOST_DEVICE inline Box decode(const Box& base, const float* delta, const float* weight,
                                     float clip) {
  const float width = base.x2 - base.x1;
  const float height = base.y2 - base.y1;
  const float x = base.x1 + 0.5f * width;
  const float y = base.y1 + 0.5f * height;
  float growth_x = delta[2] / weight[2];
  float growth_y = delta[3] / weight[3];
  growth_x = growth_x > clip ? clip : growth_x;  // NaN stays
  growth_y = growth_y > clip ? clip : growth_y;
  const float center_x = delta[0] / weight[0] * width + x;
  const float center_y = delta[1] / weight[1] * height + y;
  const float half_x = 0.5f * (exponential(growth_x) * width);
  const float half_y = 0.5f * (exponential(growth_y) * height);
  return {center_x - half_x, center_y - half_y, center_x + half_x, center_y + half_y};
}

// Into [0, limit]; NaN on either side gives NaN.
MASKRT_HOST_DEVICE inline float clip_coordinate(float value, float limit) {
  value = value < 0.0f ? 0.0f : value;
  value = value > limit ? limit : value;
  return limit == limit ? value : limit;
}

MASKRT_HOST_DEVICE inline Box clip_box(const Box& box, float height, float width) {
  return {clip_coordinate(box.x1, width), clip_coordinate(box.y1, height),
          clip_coordinate(box.x2, width), clip_coordinate(box.y2, height)};
}

// Both sides reach the minimum; not so with NaN.
MASKRT_HOST_DEVICE inline bool is_large(const Box& box, float min_size) {
  return (box.x2 - box.x1 >= min_size) & (box.y2 - box.y1 >= min_size);
}

MASKRT_HOST_DEVICE inline float box_area(const Box& box) {
  return (box.x2 - box.x1) * (box.y2 - box.y1);
}

// Of boxes without NaN; with it, it may differ between targets.
MASKRT_HOST_DEVICE inline float intersection(const Box& a, const Box& b) {
#if defined(__CUDA_ARCH__)
  // an instruction each; what is below takes two, but C++ compilers vectorise it
  const float width = fminf(a.x2, b.x2) - fmaxf(a.x1, b.x1);
  const float height = fminf(a.y2, b.y2) - fmaxf(a.y1, b.y1);
#else
  const float width = (a.x2 < b.x2 ? a.x2 : b.x2) - (a.x1 > b.x1 ? a.x1 : b.x1);
  const float height = (a.y2 < b.y2 ? a.y2 : b.y2) - (a.y1 > b.y1 ? a.y1 : b.y1);
#endif
  return (width > 0.0f ? width : 0.0f) * (height > 0.0f ? height : 0.0f);
}

// IoU above the threshold. Boxes without an area have none: 0 / 0 is NaN, which is above nothing.
MASKRT_HOST_DEVICE inline bool overlap(const Box& a, float area_a, const Box& b, float area_b,
                                       float threshold) {
  const float common = intersection(a, b);
  return common / (area_a + area_b - common) > threshold;
}

// The same answer for most pairs without a division, which is slow where it is not vectorised: an
// IoU is rarely so close to the threshold that rounding can change on which side it is.
class Glance {
 public:
  MASKRT_HOST_DEVICE explicit Glance(float threshold) {
    // the margin is far above the roundings that follow, of 2^-24 each; subnormal numbers round by
    // more: with bounds of 0 no answer is sure
    const bool normal = threshold > kSmall;
    low_ = normal ? threshold - threshold * 0x1p-20f : 0.0f;
    high_ = normal ? threshold + threshold * 0x1p-20f : 0.0f;
  }

  struct Answer {
    bool above;
    bool sure;
  };

  MASKRT_HOST_DEVICE Answer look(const Box& a, float area_a, const Box& b, float area_b) const {
    const float common = intersection(a, b);
    const float all = area_a + area_b - common;
    const float low = low_ * all;
    const bool normal = low > kSmall;
    const bool above = normal && common > high_ * all;
    return {above, above || (normal && common < low)};
  }

 private:
  static constexpr float kSmall = 0x1p-100f;

  float low_;
  float high_;
};

}  // namespace maskrt
