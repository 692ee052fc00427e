// The pixels of Letterbox, as torchvision resizes: GeneralizedRCNNTransform on top of PyTorch's
// interpolate(mode="bilinear", align_corners=False). pillow.h has detectron2's.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace maskrt {
namespace letterbox {

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
