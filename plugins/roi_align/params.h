#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/export.h"
#include "roi_align/map.h"

// Bins along an axis of the output, and samples along an axis of a bin, are at most so many.
#define MASKRT_ROI_ALIGN_MAX_BINS 256
#define MASKRT_ROI_ALIGN_MAX_SAMPLES 64

struct MaskrtRoIAlignParams {
  size_t struct_size;         // sizeof(MaskrtRoIAlignParams), so that a stale caller is noticed
  const float* rois;          // [num_rois, 4], xyxy in canvas pixels
  const void* batch_indices;  // [num_rois], the image of each RoI; outside 0..images - 1: zeros
  void* pooled;               // out: [num_rois, channels, output_height, output_width] or
                              // [num_rois, output_height, output_width, channels]; map's type
  struct MaskrtFeatureMap map;
  float output_scale;      // int8: the real value of one step of the output, above 0
  int32_t images;          // in the map, 1 or more
  int32_t num_rois;        // 1 or more
  int32_t channels;        // 1 or more
  int32_t cell_stride;     // channels last: elements from a cell to the next, in the map and in
                           // the output; at least channels
  int32_t output_height;   // bins, 1 to MASKRT_ROI_ALIGN_MAX_BINS
  int32_t output_width;    // bins, same range
  int32_t sampling_ratio;  // samples per bin and axis, 0 to MASKRT_ROI_ALIGN_MAX_SAMPLES; 0: as
                           // many as the bin has cells, rounded up
  int32_t aligned;         // not 0: half a cell is subtracted ("half_pixel")
  int32_t index_type;      // of batch_indices: MASKRT_INT32 or MASKRT_INT64
  int32_t type;            // of map and output: MASKRT_FLOAT32, _FLOAT16, _BFLOAT16 or _INT8
  int32_t layout;          // of map and output: a MaskrtLayout
  int32_t threads;         // CPU only; 0: as many as OpenMP would use
};

// Pools each RoI from one feature map; see README.md. Returns a MaskrtStatus.
MASKRT_API int maskrt_roi_align(const struct MaskrtRoIAlignParams* params);
