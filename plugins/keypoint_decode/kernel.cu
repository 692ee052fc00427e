// A block searches one heatmap. The extremes of a cell's taps bound its pixels, so only cells whose
// bound reaches the best pixel found so far are resized, each by a warp.

#include "common/exp.h"
#include "common/half.h"
#include "keypoint_decode/check.h"
#include "keypoint_decode/kernel.h"
#include "keypoint_decode/math.h"

namespace maskrt {
namespace keypoint_decode {
namespace {

constexpr int kWarp = 32;
constexpr int kWarps = 4;
constexpr int kThreads = kWarp * kWarps;
static_assert(kThreads == kSums, "a thread for each of the interleaved sums");

using Best = unsigned long long;  // a candidate, as atomicMax takes it

// What the block shares, besides the cells' first pixels and the heatmap.
struct Shared {
  Best best;       // pixel
  Best top;        // cell, by its bound
  int32_t listed;  // cells to be searched
  int32_t list[kThreads];
  float sums[kThreads];
};

// A heatmap in shared memory.
struct CopiedMap {
  const float* cells;
  int32_t height;
  int32_t width;

  __device__ float cell(int32_t i) const { return cells[i]; }
};

// One that is too large for it.
template <typename T>
struct GlobalMap {
  const T* cells;
  int64_t stride;
  int32_t height;
  int32_t width;

  __device__ float cell(int32_t i) const { return bounded(to_float(cells[i * stride])); }
};

// The four taps of a cell along an axis.
struct Taps {
  int32_t at[4];
};

__device__ Taps taps_of(int32_t cell, int32_t cells) {
  const int32_t last = cells - 1;
  return {{cell - 1 > 0 ? cell - 1 : 0, cell > 0 ? cell : 0, cell + 1 < last ? cell + 1 : last,
           cell + 2 < last ? cell + 2 : last}};
}

struct Extremes {
  float low;
  float high;
};

template <typename Map>
__device__ Extremes extremes_of(const Map& map, int32_t row, int32_t column) {
  const Taps rows = taps_of(row, map.height);
  const Taps columns = taps_of(column, map.width);
  Extremes found = {INFINITY, -INFINITY};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const float value = map.cell(rows.at[i] * map.width + columns.at[j]);
      found.low = value < found.low ? value : found.low;
      found.high = value > found.high ? value : found.high;
    }
  }
  return found;
}

// A pixel of the resized heatmap.
template <typename Map>
__device__ float resized(const Map& map, int32_t row, const Weights& vertical, int32_t column,
                         const Weights& horizontal) {
  const Taps rows = taps_of(row, map.height);
  const Taps columns = taps_of(column, map.width);
  float values[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int32_t first = rows.at[i] * map.width;
    values[i] =
        interpolate(map.cell(first + columns.at[0]), map.cell(first + columns.at[1]),
                    map.cell(first + columns.at[2]), map.cell(first + columns.at[3]), horizontal);
  }
  return interpolate(values[0], values[1], values[2], values[3], vertical);
}

__device__ Best larger(Best a, Best b) { return a > b ? a : b; }

// The first pixels of cells -1 and on, along both axes.
struct Starts {
  const int32_t* rows;
  const int32_t* columns;
};

// The best pixel of a cell, of those that this worker looks at.
template <typename Map>
__device__ Best search_cell(const Map& map, const Starts& starts, const Axis& x, const Axis& y,
                            int32_t cell, int32_t worker, int32_t workers) {
  const int32_t row = cell / (map.width + 1);
  const int32_t column = cell - row * (map.width + 1);
  const int32_t top = starts.rows[row];
  const int32_t left = starts.columns[column];
  const int32_t width = starts.columns[column + 1] - left;
  const int32_t pixels = (starts.rows[row + 1] - top) * width;
  Best best = 0;
  for (int32_t i = worker; i < pixels; i += workers) {
    const int32_t down = i / width;
    const int32_t py = top + down;
    const int32_t px = left + i - down * width;
    const Weights vertical = weights_of(position_of(py, y.scale, y.cells).share);
    const Weights horizontal = weights_of(position_of(px, x.scale, x.cells).share);
    const float value = resized(map, row - 1, vertical, column - 1, horizontal);
    best = larger(best, candidate(key_of(value), py * x.resized + px));
  }
  return best;
}

// Raises a shared number to the warp's largest.
__device__ void raise(Best* shared, Best mine) {
  for (int lanes = kWarp / 2; lanes > 0; lanes /= 2) {
    mine = larger(mine, __shfl_xor_sync(0xffffffffu, mine, lanes));
  }
  if (threadIdx.x % kWarp == 0) atomicMax(shared, mine);
}

template <typename Map>
__device__ Best search(const Map& map, const Starts& starts, const Axis& x, const Axis& y,
                       Shared& shared) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t warp = thread / kWarp;
  const int32_t lane = thread % kWarp;
  const int32_t row_cells = map.width + 1;
  const int32_t cells = (map.height + 1) * row_cells;

