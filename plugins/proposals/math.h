// The arithmetic of Proposals: anchors as torchvision's AnchorGenerator lays them out.
#pragma once

#include <cstdint>

#include "common/box.h"
#include "common/host_device.h"
#include "proposals/params.h"

namespace maskrt {
namespace proposals {

struct Position {
  int32_t anchor;  // in the params' list
  int32_t row;
  int32_t column;
};

// Of an index that is not negative.
MASKRT_HOST_DEVICE inline Position position_of(int32_t index, const MaskrtProposalsLevel& level) {
  const auto per_cell = static_cast<uint32_t>(level.anchors_per_cell);
  const auto columns = static_cast<uint32_t>(level.grid_width);
  const uint32_t cell = static_cast<uint32_t>(index) / per_cell;
  const uint32_t row = cell / columns;
  return {level.first_anchor + static_cast<int32_t>(static_cast<uint32_t>(index) - cell * per_cell),
          static_cast<int32_t>(row), static_cast<int32_t>(cell - row * columns)};
}

// The anchor moved to its cell. In float32, which is exact on every canvas.
MASKRT_HOST_DEVICE inline Box anchor_box(const Position& at, const MaskrtProposalsLevel& level,
                                         const float (*anchors)[4]) {
  const float x = static_cast<float>(at.column) * static_cast<float>(level.stride_x);
  const float y = static_cast<float>(at.row) * static_cast<float>(level.stride_y);
  const float* const base = anchors[at.anchor];
  return {base[0] + x, base[1] + y, base[2] + x, base[3] + y};
}

// False for NaN too.
MASKRT_HOST_DEVICE inline bool is_valid(const Box& box, float score, float score_threshold,
                                        float min_size) {
  return (score >= score_threshold) & is_large(box, min_size);
}

}  // namespace proposals
}  // namespace maskrt
