#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/export.h"

// Of a mask, in cells.
#define MASKRT_MASK_SELECT_MAX_SIDE 4096

struct MaskrtMaskSelectParams {
  size_t struct_size;     // sizeof(MaskrtMaskSelectParams), so that a stale caller is noticed
  const void* logits;     // [batch * slots, classes, height, width] of logits_type, as layout says
  const int32_t* labels;  // [batch, slots], positions among the classes; taken as 0 or as
                          // classes - 1 where they lie beyond
  const int32_t* count;   // [batch], masks that are real; the others become zeros
  void* masks;            // out: [batch, slots, height, width] of masks_type, contiguous
  int32_t batch;          // 1 or more
  int32_t slots;          // masks per frame, 1 or more
  int32_t classes;        // 1 or more; 1: class agnostic
  int32_t height;         // of a mask, 1 to MASKRT_MASK_SELECT_MAX_SIDE
  int32_t width;          // of a mask, same range
  int32_t logits_type;    // MASKRT_FLOAT32, MASKRT_FLOAT16 or MASKRT_BFLOAT16
  int32_t layout;         // of the logits, a MaskrtLayout
  int32_t
      channel_stride;  // MASKRT_CHANNELS_LAST: elements from a cell to the next, classes or more
  int32_t masks_type;  // MASKRT_FLOAT32, MASKRT_FLOAT16, or MASKRT_UINT8 (255 times as large)
  int32_t threads;     // CPU only; 0: as many as OpenMP would use; at most one per processor
};

// The probabilities of each detection's own class; see README.md. Returns a MaskrtStatus.
MASKRT_API int maskrt_mask_select(const struct MaskrtMaskSelectParams* params);
