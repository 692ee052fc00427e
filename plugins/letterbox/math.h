// The arithmetic of Letterbox: torchvision's GeneralizedRCNNTransform on top of PyTorch's
// interpolate(mode="bilinear", align_corners=False).
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace maskrt {
namespace letterbox {

struct Size {
  int32_t height;
  int32_t width;
};

// The frame's size times one ratio, that of the tightest bound. In float64 and rounded down, as
// interpolate(scale_factor=...) does; so it never exceeds the canvas.
MASKRT_HOST_DEVICE inline Size content_size(Size frame, Size canvas, int32_t min_size,
                                            int32_t max_size) {
  const int32_t shorter = frame.height < frame.width ? frame.height : frame.width;
  const int32_t longer = frame.height < frame.width ? frame.width : frame.height;
  double ratio = static_cast<double>(canvas.height) / frame.height;
  ratio = std::fmin(ratio, static_cast<double>(canvas.width) / frame.width);
  if (min_size > 0) ratio = std::fmin(ratio, static_cast<double>(min_size) / shorter);
  if (max_size > 0) ratio = std::fmin(ratio, static_cast<double>(max_size) / longer);
  const auto height = static_cast<int32_t>(std::floor(frame.height * ratio));
  const auto width = static_cast<int32_t>(std::floor(frame.width * ratio));
  return {height > 1 ? height : 1, width > 1 ? width : 1};
}

// Frame pixels per canvas pixel along one axis.
MASKRT_HOST_DEVICE inline float axis_scale(int32_t frame, int32_t content) {
  return static_cast<float>(frame) / static_cast<float>(content);
}

// The two pixels of one axis that a canvas pixel lies between.
struct Tap {
  int32_t first;
  int32_t second;
  float weight;  // of the second
};

MASKRT_HOST_DEVICE inline Tap tap(int32_t pixel, float scale, int32_t side) {
  // fused, as compilers make it of PyTorch's source on every processor that can
  const float position = std::fmaf(scale, static_cast<float>(pixel) + 0.5f, -0.5f);
  const float inside = position > 0.0f ? position : 0.0f;
  const int32_t floored = static_cast<int32_t>(inside);
  const int32_t last = side - 1;
  const int32_t first = floored < last ? floored : last;
  const float weight = inside - static_cast<float>(first);
  return {first, first < last ? first + 1 : last, weight < 1.0f ? weight : 1.0f};
}

template <typename T>
MASKRT_HOST_DEVICE inline T interpolate(T first, T second, T weight) {
  return (T(1) - weight) * first + weight * second;
}

// Linear, so it may come after the interpolation; torchvision does it before.
template <typename T>
MASKRT_HOST_DEVICE inline T normalize(T value, T mean, T std) {
  return (value - mean) / std;
}

}  // namespace letterbox
}  // namespace maskrt
