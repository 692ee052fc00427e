#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/export.h"

struct MaskrtNmsParams {
  size_t struct_size;     // sizeof(MaskrtNmsParams), so that a stale caller is noticed
  const float* boxes;     // [count, 4], xyxy; may be null where count is 0, as the next three
  const float* scores;    // [count]
  const int32_t* groups;  // [count], any numbers: boxes of different groups do not compete
  int64_t* kept;          // out: [count], of which the first kept_count are written: indices
  int64_t* kept_count;    // out: one number
  int32_t count;          // 0 or more
  float threshold;        // IoU above it suppresses; not NaN
  int32_t threads;        // 0: as many as OpenMP would use; at most one for each processor
};

// NMS within each group, all groups' boxes together best first; see README.md. On the CPU only.
// Returns a MaskrtStatus.
MASKRT_API int maskrt_nms(const struct MaskrtNmsParams* params);
