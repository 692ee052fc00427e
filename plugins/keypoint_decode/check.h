// What the operator's params may be, on every target.
#pragma once

#include <cstdint>
#include <limits>

#include "common/status.h"
#include "keypoint_decode/params.h"

namespace maskrt {
namespace keypoint_decode {

inline int check(const MaskrtKeypointDecodeParams& p) {
  constexpr int32_t kMax = std::numeric_limits<int32_t>::max();
  MASKRT_EXPECT_STRUCT("keypoint_decode", p);
  MASKRT_EXPECT_POINTER("keypoint_decode", p, heatmaps);
  MASKRT_EXPECT_POINTER("keypoint_decode", p, boxes);
  MASKRT_EXPECT_POINTER("keypoint_decode", p, count);
  MASKRT_EXPECT_POINTER("keypoint_decode", p, scale);
  MASKRT_EXPECT_POINTER("keypoint_decode", p, keypoints);
  MASKRT_EXPECT_RANGE("keypoint_decode", p, batch, 1, kMax);
  MASKRT_EXPECT_RANGE("keypoint_decode", p, slots, 1, kMax);
  MASKRT_EXPECT_RANGE("keypoint_decode", p, points, 1, kMax);
  MASKRT_EXPECT_RANGE("keypoint_decode", p, height, 1, MASKRT_KEYPOINT_DECODE_MAX_SIDE);
  MASKRT_EXPECT_RANGE("keypoint_decode", p, width, 1, MASKRT_KEYPOINT_DECODE_MAX_SIDE);
  MASKRT_EXPECT(p.heatmaps_type == MASKRT_FLOAT32 || p.heatmaps_type == MASKRT_FLOAT16 ||
                    p.heatmaps_type == MASKRT_BFLOAT16,
                "keypoint_decode: found heatmaps_type %d, expected 0 (float32), 1 (float16) or 7 "
                "(bfloat16)",
                p.heatmaps_type);
  MASKRT_EXPECT(p.layout == MASKRT_LINEAR || p.layout == MASKRT_CHANNELS_LAST,
                "keypoint_decode: found layout %d, expected 0 (linear) or 1 (channels last)",
                p.layout);
  MASKRT_EXPECT(p.layout == MASKRT_LINEAR || p.channel_stride >= p.points,
                "keypoint_decode: found a channel stride of %d, expected %d, the points, or more",
                p.channel_stride, p.points);
  MASKRT_EXPECT(p.decode == MASKRT_KEYPOINT_TORCHVISION || p.decode == MASKRT_KEYPOINT_DETECTRON2,
                "keypoint_decode: found decode %d, expected 0 (torchvision) or 1 (detectron2)",
                p.decode);
  MASKRT_EXPECT_RANGE("keypoint_decode", p, threads, 0, kMax);
  return MASKRT_OK;
}

}  // namespace keypoint_decode
}  // namespace maskrt