  // the cell with the highest bound gives the first pixel to beat
  Best top = 0;
  for (int32_t cell = thread; cell < cells; cell += kThreads) {
    const int32_t row = cell / row_cells;
    const int32_t column = cell - row * row_cells;
    if (starts.rows[row] == starts.rows[row + 1] ||
        starts.columns[column] == starts.columns[column + 1]) {
      continue;
    }
    const Extremes e = extremes_of(map, row - 1, column - 1);
    top = larger(top, candidate(key_of(upper_bound(e.low, e.high)), cell));
  }
  raise(&shared.top, top);
  __syncthreads();
  const int32_t top_cell = pixel_of(shared.top);
  const Extremes top_extremes =
      extremes_of(map, top_cell / row_cells - 1, top_cell % row_cells - 1);
  // a flat cell has one value: its first pixel stands for all
  const bool top_is_flat = top_extremes.low == top_extremes.high;
  if (!top_is_flat) {
    raise(&shared.best, search_cell(map, starts, x, y, top_cell, thread, kThreads));
  } else if (thread == 0) {
    shared.best =
        candidate(key_of(top_extremes.low), starts.rows[top_cell / row_cells] * x.resized +
                                                starts.columns[top_cell % row_cells]);
  }

  Best best = 0;
  for (int32_t chunk = 0; chunk < cells; chunk += kThreads) {
    __syncthreads();
    const int32_t enough = key_of(static_cast<uint64_t>(shared.best));
    const int32_t cell = chunk + thread;
    bool reaches = false;
    if (cell < cells && cell != top_cell) {
      const int32_t row = cell / row_cells;
      const int32_t column = cell - row * row_cells;
      const Extremes e = extremes_of(map, row - 1, column - 1);
      reaches = key_of(upper_bound(e.low, e.high)) >= enough &&
                starts.rows[row] < starts.rows[row + 1] &&
                starts.columns[column] < starts.columns[column + 1];
      if (reaches && e.low == e.high) {
        reaches = false;
        const int32_t pixel = starts.rows[row] * x.resized + starts.columns[column];
        best = larger(best, candidate(key_of(e.low), pixel));
      }
    }
    if (reaches) shared.list[atomicAdd(&shared.listed, 1)] = cell;
    __syncthreads();
    const int32_t listed = shared.listed;
    if (listed == 0) continue;  // all of the block, or none
    for (int32_t i = warp; i < listed; i += kWarps) {
      best = larger(best, search_cell(map, starts, x, y, shared.list[i], lane, kWarp));
    }
    raise(&shared.best, best);
    __syncthreads();
    if (thread == 0) shared.listed = 0;
  }
  __syncthreads();
  raise(&shared.best, best);
  __syncthreads();
  return shared.best;
}

// Of e^(logit - highest) over the heatmap's cells.
template <typename Map>
__device__ float softmax_sum(const Map& map, float highest, float* sums) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  float sum = 0.0f;
  for (int32_t i = thread; i < map.height * map.width; i += kSums) {
    sum += exponential(map.cell(i) - highest);
  }
  sums[thread] = sum;
  for (int32_t half = kSums / 2; half > 0; half /= 2) {
    __syncthreads();
    if (thread < half) sums[thread] += sums[thread + half];
  }
  __syncthreads();
  return sums[0];
}

struct Found {
  int32_t pixel;
  float score;
};

template <typename Map>
__device__ Found find(const Map& map, const Starts& starts, const Axis& x, const Axis& y,
                      int32_t decode, Shared& shared) {
  __syncthreads();  // what the block shares is there
  const uint64_t best = search(map, starts, x, y, shared);
  const float value = value_of(key_of(best));
  const bool softmax = decode == MASKRT_KEYPOINT_DETECTRON2;
  return {pixel_of(best), softmax ? 1.0f / softmax_sum(map, value, shared.sums) : value};
}

