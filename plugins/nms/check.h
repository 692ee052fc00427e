// What the operator's params may be.
#pragma once

#include <cstdint>
#include <limits>

#include "common/status.h"
#include "nms/params.h"

namespace maskrt {
namespace nms {

inline int check(const MaskrtNmsParams& p) {
  constexpr int32_t kMax = std::numeric_limits<int32_t>::max();
  MASKRT_EXPECT_STRUCT("nms", p);
  MASKRT_EXPECT_RANGE("nms", p, count, 0, kMax);
  if (p.count > 0) {
    MASKRT_EXPECT_POINTER("nms", p, boxes);
    MASKRT_EXPECT_POINTER("nms", p, scores);
    MASKRT_EXPECT_POINTER("nms", p, groups);
    MASKRT_EXPECT_POINTER("nms", p, kept);
  }
  MASKRT_EXPECT_POINTER("nms", p, kept_count);
  MASKRT_EXPECT(p.threshold == p.threshold, "nms: found threshold nan, expected a number");
  MASKRT_EXPECT_RANGE("nms", p, threads, 0, kMax);
  return MASKRT_OK;
}

}  // namespace nms
}  // namespace maskrt
