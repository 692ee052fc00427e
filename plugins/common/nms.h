// Sort keys: ascending keys are descending scores, and among equal scores ascending indices.
#pragma once

#include <cstdint>

#include "common/half.h"
#include "common/host_device.h"

namespace maskrt {

// The score must not be negative, nor NaN: such floats order like their bits.
MASKRT_HOST_DEVICE inline uint64_t score_key(float score, uint32_t index) {
  // -0 + 0 is +0
  return static_cast<uint64_t>(~float_to_bits(score + 0.0f)) << 32 | index;
}

MASKRT_HOST_DEVICE inline float key_score(uint64_t key) {
  return bits_to_float(~static_cast<uint32_t>(key >> 32));
}

MASKRT_HOST_DEVICE inline uint32_t key_index(uint64_t key) { return static_cast<uint32_t>(key); }

}  // namespace maskrt
