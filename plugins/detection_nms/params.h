#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/export.h"

#define MASKRT_DETECTION_NMS_MAX_SLOTS 4096
#define MASKRT_DETECTION_NMS_MAX_CLASSES 65536
#define MASKRT_DETECTION_NMS_MAX_DETECTIONS 4096
#define MASKRT_DETECTION_NMS_MAX_BATCH 65535

struct MaskrtDetectionNmsParams {
  size_t struct_size;            // sizeof(MaskrtDetectionNmsParams): a stale caller is noticed
  const float* logits;           // [batch, slots, classes], the background among the classes
  const float* deltas;           // [batch, slots, delta_boxes, 4]: (dx, dy, dw, dh)
  const float* rois;             // [batch, slots, 4], xyxy in canvas pixels
  const int32_t* roi_count;      // [batch], RoIs that are real; taken as 0 to slots
  const float* content;          // [batch, 2]: height and width that boxes are clipped to
  const float* score_threshold;  // one number, scores must be above it; NaN: none is
  const float* nms_threshold;    // one number, IoU above it suppresses; NaN: none is
  float* boxes;                  // out: [batch, max_detections, 4], best first; 0 past the count
  float* scores;                 // out: [batch, max_detections]
  int32_t* labels;               // out: [batch, max_detections], positions in the logits
  int32_t* count;                // out: [batch], 0 to max_detections
  int32_t batch;                 // 1 to MASKRT_DETECTION_NMS_MAX_BATCH
  int32_t slots;                 // RoIs of a frame, 1 to MASKRT_DETECTION_NMS_MAX_SLOTS
  int32_t classes;               // 2 to MASKRT_DETECTION_NMS_MAX_CLASSES
  int32_t delta_boxes;           // classes, classes - 1 (no background) or 1 (class agnostic)
  int32_t max_detections;        // 1 to MASKRT_DETECTION_NMS_MAX_DETECTIONS
  int32_t background_first;      // not 0: the background is class 0; otherwise it is the last one
  int32_t threads;         // CPU only; 0: as many as OpenMP would use; at most one a processor
  float min_size;          // both sides must reach it, canvas pixels; not NaN
  float delta_clip;        // upper bound of dw and dh; not NaN
  float delta_weights[4];  // divide the deltas; finite and not 0
};

// Makes detections of logits and deltas; see README.md. Returns a MaskrtStatus.
MASKRT_API int maskrt_detection_nms(const struct MaskrtDetectionNmsParams* params);
