#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/export.h"

// Sides are at most this long: float32 then holds every position to a quarter of a pixel or better.
#define MASKRT_LETTERBOX_MAX_SIDE (1 << 22)

enum MaskrtLetterboxResize {
  MASKRT_LETTERBOX_TORCHVISION = 0,  // content rounded down; bilinear from the four nearest pixels
  MASKRT_LETTERBOX_DETECTRON2 = 1,   // content rounded to nearest; Pillow's antialiased bilinear
};

struct MaskrtLetterboxParams {
  size_t struct_size;     // sizeof(MaskrtLetterboxParams), so that a stale caller is noticed
  const uint8_t* frames;  // [batch, height, width, 3], laid out by the three strides below
  void* image;            // out: [batch, 3, canvas_height, canvas_width], contiguous
  float* scale;           // out: [batch, 2], (y, x), frame pixels per canvas pixel
  float* content;         // out: [batch, 2], height and width of the content, canvas pixels
  int64_t frame_stride;   // bytes from a frame to the next; any sign
  int64_t row_stride;     // bytes from a row to the next; any sign
  int64_t pixel_stride;   // bytes from a pixel to the next, 3 or more; its channels are adjacent
  int32_t batch;          // 1 or more
  int32_t height;         // of the frames, 1 to MASKRT_LETTERBOX_MAX_SIDE
  int32_t width;          // of the frames, same range
  int32_t canvas_height;  // same range
  int32_t canvas_width;   // same range
  int32_t min_size;       // bound of the content's short side; 0: none
  int32_t max_size;       // bound of the content's long side; 0: none
  int32_t swap_channels;  // not 0: the network wants the other channel order than the frames hold
  int32_t image_type;     // MASKRT_FLOAT32 or MASKRT_FLOAT16
  int32_t resize;         // a MaskrtLetterboxResize
  int32_t threads;        // CPU only; 0: as many as OpenMP would use; at most one per processor
  float mean[3];          // subtracted from pixel values (0 to 255), in the network's channel order
  float std[3];           // divides what is left; finite and not 0
};

// Brings frames onto the canvas; see README.md. Returns a MaskrtStatus.
MASKRT_API int maskrt_letterbox(const struct MaskrtLetterboxParams* params);
