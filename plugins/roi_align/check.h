// What the params may be, on every target.
#pragma once

#include <cmath>

#include "common/status.h"
#include "roi_align/params.h"
#include "roi_align/pool.h"

namespace maskrt {
namespace roi_align {

// Taps of all bins of an axis of a RoI, whatever its level.
struct Capacity {
  int64_t y, x;
};

inline Capacity capacity_of(const Pool& p) {
  int32_t height = 1, width = 1;
  for (int32_t i = 0; i < p.num_levels; ++i) {
    if (p.maps[i].height > height) height = p.maps[i].height;
    if (p.maps[i].width > width) width = p.maps[i].width;
  }
  return {max_taps(p.output_height, p.sampling_ratio, height),
          max_taps(p.output_width, p.sampling_ratio, width)};
}

// Bytes of the tables of one RoI, which a block on the device keeps in shared memory.
constexpr int64_t kHeaderBytes = 64;

inline int64_t table_bytes(const Pool& p) {
  const Capacity capacity = capacity_of(p);
  const int64_t bins = static_cast<int64_t>(p.output_height) + p.output_width;
  return kHeaderBytes + bins * 2 * static_cast<int64_t>(sizeof(int32_t)) +
         (capacity.y + capacity.x) * static_cast<int64_t>(sizeof(Tap));
}

#define MASKRT_EXPECT_POOL(field, low, high)                             \
  MASKRT_EXPECT(p.field >= (low) && p.field <= (high),                   \
                "%s: found " #field " %d, expected %d to %d", operation, \
                static_cast<int>(p.field), static_cast<int>(low), static_cast<int>(high))
#define MASKRT_EXPECT_POSITIVE(value, name)                                    \
  MASKRT_EXPECT(std::isfinite(value) && (value) > 0.0f,                        \
                "%s: found %s %g, expected a number above 0", operation, name, \
                static_cast<double>(value))

inline int check(const Pool& p, const char* operation) {
  constexpr int32_t kAny = 0x7fffffff;
  constexpr int64_t kMaxShared = 48 * 1024;
  MASKRT_EXPECT(p.rois, "%s: found a null pointer for rois", operation);
  MASKRT_EXPECT(p.pooled, "%s: found a null pointer for pooled", operation);
  MASKRT_EXPECT(p.type == MASKRT_FLOAT32 || p.type == MASKRT_FLOAT16 || p.type == MASKRT_BFLOAT16 ||
                    p.type == MASKRT_INT8,
                "%s: found type %d, expected 0 (float32), 1 (float16), 2 (int8) or 7 (bfloat16)",
                operation, p.type);
  MASKRT_EXPECT_POOL(layout, MASKRT_LINEAR, MASKRT_CHANNELS_LAST);
  MASKRT_EXPECT_POOL(num_levels, 1, MASKRT_ROI_ALIGN_MAX_LEVELS);
  MASKRT_EXPECT_POOL(images, 1, kAny);
  MASKRT_EXPECT_POOL(slots, 1, kAny);
  MASKRT_EXPECT_POOL(num_rois, 1, kAny);
  MASKRT_EXPECT_POOL(channels, 1, kAny);
  if (p.layout == MASKRT_CHANNELS_LAST) MASKRT_EXPECT_POOL(cell_stride, p.channels, kAny);
  MASKRT_EXPECT_POOL(output_height, 1, MASKRT_ROI_ALIGN_MAX_BINS);
  MASKRT_EXPECT_POOL(output_width, 1, MASKRT_ROI_ALIGN_MAX_BINS);
  MASKRT_EXPECT_POOL(sampling_ratio, 0, MASKRT_ROI_ALIGN_MAX_SAMPLES);
  MASKRT_EXPECT_POOL(threads, 0, kAny);
  if (p.num_levels > 1) {
    MASKRT_EXPECT_POSITIVE(p.canonical_size, "canonical_size");
    MASKRT_EXPECT(std::isfinite(p.epsilon) && std::isfinite(p.log_epsilon),
                  "%s: found epsilon %g and log_epsilon %g, expected finite numbers", operation,
                  static_cast<double>(p.epsilon), static_cast<double>(p.log_epsilon));
  }
  if (p.type == MASKRT_INT8) MASKRT_EXPECT_POSITIVE(p.output_scale, "output_scale");
  for (int32_t i = 0; i < p.num_levels; ++i) {
    const MaskrtFeatureMap& map = p.maps[i];
    MASKRT_EXPECT(map.data, "%s: found a null pointer for feature map %d", operation, i);
    MASKRT_EXPECT(map.height >= 1 && map.width >= 1,
                  "%s: found feature map %d of %d x %d cells, expected 1 or more each", operation,
                  i, map.height, map.width);
    MASKRT_EXPECT(map_elements(p, i) <= kAny,
                  "%s: found feature map %d of %lld elements an image, expected below 2^31",
                  operation, i, static_cast<long long>(map_elements(p, i)));
    MASKRT_EXPECT_POSITIVE(map.spatial_scale, "spatial_scale");
    if (p.type == MASKRT_INT8) MASKRT_EXPECT_POSITIVE(map.scale, "a feature map's scale");
  }
  MASKRT_EXPECT(table_bytes(p) <= kMaxShared,
                "%s: found feature maps, bins and samples that need tables of %lld bytes, expected "
                "%lld at most: take a smaller canvas, or a fixed sampling_ratio",
                operation, static_cast<long long>(table_bytes(p)),
                static_cast<long long>(kMaxShared));
  return MASKRT_OK;
}

#undef MASKRT_EXPECT_POOL
#undef MASKRT_EXPECT_POSITIVE

inline Pool pool_of(const MaskrtRoIAlignParams& p) {
  Pool pool = {};
  pool.rois = p.rois;
  pool.batch_indices = p.batch_indices;
  pool.pooled = p.pooled;
  pool.maps[0] = p.map;
  pool.output_scale = p.output_scale;
  pool.num_levels = 1;
  pool.images = p.images;
  pool.slots = p.num_rois;
  pool.num_rois = p.num_rois;
  pool.channels = p.channels;
  pool.cell_stride = p.cell_stride;
  pool.output_height = p.output_height;
  pool.output_width = p.output_width;
  pool.sampling_ratio = p.sampling_ratio;
  pool.aligned = p.aligned;
  pool.index_type = p.index_type;
  pool.type = p.type;
  pool.layout = p.layout;
  pool.threads = p.threads;
  return pool;
}

inline int check(const MaskrtRoIAlignParams& p) {
  MASKRT_EXPECT_STRUCT("roi_align", p);
  MASKRT_EXPECT_POINTER("roi_align", p, batch_indices);
  MASKRT_EXPECT(p.index_type == MASKRT_INT32 || p.index_type == MASKRT_INT64,
                "roi_align: found index_type %d, expected 3 (int32) or 8 (int64)", p.index_type);
  return check(pool_of(p), "roi_align");
}

}  // namespace roi_align
}  // namespace maskrt
