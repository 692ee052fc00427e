// What the operator's params may be, on every target.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "common/status.h"
#include "detection_nms/params.h"

namespace maskrt {
namespace detection_nms {

inline int check(const MaskrtDetectionNmsParams& p) {
  MASKRT_EXPECT_STRUCT("detection_nms", p);
  MASKRT_EXPECT_POINTER("detection_nms", p, logits);
  MASKRT_EXPECT_POINTER("detection_nms", p, deltas);
  MASKRT_EXPECT_POINTER("detection_nms", p, rois);
  MASKRT_EXPECT_POINTER("detection_nms", p, roi_count);
  MASKRT_EXPECT_POINTER("detection_nms", p, content);
  MASKRT_EXPECT_POINTER("detection_nms", p, score_threshold);
  MASKRT_EXPECT_POINTER("detection_nms", p, nms_threshold);
  MASKRT_EXPECT_POINTER("detection_nms", p, boxes);
  MASKRT_EXPECT_POINTER("detection_nms", p, scores);
  MASKRT_EXPECT_POINTER("detection_nms", p, labels);
  MASKRT_EXPECT_POINTER("detection_nms", p, count);
  MASKRT_EXPECT_RANGE("detection_nms", p, batch, 1, MASKRT_DETECTION_NMS_MAX_BATCH);
  MASKRT_EXPECT_RANGE("detection_nms", p, slots, 1, MASKRT_DETECTION_NMS_MAX_SLOTS);
  MASKRT_EXPECT_RANGE("detection_nms", p, classes, 2, MASKRT_DETECTION_NMS_MAX_CLASSES);
  MASKRT_EXPECT(
      p.delta_boxes == p.classes || p.delta_boxes == p.classes - 1 || p.delta_boxes == 1,
      "detection_nms: found delta_boxes %d, expected %d (one for each class), %d (one for each "
      "class but the background) or 1 (class agnostic)",
      p.delta_boxes, p.classes, p.classes - 1);
  MASKRT_EXPECT_RANGE("detection_nms", p, max_detections, 1, MASKRT_DETECTION_NMS_MAX_DETECTIONS);
  MASKRT_EXPECT_RANGE("detection_nms", p, threads, 0, std::numeric_limits<int32_t>::max());
  MASKRT_EXPECT(!std::isnan(p.min_size), "detection_nms: found min_size nan, expected a number");
  MASKRT_EXPECT(!std::isnan(p.delta_clip),
                "detection_nms: found delta_clip nan, expected a number");
  for (int i = 0; i < 4; ++i) {
    MASKRT_EXPECT(std::isfinite(p.delta_weights[i]) && p.delta_weights[i] != 0.0f,
                  "detection_nms: found delta_weights[%d] %g, expected a finite one that is not 0",
                  i, static_cast<double>(p.delta_weights[i]));
  }
  return MASKRT_OK;
}

}  // namespace detection_nms
}  // namespace maskrt
