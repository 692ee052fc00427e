// The arithmetic of DetectionNMS. Classes are counted without the background here, from 0.
#pragma once

#include <cstdint>

#include "common/box.h"
#include "common/host_device.h"
#include "detection_nms/params.h"

namespace maskrt {
namespace detection_nms {

// The softmax adds up in this many parts, class c in part c % kLanes, and then the parts in halves:
// the order of a warp, so that every target rounds alike.
constexpr int32_t kLanes = 32;

// Of the first class in the logits.
MASKRT_HOST_DEVICE inline int32_t first_class(const MaskrtDetectionNmsParams& p) {
  return p.background_first ? 1 : 0;
}

MASKRT_HOST_DEVICE inline int32_t live_rois(const MaskrtDetectionNmsParams& p, int64_t frame) {
  const int32_t count = p.roi_count[frame];
  return count < 0 ? 0 : count < p.slots ? count : p.slots;
}

// Best boxes that one class can have among the detections.
MASKRT_HOST_DEVICE inline int32_t class_limit(const MaskrtDetectionNmsParams& p) {
  return p.max_detections < p.slots ? p.max_detections : p.slots;
}

// The box that the deltas make of the RoI for the class.
MASKRT_HOST_DEVICE inline Box class_box(const MaskrtDetectionNmsParams& p, int64_t frame,
                                        int32_t roi, int32_t label) {
  const int64_t row = frame * p.slots + roi;
  int32_t column = label;
  if (p.delta_boxes == p.classes) column += first_class(p);
  if (p.delta_boxes == 1) column = 0;
  const Box box = decode(load_box(p.rois + 4 * row), p.deltas + 4 * (row * p.delta_boxes + column),
                         p.delta_weights, p.delta_clip);
  return clip_box(box, p.content[2 * frame], p.content[2 * frame + 1]);
}

}  // namespace detection_nms
}  // namespace maskrt
