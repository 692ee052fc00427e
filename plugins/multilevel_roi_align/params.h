#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/export.h"
#include "roi_align/map.h"

#define MASKRT_ROI_ALIGN_MAX_LEVELS 8

struct MaskrtMultilevelRoIAlignParams {
  size_t struct_size;    // sizeof(MaskrtMultilevelRoIAlignParams)
  const float* rois;     // [batch, slots, 4], xyxy in canvas pixels
  const int32_t* count;  // [batch], RoIs that are real: those past it give zeros
  void* pooled;          // out: [batch * slots, channels, output_height, output_width] or
                         // [batch * slots, output_height, output_width, channels]; maps' type
  struct MaskrtFeatureMap maps[MASKRT_ROI_ALIGN_MAX_LEVELS];  // fine to coarse
  float canonical_size;  // side in canvas pixels of a RoI of the canonical level, above 0
  float epsilon;         // added to the level before it is floored (torchvision: 1e-6)
  float log_epsilon;     // added within the logarithm (detectron2: 1e-8)
  float output_scale;    // int8: the real value of one step of the output, above 0
  int32_t num_levels;    // 1 to MASKRT_ROI_ALIGN_MAX_LEVELS
  int32_t min_level;     // of the first map
  int32_t canonical_level;
  int32_t batch;          // images, 1 or more
  int32_t slots;          // RoIs of each image, 1 or more
  int32_t channels;       // 1 or more
  int32_t cell_stride;    // channels last: elements from a cell to the next, in the maps and in the
                          // output; at least channels
  int32_t output_height;  // bins, 1 to MASKRT_ROI_ALIGN_MAX_BINS
  int32_t output_width;   // bins, same range
  int32_t sampling_ratio;  // samples per bin and axis, 0 to MASKRT_ROI_ALIGN_MAX_SAMPLES; 0: as
                           // many as the bin has cells, rounded up
  int32_t aligned;         // not 0: half a cell is subtracted ("half_pixel")
  int32_t type;            // of maps and output: MASKRT_FLOAT32, _FLOAT16, _BFLOAT16 or _INT8
  int32_t layout;          // of maps and output: a MaskrtLayout
  int32_t threads;         // CPU only; 0: as many as OpenMP would use
};

// Pools each RoI from the feature map of its size; see README.md. Returns a MaskrtStatus.
MASKRT_API int maskrt_multilevel_roi_align(const struct MaskrtMultilevelRoIAlignParams* params);
