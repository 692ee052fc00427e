// Which feature map a RoI belongs to (Feature Pyramid Networks, equation 1).
#pragma once

#include <cmath>
#include <cstdint>

#include "common/host_device.h"

namespace maskrt {
namespace multilevel_roi_align {

// floor(canonical_level + log2(side / canonical_size + log_epsilon) + epsilon), counted from the
// first map and clamped to the maps that there are; a RoI without a size belongs to the first.
MASKRT_HOST_DEVICE inline int32_t level_of(float width, float height, float canonical_size,
                                           float log_epsilon, float epsilon,
                                           int32_t canonical_level, int32_t min_level,
                                           int32_t num_levels) {
  const float relative = std::sqrt(width * height) / canonical_size;
  const float octave = std::log2(relative + log_epsilon);
  const float level = std::floor(static_cast<float>(canonical_level) + octave + epsilon) -
                      static_cast<float>(min_level);
  if (!(level > 0.0f)) return 0;
  const int32_t last = num_levels - 1;
  return level < static_cast<float>(last) ? static_cast<int32_t>(level) : last;
}

}  // namespace multilevel_roi_align
}  // namespace maskrt
