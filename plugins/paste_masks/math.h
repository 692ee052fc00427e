// Where masks lie in the frame, and how a pixel samples them. Both conventions sample bilinearly
// with zeros around the mask; they differ in where a pixel's centre falls between the cells.
//
// Cells are counted in the mask with one cell of zeros on each side: 0 and cells + 1 are those.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"
#include "paste_masks/params.h"

namespace maskrt {
namespace paste_masks {

// Regions start at multiples of this many bytes.
constexpr int64_t kAlignment = 64;

// One axis of one instance: pixel p samples cell (p + 0.5 - origin) * scale + shift.
struct Axis {
  float origin;
  float scale;
  float shift;
  int32_t start;  // first pixel of the frame that the mask reaches
  int32_t stop;   // one past the last; not above start where there is none
};

struct Placement {
  Axis x;
  Axis y;
};

// What all instances share.
struct Frame {
  int32_t height;
  int32_t width;
  int32_t mask_height;
  int32_t mask_width;
  float growth;  // of torchvision's boxes, for the padding of one cell
  bool detectron2;
};

template <typename Params>
inline Frame frame_of(const Params& p) {
  // in float64, as Python does, and by the width for both axes, as torchvision does
  const double growth = (p.mask_width + 2.0) / p.mask_width;
  return {p.frame_height,
          p.frame_width,
          p.mask_height,
          p.mask_width,
          static_cast<float>(growth),
          p.convention == MASKRT_PASTE_DETECTRON2};
}

// A pixel is on where its probability is above this.
inline float limit_of(const MaskrtPasteMasksParams& p) {
  return p.convention == MASKRT_PASTE_DETECTRON2 ? std::nextafter(p.threshold, -INFINITY)
                                                 : p.threshold;
}

MASKRT_HOST_DEVICE inline int32_t pixel_within(float position, int32_t side) {
  const float low = position > 0.0f ? position : 0.0f;
  const auto last = static_cast<float>(side);  // exact, as frames are bounded
  return static_cast<int32_t>(low < last ? low : last);
}

// torchvision's expand_boxes, in its order of operations: the truncation must fall on the same
// side.
MASKRT_HOST_DEVICE inline Axis axis_torchvision(float low, float high, int32_t cells, int32_t side,
                                                float growth) {
  const float half = (high - low) * 0.5f * growth;
  const float center = (high + low) * 0.5f;
  const float first = std::trunc(center - half);
  const float last = std::trunc(center + half);
  const float size = last - first + 1.0f;
  const float scale = static_cast<float>(cells + 2) / (size > 1.0f ? size : 1.0f);
  return {first, scale, -0.5f, pixel_within(first, side), pixel_within(last + 1.0f, side)};
}

MASKRT_HOST_DEVICE inline Axis axis_detectron2(float low, float high, int32_t cells, int32_t side) {
  const float size = high - low;
  if (!(size > 0.0f)) return {0.0f, 0.0f, 0.0f, 0, 0};
  const auto count = static_cast<float>(cells);
  // half a cell beyond the box, to the centres of the pixels there
  const float reach = 0.5f * (size / count) + 0.5f;
  return {low, count / size, 0.5f, pixel_within(std::floor(low - reach), side),
          pixel_within(std::ceil(high + reach), side)};
}

// Empty for boxes that are not finite.
MASKRT_HOST_DEVICE inline Placement placement_of(const float* box, const Frame& frame) {
  constexpr float kFar = 1073741824.0f;  // beyond any frame; positions there cannot overflow
  float corners[4];
  bool finite = true;
  for (int i = 0; i < 4; ++i) {
    const float value = box[i];
    finite = finite && value - value == 0.0f;
    corners[i] = value < -kFar ? -kFar : value > kFar ? kFar : value;
  }
  Placement placement;
  if (frame.detectron2) {
    placement.x = axis_detectron2(corners[0], corners[2], frame.mask_width, frame.width);
    placement.y = axis_detectron2(corners[1], corners[3], frame.mask_height, frame.height);
  } else {
    placement.x =
        axis_torchvision(corners[0], corners[2], frame.mask_width, frame.width, frame.growth);
    placement.y =
        axis_torchvision(corners[1], corners[3], frame.mask_height, frame.height, frame.growth);
  }
  const bool seen =
      finite && placement.x.start < placement.x.stop && placement.y.start < placement.y.stop;
  if (!seen) {
    placement.x.start = placement.x.stop = 0;
    placement.y.start = placement.y.stop = 0;
  }
  return placement;
}

// The two cells that a pixel lies between: the first, and how far on to the next, 0 to 1.
struct Tap {
  int32_t first;  // 0 to cells
  float share;
};

MASKRT_HOST_DEVICE inline Tap tap(int32_t pixel, float origin, float scale, float shift,
                                  int32_t cells) {
  const float position = (static_cast<float>(pixel) + 0.5f - origin) * scale + shift;
  const auto last = static_cast<float>(cells + 1);
  float inside = position > 0.0f ? position : 0.0f;
  inside = inside < last ? inside : last;
  const auto floored = static_cast<int32_t>(inside);
  const int32_t first = floored < cells ? floored : cells;
  return {first, inside - static_cast<float>(first)};
}

MASKRT_HOST_DEVICE inline Tap tap(int32_t pixel, const Axis& axis, int32_t cells) {
  return tap(pixel, axis.origin, axis.scale, axis.shift, cells);
}

MASKRT_HOST_DEVICE inline float interpolate(float first, float second, float share) {
  return first + share * (second - first);
}

MASKRT_HOST_DEVICE inline float probability(float value) { return value; }
MASKRT_HOST_DEVICE inline float probability(uint8_t value) {
  return static_cast<float>(value) / 255.0f;
}

// Instances that are real.
MASKRT_HOST_DEVICE inline int32_t live(const int32_t* count, int32_t instances) {
  if (!count) return instances;
  return *count < 0 ? 0 : *count < instances ? *count : instances;
}

// A region as the caller gives it.
struct Region {
  int32_t x;
  int32_t y;
  int32_t width;
  int32_t height;
};

// Whether the region lies in the frame and its bytes in the buffer.
MASKRT_HOST_DEVICE inline bool fits(const Region& region, int64_t offset, const Frame& frame,
                                    int64_t bytes) {
  const bool within = region.x >= 0 && region.y >= 0 && region.width >= 0 && region.height >= 0 &&
                      region.width <= frame.width - region.x &&
                      region.height <= frame.height - region.y;
  return within && offset >= 0 && offset <= bytes &&
         static_cast<int64_t>(region.width) * region.height <= bytes - offset;
}

}  // namespace paste_masks
}  // namespace maskrt
