// What the NMS kernels share: every thread of a block, or every lane of a warp, calls these
// together. Blocks are one row of threads, a multiple of 32 of them.
#pragma once

#include <cstdint>

#include "common/cuda.h"

namespace maskrt {

constexpr uint32_t kAllLanes = 0xffffffffu;
constexpr int32_t kNmsChunk = 64;  // candidates that are decided together, one bit each

// Places in a list for the threads that have something to append, in the order of the threads.
// `warp_counts` is shared memory, 32 numbers; `length` is the list's, the same in every thread.
__device__ inline int32_t append_place(bool appends, int32_t* warp_counts, int32_t* length) {
  const uint32_t lane = threadIdx.x % 32;
  const uint32_t warp = threadIdx.x / 32;
  const uint32_t ballot = __ballot_sync(kAllLanes, appends);
  if (lane == 0) warp_counts[warp] = __popc(ballot);
  __syncthreads();
  int32_t place = *length + __popc(ballot & ((1u << lane) - 1));
  for (uint32_t w = 0; w < blockDim.x / 32; ++w) {
    const int32_t here = warp_counts[w];
    place += w < warp ? here : 0;
    *length += here;
  }
  __syncthreads();
  return place;
}

// Ascending, in shared memory. Bitonic; what is sorted already, as candidates from a TopK are, only
// costs a look.
//
// Every comparison puts the lower key first: where the first one of a merge would read the second
// half backwards, it pairs keys from both ends. So keys that fill the count up to a power of two,
// above all others, would never move, and need not be there.
__device__ inline void sort_keys(uint64_t* keys, int32_t count) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const auto threads = static_cast<int32_t>(blockDim.x);
  bool sorted = true;
  for (int32_t i = thread; i + 1 < count; i += threads) sorted &= keys[i] <= keys[i + 1];
  if (__syncthreads_and(sorted)) return;
  for (int32_t size = 2; size < 2 * count; size *= 2) {
    for (int32_t distance = size / 2; distance > 0; distance /= 2) {
      const int32_t apart = distance == size / 2 ? size - 1 : distance;
      for (int32_t i = thread;; i += threads) {
        const int32_t low = 2 * i - (i & (distance - 1));
        if (low >= count) break;
        const int32_t high = low ^ apart;
        if (high >= count) continue;
        const uint64_t a = keys[low];
        const uint64_t b = keys[high];
        if (a > b) {
          keys[low] = b;
          keys[high] = a;
        }
      }
      __syncthreads();
    }
  }
}

// Greedy NMS within a chunk of candidates, by one warp: the bits of those that stay. Lane l answers
// for the candidates l and l + 32: `first` and `second` are the bits of the earlier candidates that
// overlap them.
//
// Instead of one candidate after the other, each round decides on all that no undecided one
// overlaps: it takes as many rounds as the longest chain of overlaps, at most one per candidate.
__device__ inline uint64_t greedy_chunk(uint64_t undecided, uint64_t first, uint64_t second) {
  const uint32_t lane = threadIdx.x % 32;
  uint64_t kept = 0;
  while (undecided) {
    const bool first_open = undecided >> lane & 1;
    const bool second_open = undecided >> (lane + 32) & 1;
    const bool first_stays = first_open && !(first & undecided);
    const bool second_stays = second_open && !(second & undecided);
    const uint32_t low = __ballot_sync(kAllLanes, first_stays);
    const uint32_t high = __ballot_sync(kAllLanes, second_stays);
    kept |= static_cast<uint64_t>(high) << 32 | low;
    const uint32_t low_left =
        __ballot_sync(kAllLanes, first_open && !first_stays && !(first & kept));
    const uint32_t high_left =
        __ballot_sync(kAllLanes, second_open && !second_stays && !(second & kept));
    undecided = static_cast<uint64_t>(high_left) << 32 | low_left;
  }
  return kept;
}

// Bits of a chunk's first candidates.
__device__ inline uint64_t chunk_bits(int32_t candidates) {
  return candidates >= kNmsChunk ? ~uint64_t{0} : (uint64_t{1} << candidates) - 1;
}

}  // namespace maskrt
