// The arithmetic of MaskSelect: torchvision's maskrcnn_inference.
#pragma once

#include <cstdint>

#include "common/exp.h"
#include "common/half.h"
#include "common/host_device.h"

namespace maskrt {
namespace mask_select {

MASKRT_HOST_DEVICE inline float probability(float logit) {
  return 1.0f / (1.0f + exponential(-logit));
}

// How a probability is written; float32 as it is.
template <typename T>
MASKRT_HOST_DEVICE inline T written(float value) {
  return from_float<T>(value);
}

// Rounded to the nearest 255th, halves up; NaN gives 0.
template <>
MASKRT_HOST_DEVICE inline uint8_t written<uint8_t>(float value) {
  const float scaled = value * 255.0f + 0.5f;
  return static_cast<uint8_t>(static_cast<int32_t>(scaled > 0.0f ? scaled : 0.0f));
}

MASKRT_HOST_DEVICE inline int32_t channel_of(int32_t label, int32_t classes) {
  return label < 0 ? 0 : label < classes ? label : classes - 1;
}

// Where the cells of a channel lie, in elements.
struct Cells {
  int64_t first;
  int64_t stride;  // from a cell to the next
};

MASKRT_HOST_DEVICE inline Cells cells_of(int64_t instance, int32_t channel, int32_t classes,
                                         int64_t area, int32_t channel_stride, bool channels_last) {
  if (channels_last) return {instance * area * channel_stride + channel, channel_stride};
  return {(instance * classes + channel) * area, 1};
}

}  // namespace mask_select
}  // namespace maskrt
