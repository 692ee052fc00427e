// What the params may be, on every target.
#pragma once

#include "common/status.h"
#include "multilevel_roi_align/params.h"
#include "roi_align/check.h"

namespace maskrt {
namespace multilevel_roi_align {

inline roi_align::Pool pool_of(const MaskrtMultilevelRoIAlignParams& p) {
  roi_align::Pool pool = {};
  pool.rois = p.rois;
  pool.count = p.count;
  pool.pooled = p.pooled;
  for (int i = 0; i < MASKRT_ROI_ALIGN_MAX_LEVELS; ++i) pool.maps[i] = p.maps[i];
  pool.canonical_size = p.canonical_size;
  pool.epsilon = p.epsilon;
  pool.log_epsilon = p.log_epsilon;
  pool.output_scale = p.output_scale;
  pool.num_levels = p.num_levels;
  pool.min_level = p.min_level;
  pool.canonical_level = p.canonical_level;
  pool.images = p.batch;
  pool.slots = p.slots;
  pool.num_rois = p.batch * p.slots;
  pool.channels = p.channels;
  pool.cell_stride = p.cell_stride;
  pool.output_height = p.output_height;
  pool.output_width = p.output_width;
  pool.sampling_ratio = p.sampling_ratio;
  pool.aligned = p.aligned;
  pool.type = p.type;
  pool.layout = p.layout;
  pool.threads = p.threads;
  return pool;
}

inline int check(const MaskrtMultilevelRoIAlignParams& p) {
  MASKRT_EXPECT_STRUCT("multilevel_roi_align", p);
  MASKRT_EXPECT_POINTER("multilevel_roi_align", p, count);
  MASKRT_EXPECT_RANGE("multilevel_roi_align", p, batch, 1, 0x7fffffff);
  MASKRT_EXPECT(p.slots >= 1 && p.slots <= 0x7fffffff / p.batch,
                "multilevel_roi_align: found %d slots for each of %d images, expected 1 or more, "
                "and fewer than 2^31 in all",
                p.slots, p.batch);
  return roi_align::check(pool_of(p), "multilevel_roi_align");
}

}  // namespace multilevel_roi_align
}  // namespace maskrt
