// What RoIAlign and MultilevelRoIAlign have in common: pooling RoIs from one map each.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/host_device.h"
#include "common/status.h"
#include "multilevel_roi_align/math.h"
#include "multilevel_roi_align/params.h"
#include "roi_align/math.h"

namespace maskrt {
namespace roi_align {

// Fields as in the params of the two operators.
struct Pool {
  const float* rois;          // [num_rois, 4]
  const int32_t* count;       // [images] or null: all RoIs are real
  const void* batch_indices;  // [num_rois] or null: slots RoIs of each image, one after the other
  void* pooled;
  MaskrtFeatureMap maps[MASKRT_ROI_ALIGN_MAX_LEVELS];
  float canonical_size, epsilon, log_epsilon;
  float output_scale;
  int32_t num_levels, min_level, canonical_level;
  int32_t images, slots, num_rois;
  int32_t channels, cell_stride;
  int32_t output_height, output_width;
  int32_t sampling_ratio, aligned;
  int32_t index_type, type, layout, threads;
};

// Where a RoI reads: no samples on either axis where it gives zeros.
struct Place {
  int32_t level;
  int32_t image;
  Axis y, x;
};

MASKRT_HOST_DEVICE inline Place place(const Pool& p, int32_t roi) {
  int64_t image = 0;
  bool real = true;
  if (!p.batch_indices) {
    image = roi / p.slots;
    real = !p.count || roi - image * p.slots < p.count[image];
  } else if (p.index_type == MASKRT_INT64) {
    image = static_cast<const int64_t*>(p.batch_indices)[roi];
  } else {
    image = static_cast<const int32_t*>(p.batch_indices)[roi];
  }
  const Axis none = {0.0f, 0.0f, 0};
  if (!real || image < 0 || image >= p.images) return {0, 0, none, none};
  const float* const box = p.rois + 4 * static_cast<int64_t>(roi);
  int32_t level = 0;
  if (p.num_levels > 1) {
    level = multilevel_roi_align::level_of(box[2] - box[0], box[3] - box[1], p.canonical_size,
                                           p.log_epsilon, p.epsilon, p.canonical_level, p.min_level,
                                           p.num_levels);
  }
  const float scale = p.maps[level].spatial_scale;
  const bool aligned = p.aligned != 0;
  Place where = {level, static_cast<int32_t>(image),
                 axis_of(box[1], box[3], scale, aligned, p.output_height, p.sampling_ratio),
                 axis_of(box[0], box[2], scale, aligned, p.output_width, p.sampling_ratio)};
  if (where.y.samples == 0 || where.x.samples == 0) where.y = where.x = none;
  return where;
}

// int8: what turns a weighted sum of steps of the map into steps of the output.
MASKRT_HOST_DEVICE inline float requantization(const Pool& p, int32_t level) {
  return p.type == MASKRT_INT8 ? p.maps[level].scale / p.output_scale : 1.0f;
}

// Elements of one image's map.
MASKRT_HOST_DEVICE inline int64_t map_elements(const Pool& p, int32_t level) {
  const MaskrtFeatureMap& map = p.maps[level];
  const int64_t cells = static_cast<int64_t>(map.height) * map.width;
  return cells * (p.layout == MASKRT_LINEAR ? p.channels : p.cell_stride);
}

}  // namespace roi_align
}  // namespace maskrt
