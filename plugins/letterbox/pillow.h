// The pixels of Letterbox, as detectron2 resizes: Pillow's Image.resize(BILINEAR) of 8-bit images
// (src/libImaging/Resample.c), to the bit. Along x, rounded to bytes, then along y: each pixel is a
// sum of pixels weighted by a triangle that widens with the reduction, in fixed point.
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace maskrt {
namespace letterbox {

constexpr int kWeightBits = 22;
constexpr int32_t kRounding = 1 << (kWeightBits - 1);  // what a sum starts with

// Of a weighted sum: less than 2^31, as an axis has 2^22 pixels at most; never negative.
MASKRT_HOST_DEVICE inline int32_t to_byte(int32_t sum) {
  const int32_t value = sum >> kWeightBits;
  return value < 255 ? value : 255;
}

// One axis. In float64, and in Pillow's order: the weights are rounded after it.
struct Axis {
  int32_t frame;
  double scale;    // frame pixels per canvas pixel
  double support;  // half of the triangle's base, frame pixels
};

MASKRT_HOST_DEVICE inline Axis axis_of(int32_t frame, int32_t content) {
  const double scale = static_cast<double>(frame) / content;
  return {frame, scale, scale > 1.0 ? scale : 1.0};
}

// No canvas pixel has more weights.
inline int32_t most_weights(const Axis& axis) {
  return 2 * static_cast<int32_t>(std::ceil(axis.support)) + 1;
}

// The pixels of the frame that a canvas pixel is made from.
struct Window {
  int32_t first;
  int32_t count;
};

MASKRT_HOST_DEVICE inline double triangle(const Axis& axis, double center, int32_t pixel) {
  double distance = (pixel - center + 0.5) * (1.0 / axis.support);
  distance = distance < 0.0 ? -distance : distance;
  return distance < 1.0 ? 1.0 - distance : 0.0;
}

// Writes the weights to [0], [stride], ... The window ends with the last that is not 0.
MASKRT_HOST_DEVICE inline Window weigh(const Axis& axis, int32_t pixel, int32_t* weights,
                                       int32_t stride) {
  const double center = (pixel + 0.5) * axis.scale;
  int32_t first = static_cast<int32_t>(center - axis.support + 0.5);
  first = first > 0 ? first : 0;
  int32_t end = static_cast<int32_t>(center + axis.support + 0.5);
  end = end < axis.frame ? end : axis.frame;
  double sum = 0.0;
  for (int32_t i = first; i < end; ++i) sum += triangle(axis, center, i);
  int32_t count = 0;
  for (int32_t i = first; i < end; ++i) {
    const double share = triangle(axis, center, i) / sum;
    const auto weight = static_cast<int32_t>(0.5 + share * (1 << kWeightBits));
    weights[static_cast<int64_t>(i - first) * stride] = weight;
    if (weight > 0) count = i - first + 1;
  }
  return {first, count};
}

}  // namespace letterbox
}  // namespace maskrt
