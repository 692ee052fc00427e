// A feature map, as the params of RoIAlign and MultilevelRoIAlign hold it.
#pragma once

#include <stdint.h>

struct MaskrtFeatureMap {
  const void* data;     // [images, channels, height, width] or [images, height, width, channels]
  int32_t height;       // cells, 1 or more
  int32_t width;        // cells, 1 or more
  float spatial_scale;  // cells per canvas pixel, above 0
  float scale;          // int8: the real value of one step, above 0; other types ignore it
};
