#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/export.h"

// Of a heatmap, in cells.
#define MASKRT_KEYPOINT_DECODE_MAX_SIDE 1024

enum MaskrtKeypointScore {
  MASKRT_KEYPOINT_TORCHVISION = 0,  // the score is the logit at the point
  MASKRT_KEYPOINT_DETECTRON2 = 1,   // the logit's softmax, normalised over the heatmap's cells
};

struct MaskrtKeypointDecodeParams {
  size_t struct_size;      // sizeof(MaskrtKeypointDecodeParams), so that a stale caller is noticed
  const void* heatmaps;    // logits [batch * slots, points, height, width] of heatmaps_type, as
                           // layout says
  const float* boxes;      // [batch, slots, 4], xyxy in canvas pixels; any values
  const int32_t* count;    // [batch], detections that are real; the others become zeros
  const float* scale;      // [batch, 2], (y, x), frame pixels per canvas pixel
  float* keypoints;        // out: [batch, slots, points, 3], x and y in frame pixels, and the score
  int32_t batch;           // 1 or more
  int32_t slots;           // detections per frame, 1 or more
  int32_t points;          // keypoints per detection, 1 or more
  int32_t height;          // of a heatmap, 1 to MASKRT_KEYPOINT_DECODE_MAX_SIDE
  int32_t width;           // of a heatmap, same range
  int32_t heatmaps_type;   // MASKRT_FLOAT32, MASKRT_FLOAT16 or MASKRT_BFLOAT16
  int32_t layout;          // of the heatmaps, a MaskrtLayout
  int32_t channel_stride;  // MASKRT_CHANNELS_LAST: elements from a cell to the next, points or more
  int32_t decode;          // a MaskrtKeypointScore
  int32_t threads;         // CPU only; 0: as many as OpenMP would use; at most one per processor
};

// The best point of each heatmap, resized to its box; see README.md. Returns a MaskrtStatus.
MASKRT_API int maskrt_keypoint_decode(const struct MaskrtKeypointDecodeParams* params);