template <typename T, bool kCopies>
__global__ void __launch_bounds__(kThreads)
    decode_kernel(const __grid_constant__ MaskrtKeypointDecodeParams p) {
  Shared& shared = *shared_memory<Shared>();
  auto* const row_starts = reinterpret_cast<int32_t*>(&shared + 1);
  int32_t* const column_starts = row_starts + p.height + 2;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t area = p.height * p.width;
  const int64_t items = static_cast<int64_t>(p.batch) * p.slots * p.points;
  for (int64_t item = blockIdx.x; item < items; item += gridDim.x) {
    const int64_t detection = item / p.points;
    const int64_t frame = detection / p.slots;
    float* const out = p.keypoints + 3 * item;
    const float* const box = p.boxes + 4 * detection;
    const Axis x = axis_of(box[0], box[2], p.width);
    const Axis y = axis_of(box[1], box[3], p.height);
    if (detection % p.slots >= p.count[frame] || !is_usable(x) || !is_usable(y)) {
      if (thread < 3) out[thread] = 0.0f;
      continue;
    }
    const Cells cells = cells_of(detection, static_cast<int32_t>(item % p.points), p.points, area,
                                 p.channel_stride, p.layout == MASKRT_CHANNELS_LAST);
    const GlobalMap<T> source = {static_cast<const T*>(p.heatmaps) + cells.first, cells.stride,
                                 p.height, p.width};
    __syncthreads();  // the block is done with the item before
    for (int32_t cell = thread; cell < p.height + 2; cell += kThreads) {
      row_starts[cell] = first_pixel(cell - 1, y);
    }
    for (int32_t cell = thread; cell < p.width + 2; cell += kThreads) {
      column_starts[cell] = first_pixel(cell - 1, x);
    }
    if (thread == 0) {
      shared.best = 0;
      shared.top = 0;
      shared.listed = 0;
    }
    const Starts starts = {row_starts, column_starts};
    Found found;
    if constexpr (kCopies) {
      auto* const copy = reinterpret_cast<float*>(column_starts + p.width + 2);
      for (int32_t i = thread; i < area; i += kThreads) copy[i] = source.cell(i);
      found = find(CopiedMap{copy, p.height, p.width}, starts, x, y, p.decode, shared);
    } else {
      found = find(source, starts, x, y, p.decode, shared);
    }
    if (thread == 0) {
      const float* const scale = p.scale + 2 * frame;
      write_point(out, coordinate(found.pixel % x.resized, x, scale[1]),
                  coordinate(found.pixel / x.resized, y, scale[0]), found.score);
    }
  }
}

size_t shared_bytes(const MaskrtKeypointDecodeParams& p) {
  return sizeof(Shared) + (static_cast<size_t>(p.height) + p.width + 4) * sizeof(int32_t);
}

size_t copy_bytes(const MaskrtKeypointDecodeParams& p) {
  return static_cast<size_t>(p.height) * p.width * sizeof(float);
}

template <typename T>
cudaError_t launch_for(const MaskrtKeypointDecodeParams& p, cudaStream_t stream) {
  constexpr int64_t kMaxBlocks = 1 << 20;
  const int64_t items = static_cast<int64_t>(p.batch) * p.slots * p.points;
  const dim3 grid(static_cast<unsigned>(items < kMaxBlocks ? items : kMaxBlocks));
  const size_t bytes = shared_bytes(p);
  if (bytes + copy_bytes(p) <= kMaxSharedBytes) {
    return maskrt::launch(decode_kernel<T, true>, grid, dim3(kThreads), bytes + copy_bytes(p),
                          stream, p);
  }
  return maskrt::launch(decode_kernel<T, false>, grid, dim3(kThreads), bytes, stream, p);
}

}  // namespace

size_t workspace_bytes(const MaskrtKeypointDecodeParams&) { return 0; }

cudaError_t launch(const MaskrtKeypointDecodeParams& p, void*, cudaStream_t stream) {
  if (p.heatmaps_type == MASKRT_FLOAT16) return launch_for<Half>(p, stream);
  if (p.heatmaps_type == MASKRT_BFLOAT16) return launch_for<BFloat16>(p, stream);
  return launch_for<float>(p, stream);
}

}  // namespace keypoint_decode
}  // namespace maskrt

MASKRT_CUDA_INTERFACE(keypoint_decode, MaskrtKeypointDecodeParams)
