#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/export.h"

#define MASKRT_PROPOSALS_MAX_LEVELS 8
#define MASKRT_PROPOSALS_MAX_ANCHORS 128
#define MASKRT_PROPOSALS_MAX_TOP_K 6080
#define MASKRT_PROPOSALS_MAX_ROIS 32768
#define MASKRT_PROPOSALS_MAX_BATCH 65535

struct MaskrtProposalsLevel {
  int32_t first_anchor;      // of its anchors, in `anchors`; 0 or more
  int32_t anchors_per_cell;  // 1 or more; first_anchor + anchors_per_cell: at most 128
  int32_t grid_width;        // cells in a row, 1 to 2^22
  int32_t stride_y;          // canvas pixels from a row to the next, 1 to 2^22
  int32_t stride_x;          // canvas pixels from a column to the next, 1 to 2^22
  int32_t top_k;             // candidates, 1 to MASKRT_PROPOSALS_MAX_TOP_K; the levels' sum is K
};

struct MaskrtProposalsParams {
  size_t struct_size;       // sizeof(MaskrtProposalsParams), so that a stale caller is noticed
  const float* objectness;  // [batch, K]: logits, the levels one after the other
  const float* deltas;      // [batch, K, 4]: (dx, dy, dw, dh)
  const int32_t* indices;   // [batch, K]: (row * grid_width + column) * anchors_per_cell + anchor;
                            // a candidate with a negative one is dropped
  const float* content;     // [batch, 2]: height and width that boxes are clipped to
  float* rois;              // out: [batch, num_rois, 4], xyxy in canvas pixels; 0 past the count
  int32_t* count;           // out: [batch], 0 to num_rois
  int32_t batch;            // 1 to MASKRT_PROPOSALS_MAX_BATCH
  int32_t levels;           // 1 to MASKRT_PROPOSALS_MAX_LEVELS
  int32_t num_rois;         // 1 to MASKRT_PROPOSALS_MAX_ROIS
  int32_t threads;          // CPU only; 0: as many as OpenMP would use; at most one a processor
  float nms_threshold;      // IoU above it suppresses; not NaN
  float score_threshold;    // objectness after the sigmoid must reach it; not NaN
  float min_size;           // both sides must reach it, canvas pixels; not NaN
  float delta_clip;         // upper bound of dw and dh; not NaN
  float delta_weights[4];   // divide the deltas; finite and not 0
  struct MaskrtProposalsLevel level[MASKRT_PROPOSALS_MAX_LEVELS];  // the first `levels` are used
  float anchors[MASKRT_PROPOSALS_MAX_ANCHORS][4];  // xyxy of the cell at the origin, all levels'
};

// Makes RoIs of the best candidates; see README.md. Returns a MaskrtStatus.
MASKRT_API int maskrt_proposals(const struct MaskrtProposalsParams* params);
