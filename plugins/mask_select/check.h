// What the operator's params may be, on every target.
#pragma once

#include <cstdint>
#include <limits>

#include "common/status.h"
#include "mask_select/params.h"

namespace maskrt {
namespace mask_select {

inline int check(const MaskrtMaskSelectParams& p) {
  constexpr int32_t kMaxSide = MASKRT_MASK_SELECT_MAX_SIDE;
  constexpr int32_t kMax = std::numeric_limits<int32_t>::max();
  MASKRT_EXPECT_STRUCT("mask_select", p);
  MASKRT_EXPECT_POINTER("mask_select", p, logits);
  MASKRT_EXPECT_POINTER("mask_select", p, labels);
  MASKRT_EXPECT_POINTER("mask_select", p, count);
  MASKRT_EXPECT_POINTER("mask_select", p, masks);
  MASKRT_EXPECT_RANGE("mask_select", p, batch, 1, kMax);
  MASKRT_EXPECT_RANGE("mask_select", p, slots, 1, kMax);
  MASKRT_EXPECT_RANGE("mask_select", p, classes, 1, kMax);
  MASKRT_EXPECT_RANGE("mask_select", p, height, 1, kMaxSide);
  MASKRT_EXPECT_RANGE("mask_select", p, width, 1, kMaxSide);
  MASKRT_EXPECT(p.logits_type == MASKRT_FLOAT32 || p.logits_type == MASKRT_FLOAT16 ||
                    p.logits_type == MASKRT_BFLOAT16,
                "mask_select: found logits_type %d, expected 0 (float32), 1 (float16) or 7 "
                "(bfloat16)",
                p.logits_type);
  MASKRT_EXPECT(p.layout == MASKRT_LINEAR || p.layout == MASKRT_CHANNELS_LAST,
                "mask_select: found layout %d, expected 0 (linear) or 1 (channels last)", p.layout);
  MASKRT_EXPECT(p.layout == MASKRT_LINEAR || p.channel_stride >= p.classes,
                "mask_select: found a channel stride of %d, expected %d, the classes, or more",
                p.channel_stride, p.classes);
  MASKRT_EXPECT(p.masks_type == MASKRT_FLOAT32 || p.masks_type == MASKRT_FLOAT16 ||
                    p.masks_type == MASKRT_UINT8,
                "mask_select: found masks_type %d, expected 0 (float32), 1 (float16) or 5 (uint8)",
                p.masks_type);
  MASKRT_EXPECT_RANGE("mask_select", p, threads, 0, kMax);
  return MASKRT_OK;
}

}  // namespace mask_select
}  // namespace maskrt
