// How the CPU operator reads and shares out a frame.
#pragma once

#include <cstdint>
#include <cstring>

namespace maskrt {
namespace letterbox {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "channel() takes channels from low bytes");

constexpr int32_t kBandRows = 32;  // canvas rows that one thread takes at a time

// All channels of a pixel, and a byte that follows it in memory: not for a row's last pixel.
inline uint32_t load4(const uint8_t* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

// As a signed integer, which every instruction set converts to float.
inline int32_t channel(uint32_t pixel, int32_t shift) {
  return static_cast<int32_t>((pixel >> shift) & 255u);
}

}  // namespace letterbox
}  // namespace maskrt
