// The quantisation of int8 feature maps, as far as a plugin knows it.
#pragma once

#include <vector>

#include "common/plugin_io.h"
#include "common/status.h"
#include "roi_align/map.h"

namespace maskrt {
namespace roi_align {

// Real value of one step: from the attributes (empty and 0: not given), else what TensorRT says of
// a tensor. Where explicit Q/DQ nodes surround the plugin, TensorRT need not say anything: then all
// maps and the output are taken to share one scale, as calibration makes it, and 1 stands for it.
inline int set_scales(const char* plugin, const std::vector<float>& map_scales, float output_scale,
                      const Tensors& tensors, int32_t first_map, MaskrtFeatureMap* maps,
                      int32_t count, float& output) {
  int32_t known = 0;
  bool equal = true;
  for (int32_t i = 0; i < count; ++i) {
    maps[i].scale = map_scales.empty() ? tensors.input(first_map + i).scale()
                                       : map_scales[static_cast<size_t>(i)];
    known += maps[i].scale > 0.0f;
    equal = equal && maps[i].scale == maps[0].scale;
  }
  output = output_scale > 0.0f ? output_scale : tensors.output(0).scale();
  if (known == 0 && output == 0.0f) {
    for (int32_t i = 0; i < count; ++i) maps[i].scale = 1.0f;
    output = 1.0f;
    return MASKRT_OK;
  }
  if (equal && output == 0.0f) output = maps[0].scale;
  MASKRT_EXPECT(known == count && output > 0.0f,
                "%s: found the scales of %d of %d int8 feature maps and %s scale of the output, "
                "expected all or none: set the attributes feature_scales and output_scale",
                plugin, known, count, output > 0.0f ? "the" : "no");
  return MASKRT_OK;
}

}  // namespace roi_align
}  // namespace maskrt
