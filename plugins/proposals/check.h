// What the operator's params may be, on every target.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "common/status.h"
#include "proposals/params.h"

namespace maskrt {
namespace proposals {

inline int check(const MaskrtProposalsParams& p) {
  constexpr int32_t kMaxSide = 1 << 22;  // float32 holds every position up to there
  MASKRT_EXPECT_STRUCT("proposals", p);
  MASKRT_EXPECT_POINTER("proposals", p, objectness);
  MASKRT_EXPECT_POINTER("proposals", p, deltas);
  MASKRT_EXPECT_POINTER("proposals", p, indices);
  MASKRT_EXPECT_POINTER("proposals", p, content);
  MASKRT_EXPECT_POINTER("proposals", p, rois);
  MASKRT_EXPECT_POINTER("proposals", p, count);
  MASKRT_EXPECT_RANGE("proposals", p, batch, 1, MASKRT_PROPOSALS_MAX_BATCH);
  MASKRT_EXPECT_RANGE("proposals", p, levels, 1, MASKRT_PROPOSALS_MAX_LEVELS);
  MASKRT_EXPECT_RANGE("proposals", p, num_rois, 1, MASKRT_PROPOSALS_MAX_ROIS);
  MASKRT_EXPECT_RANGE("proposals", p, threads, 0, std::numeric_limits<int32_t>::max());
  const struct {
    const char* name;
    float value;
  } numbers[] = {
      {"nms_threshold", p.nms_threshold},
      {"score_threshold", p.score_threshold},
      {"min_size", p.min_size},
      {"delta_clip", p.delta_clip},
  };
  for (const auto& number : numbers) {
    MASKRT_EXPECT(!std::isnan(number.value), "proposals: found %s nan, expected a number",
                  number.name);
  }
  for (int i = 0; i < 4; ++i) {
    MASKRT_EXPECT(std::isfinite(p.delta_weights[i]) && p.delta_weights[i] != 0.0f,
                  "proposals: found delta_weights[%d] %g, expected a finite one that is not 0", i,
                  static_cast<double>(p.delta_weights[i]));
  }
  for (int32_t l = 0; l < p.levels; ++l) {
    const MaskrtProposalsLevel& level = p.level[l];
    const struct {
      const char* name;
      int32_t value;
      int32_t low;
      int32_t high;
    } fields[] = {
        {"first_anchor", level.first_anchor, 0, MASKRT_PROPOSALS_MAX_ANCHORS - 1},
        {"anchors_per_cell", level.anchors_per_cell, 1,
         MASKRT_PROPOSALS_MAX_ANCHORS - level.first_anchor},
        {"grid_width", level.grid_width, 1, kMaxSide},
        {"stride_y", level.stride_y, 1, kMaxSide},
        {"stride_x", level.stride_x, 1, kMaxSide},
        {"top_k", level.top_k, 1, MASKRT_PROPOSALS_MAX_TOP_K},
    };
    for (const auto& field : fields) {
      MASKRT_EXPECT(field.value >= field.low && field.value <= field.high,
                    "proposals: found level[%d].%s %d, expected %d to %d", l, field.name,
                    field.value, field.low, field.high);
    }
  }
  return MASKRT_OK;
}

}  // namespace proposals
}  // namespace maskrt
