// What the operator's params may be, on every target.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "common/status.h"
#include "paste_masks/params.h"

namespace maskrt {
namespace paste_masks {

constexpr int32_t kMax = std::numeric_limits<int32_t>::max();

// What both params structs hold.
template <typename Params>
int check_common(const Params& p) {
  MASKRT_EXPECT_POINTER("paste_masks", p, boxes);
  MASKRT_EXPECT_RANGE("paste_masks", p, instances, 0, kMax);
  MASKRT_EXPECT_RANGE("paste_masks", p, mask_height, 1, MASKRT_PASTE_MASKS_MAX_SIDE);
  MASKRT_EXPECT_RANGE("paste_masks", p, mask_width, 1, MASKRT_PASTE_MASKS_MAX_SIDE);
  MASKRT_EXPECT_RANGE("paste_masks", p, frame_height, 1, MASKRT_PASTE_MASKS_MAX_FRAME);
  MASKRT_EXPECT_RANGE("paste_masks", p, frame_width, 1, MASKRT_PASTE_MASKS_MAX_FRAME);
  MASKRT_EXPECT(p.convention == MASKRT_PASTE_TORCHVISION || p.convention == MASKRT_PASTE_DETECTRON2,
                "paste_masks: found convention %d, expected 0 (torchvision) or 1 (detectron2)",
                p.convention);
  return MASKRT_OK;
}

inline int check(const MaskrtPasteRegionsParams& p) {
  MASKRT_EXPECT_STRUCT("paste_regions", p);
  MASKRT_EXPECT_POINTER("paste_regions", p, regions);
  MASKRT_EXPECT_POINTER("paste_regions", p, offsets);
  return check_common(p);
}

inline int check(const MaskrtPasteMasksParams& p) {
  MASKRT_EXPECT_STRUCT("paste_masks", p);
  MASKRT_EXPECT_POINTER("paste_masks", p, masks);
  MASKRT_EXPECT_POINTER("paste_masks", p, out);
  const int status = check_common(p);
  if (status != MASKRT_OK) return status;
  MASKRT_EXPECT(p.masks_type == MASKRT_FLOAT32 || p.masks_type == MASKRT_UINT8,
                "paste_masks: found masks_type %d, expected 0 (float32) or 5 (uint8)",
                p.masks_type);
  MASKRT_EXPECT(p.mode == MASKRT_PASTE_CROPS || p.mode == MASKRT_PASTE_LABEL_MAP,
                "paste_masks: found mode %d, expected 0 (crops) or 1 (label map)", p.mode);
  if (p.mode == MASKRT_PASTE_CROPS) {
    MASKRT_EXPECT_POINTER("paste_masks", p, regions);
    MASKRT_EXPECT_POINTER("paste_masks", p, offsets);
    MASKRT_EXPECT(p.out_bytes >= 0, "paste_masks: found out_bytes %lld, expected 0 or more",
                  static_cast<long long>(p.out_bytes));
  } else {
    MASKRT_EXPECT_RANGE("paste_masks", p, label_bytes, 1, 2);
    MASKRT_EXPECT(p.instances < 1 << 8 * p.label_bytes,
                  "paste_masks: found %d instances and labels of %d bytes, expected fewer than %d "
                  "instances or larger labels",
                  p.instances, p.label_bytes, 1 << 8 * p.label_bytes);
    const int64_t needed = static_cast<int64_t>(p.frame_height) * p.frame_width * p.label_bytes;
    MASKRT_EXPECT(p.out_bytes == needed, "paste_masks: found out_bytes %lld, expected %lld",
                  static_cast<long long>(p.out_bytes), static_cast<long long>(needed));
  }
  MASKRT_EXPECT(std::isfinite(p.threshold),
                "paste_masks: found threshold %g, expected a finite one",
                static_cast<double>(p.threshold));
  MASKRT_EXPECT_RANGE("paste_masks", p, threads, 0, kMax);
  return MASKRT_OK;
}

}  // namespace paste_masks
}  // namespace maskrt
