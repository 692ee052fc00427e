// What the operator's params may be, on every target.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "common/status.h"
#include "letterbox/params.h"

namespace maskrt {
namespace letterbox {

inline int check(const MaskrtLetterboxParams& p) {
  constexpr int32_t kMaxSide = MASKRT_LETTERBOX_MAX_SIDE;
  MASKRT_EXPECT_STRUCT("letterbox", p);
  MASKRT_EXPECT_POINTER("letterbox", p, frames);
  MASKRT_EXPECT_POINTER("letterbox", p, image);
  MASKRT_EXPECT_POINTER("letterbox", p, scale);
  MASKRT_EXPECT_POINTER("letterbox", p, content);
  MASKRT_EXPECT(p.batch >= 1, "letterbox: found a batch of %d, expected 1 or more", p.batch);
  const struct {
    const char* name;
    int32_t value;
    int32_t low;
  } sides[] = {
      {"frame height", p.height, 1},         {"frame width", p.width, 1},
      {"canvas height", p.canvas_height, 1}, {"canvas width", p.canvas_width, 1},
      {"min_size", p.min_size, 0},           {"max_size", p.max_size, 0},
  };
  for (const auto& side : sides) {
    MASKRT_EXPECT(side.value >= side.low && side.value <= kMaxSide,
                  "letterbox: found %s %d, expected %d to %d", side.name, side.value, side.low,
                  kMaxSide);
  }
  MASKRT_EXPECT(
      p.pixel_stride >= 3 && p.pixel_stride <= std::numeric_limits<int32_t>::max() / p.width,
      "letterbox: found a pixel stride of %lld bytes, expected 3 or more, and rows that "
      "span less than 2 GiB",
      static_cast<long long>(p.pixel_stride));
  MASKRT_EXPECT(p.image_type == MASKRT_FLOAT32 || p.image_type == MASKRT_FLOAT16,
                "letterbox: found image_type %d, expected 0 (float32) or 1 (float16)",
                p.image_type);
  MASKRT_EXPECT(p.resize == MASKRT_LETTERBOX_TORCHVISION || p.resize == MASKRT_LETTERBOX_DETECTRON2,
                "letterbox: found resize %d, expected 0 (torchvision) or 1 (detectron2)", p.resize);
  MASKRT_EXPECT(p.threads >= 0, "letterbox: found %d threads, expected 0 (all) or more", p.threads);
  for (int c = 0; c < 3; ++c) {
    MASKRT_EXPECT(std::isfinite(p.mean[c]), "letterbox: found mean[%d] %g, expected a finite one",
                  c, static_cast<double>(p.mean[c]));
    MASKRT_EXPECT(std::isfinite(p.std[c]) && p.std[c] != 0.0f,
                  "letterbox: found std[%d] %g, expected a finite one that is not 0", c,
                  static_cast<double>(p.std[c]));
  }
  return MASKRT_OK;
}

}  // namespace letterbox
}  // namespace maskrt
