#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/export.h"

// Of a mask, in cells.
#define MASKRT_PASTE_MASKS_MAX_SIDE 4096
// Of the frame, in pixels: float32 then holds every pixel's centre.
#define MASKRT_PASTE_MASKS_MAX_FRAME (1 << 22)

enum MaskrtPasteConvention {
  MASKRT_PASTE_TORCHVISION = 0,  // roi_heads.paste_masks_in_image; on where above the threshold
  MASKRT_PASTE_DETECTRON2 = 1,   // layers/mask_ops.py; on where at the threshold or above
};

enum MaskrtPasteMode {
  MASKRT_PASTE_CROPS = 0,      // the region of each instance, one after the other
  MASKRT_PASTE_LABEL_MAP = 1,  // one frame of instance numbers
};

struct MaskrtPasteRegionsParams {
  size_t struct_size;   // sizeof(MaskrtPasteRegionsParams), so that a stale caller is noticed
  const float* boxes;   // [instances, 4], xyxy in frame pixels; any values
  int32_t* regions;     // out: [instances, 4], (x, y, width, height), within the frame; all 0 where
                        // a box is not finite, lies outside of the frame or has no area
  int64_t* offsets;     // out: [instances + 1], where each region's bytes start in a buffer that
                        // holds all of them; the last is the size of that buffer
  int32_t instances;    // 0 or more
  int32_t mask_height;  // 1 to MASKRT_PASTE_MASKS_MAX_SIDE
  int32_t mask_width;   // same range
  int32_t frame_height;  // 1 to MASKRT_PASTE_MASKS_MAX_FRAME
  int32_t frame_width;   // same range
  int32_t convention;    // a MaskrtPasteConvention
};

struct MaskrtPasteMasksParams {
  size_t struct_size;      // sizeof(MaskrtPasteMasksParams), so that a stale caller is noticed
  const void* masks;       // [instances, mask_height, mask_width] of masks_type, probabilities
  const float* boxes;      // [instances, 4], xyxy in frame pixels; any values
  const int32_t* count;    // [1], instances that are real, taken as 0 or instances where beyond;
                           // null: all of them
  const int32_t* regions;  // crops: [instances, 4] from maskrt_paste_regions; else not read
  const int64_t* offsets;  // crops: [instances] from maskrt_paste_regions; else not read
  void* out;               // out: crops: bytes 0 and 1, each region's rows one after the other, at
                           // its offset; label map: [frame_height, frame_width] of label_bytes
                           // each, 0: background, i + 1: instance i; the first lies on top
  int64_t out_bytes;       // size of out
  int32_t instances;       // 0 or more; label map: below 2^(8 label_bytes)
  int32_t mask_height;     // 1 to MASKRT_PASTE_MASKS_MAX_SIDE
  int32_t mask_width;      // same range
  int32_t frame_height;    // 1 to MASKRT_PASTE_MASKS_MAX_FRAME
  int32_t frame_width;     // same range
  int32_t masks_type;      // MASKRT_FLOAT32, or MASKRT_UINT8: 255 times the probability
  int32_t mode;            // a MaskrtPasteMode
  int32_t label_bytes;     // label map: 1 or 2, of an unsigned integer; else not read
  int32_t convention;      // a MaskrtPasteConvention
  int32_t threads;         // CPU only; 0: as many as OpenMP would use; at most one per processor
  float threshold;         // of the probability; finite
};

// How much of the frame each mask can reach, and how large a buffer must be for all crops. Of the
// CPU library only; a caller that keeps its boxes on the device needs them on the host for this.
// Returns a MaskrtStatus.
MASKRT_API int maskrt_paste_regions(const struct MaskrtPasteRegionsParams* params);

// Brings masks into the frame; see README.md. Returns a MaskrtStatus.
MASKRT_API int maskrt_paste_masks(const struct MaskrtPasteMasksParams* params);
