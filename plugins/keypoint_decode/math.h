// The arithmetic of KeypointDecode: torchvision's heatmaps_to_keypoints on top of PyTorch's
// interpolate(mode="bicubic", align_corners=False), whose convolution has a = -0.75.
//
// A pixel of the resized heatmap lies in a cell of the source: between the taps 0 and +1 of the
// four -1, 0, +1, +2 that it mixes, along each axis. Cells start at -1, as pixels lie up to half a
// tap outside of the first one.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/half.h"
#include "common/host_device.h"

namespace maskrt {
namespace keypoint_decode {

// Of the resized heatmap; boxes with longer sides are searched at this resolution.
constexpr int32_t kMaxResized = 8192;
// The softmax is summed as so many interleaved sums, then these pairwise: the same everywhere.
constexpr int32_t kSums = 128;

MASKRT_HOST_DEVICE inline bool is_finite(float value) { return value - value == 0.0f; }

// NaN counts as very low, infinities as very high or low: so sums stay finite.
MASKRT_HOST_DEVICE inline float bounded(float logit) {
  constexpr float kFar = 1e30f;
  const float above = logit > -kFar ? logit : -kFar;
  return above < kFar ? above : kFar;
}

// The heatmap's way into the box, along one axis.
struct Axis {
  int32_t cells;    // of the heatmap
  int32_t resized;  // pixels of the resized heatmap, 1 to kMaxResized
  float scale;      // heatmap cells per pixel
  float step;       // canvas pixels per pixel; 1 but for the rounding of the box's side
  float origin;     // of the box
};

MASKRT_HOST_DEVICE inline Axis axis_of(float low, float high, int32_t cells) {
  const float side = high - low;
  const float size = side < 1.0f ? 1.0f : side;  // NaN stays
  const float rounded = std::ceil(size);
  constexpr auto kMax = static_cast<float>(kMaxResized);
  const auto resized = static_cast<int32_t>(rounded < kMax ? rounded : kMax);
  const auto pixels = static_cast<float>(resized);
  return {cells, resized, static_cast<float>(cells) / pixels, size / pixels, low};
}

// Whether points of the box have finite coordinates.
MASKRT_HOST_DEVICE inline bool is_usable(const Axis& axis) {
  return is_finite(axis.step) && is_finite(axis.origin);
}

// Where a pixel lies: its cell, -1 to cells - 1, and how far on to the next, 0 to 1.
struct Position {
  int32_t cell;
  float share;
};

MASKRT_HOST_DEVICE inline Position position_of(int32_t pixel, float scale, int32_t cells) {
  // fused, as compilers make it of PyTorch's source on every processor that can
  const float at = std::fmaf(scale, static_cast<float>(pixel) + 0.5f, -0.5f);
  const auto cell = static_cast<int32_t>(std::floor(at));
  const int32_t last = cells - 1;
  const int32_t inside = cell < last ? cell : last;
  const float share = at - static_cast<float>(inside);
  return {inside, share < 1.0f ? share : 1.0f};
}

// The first pixel that lies in this cell or in a later one; `resized` if there is none.
MASKRT_HOST_DEVICE inline int32_t first_pixel(int32_t cell, const Axis& axis) {
  if (cell >= axis.cells) return axis.resized;
  const float guess = (static_cast<float>(cell) + 0.5f) / axis.scale - 0.5f;
  const auto most = static_cast<float>(axis.resized);
  int32_t pixel = static_cast<int32_t>(guess > 0.0f ? guess < most ? guess : most : 0.0f);
  while (pixel > 0 && position_of(pixel - 1, axis.scale, axis.cells).cell >= cell) --pixel;
  while (pixel < axis.resized && position_of(pixel, axis.scale, axis.cells).cell < cell) ++pixel;
  return pixel;
}

// What the taps -1, +1 and +2 weigh; tap 0 has what is left of 1.
struct Weights {
  float before;
  float after;
  float last;
};

MASKRT_HOST_DEVICE inline Weights weights_of(float t) {
  const float s = 1.0f - t;
  return {-0.75f * t * s * s, t * (1.0f + s - 1.25f * s * s), -0.75f * s * t * t};
}

// As differences from tap 0: where all four taps are equal, so is the result, to the bit.
MASKRT_HOST_DEVICE inline float mix(float v0, float before, float after, float last,
                                    const Weights& w) {
  return v0 + (w.before * before + w.after * after + w.last * last);
}

MASKRT_HOST_DEVICE inline float interpolate(float before, float v0, float after, float last,
                                            const Weights& w) {
  return mix(v0, before - v0, after - v0, last - v0, w);
}

// No pixel of a cell is above this, where `low` and `high` are the extremes of its 4 x 4 taps.
//
// Along an axis the weights sum to 1, and the two negative ones to -0.75 t (1 - t): so the absolute
// weights sum to L = 1 + 1.5 t (1 - t) <= 1.375, and a value is at most centre + L * L * (half the
// range). The rest covers the rounding of weights, products and sums, about 30 of 6e-8 each.
MASKRT_HOST_DEVICE inline float upper_bound(float low, float high) {
  const float center = 0.5f * low + 0.5f * high;
  const float half = 0.5f * high - 0.5f * low;
  const float slack = 4e-6f * std::fabs(center) + 4e-5f * half;
  return center + 1.890625f * half + slack;
}

// Orders as the values do; 0 and -0 have one key. Not for NaN.
MASKRT_HOST_DEVICE inline int32_t key_of(float value) {
  const auto bits = static_cast<int32_t>(float_to_bits(value + 0.0f));
  return bits ^ ((bits >> 31) & 0x7fffffff);
}

MASKRT_HOST_DEVICE inline float value_of(int32_t key) {
  return bits_to_float(static_cast<uint32_t>(key ^ ((key >> 31) & 0x7fffffff)));
}

// A point with its value, so that the larger number is the better point: the higher value, or the
// earlier of two equal ones. `pixel` counts row by row.
MASKRT_HOST_DEVICE inline uint64_t candidate(int32_t key, int32_t pixel) {
  const uint32_t order = static_cast<uint32_t>(key) ^ 0x80000000u;
  return static_cast<uint64_t>(order) << 32 | (0xffffffffu - static_cast<uint32_t>(pixel));
}

MASKRT_HOST_DEVICE inline int32_t key_of(uint64_t best) {
  return static_cast<int32_t>(static_cast<uint32_t>(best >> 32) ^ 0x80000000u);
}

MASKRT_HOST_DEVICE inline int32_t pixel_of(uint64_t best) {
  return static_cast<int32_t>(0xffffffffu - static_cast<uint32_t>(best));
}

// The middle of the pixel in frame pixels.
MASKRT_HOST_DEVICE inline float coordinate(int32_t pixel, const Axis& axis, float frame_scale) {
  return ((static_cast<float>(pixel) + 0.5f) * axis.step + axis.origin) * frame_scale;
}

// Writes the point; zeros where its coordinates are not finite.
MASKRT_HOST_DEVICE inline void write_point(float* out, float x, float y, float score) {
  const bool good = is_finite(x) && is_finite(y);
  out[0] = good ? x : 0.0f;
  out[1] = good ? y : 0.0f;
  out[2] = good ? score : 0.0f;
}

// Where the cells of a heatmap lie, in elements.
struct Cells {
  int64_t first;
  int64_t stride;  // from a cell to the next
};

MASKRT_HOST_DEVICE inline Cells cells_of(int64_t detection, int32_t point, int32_t points,
                                         int64_t area, int32_t channel_stride, bool channels_last) {
  if (channels_last) return {detection * area * channel_stride + point, channel_stride};
  return {(detection * points + point) * area, 1};
}

}  // namespace keypoint_decode
}  // namespace maskrt
