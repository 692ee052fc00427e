// A block pools one RoI. Its first threads work out the taps of all bins, once for all channels and
// for both axes apart, into shared memory.
//
// Channels last: a thread holds a few neighbouring channels, one vector load, and walks along a row
// of bins. It sums the rows of a column of cells, then spreads that column to the bins that touch
// it: neighbouring bins share columns, which are then summed once.
//
// Linear: a thread holds one bin and a few channels; each tap's weight and offset serve all of
// them.

#include "common/half.h"
#include "roi_align/check.h"
#include "roi_align/kernel.h"
#include "roi_align/pack.h"
#include "roi_align/pool_device.h"

namespace maskrt {
namespace roi_align {
namespace {

constexpr int kThreads = 256;
constexpr int kPlanes = 4;              // channels of a thread at a time, linear
constexpr int kChannelsOfABlock = 128;  // linear

struct Job {
  Pool pool;
  int32_t y_capacity;
};

struct Header {
  int64_t image;  // bytes from the map's begin to that of the RoI's image
  int32_t level;
  int32_t plane;  // cells
  int32_t row;    // elements from a row of cells to the next
  int32_t cell;   // elements from a cell to the next
  float requantize;
};
static_assert(sizeof(Header) <= kHeaderBytes, "table_bytes() counts kHeaderBytes");

// What the threads of a block share; `begin` and `end` are a bin's taps, y bins come first.
struct Tables {
  Header* header;
  int32_t* begin;
  int32_t* end;
  Tap* y;  // cell: elements from the map's first row
  Tap* x;  // cell: elements from the row's first cell
};

__device__ __forceinline__ Tables tables_of(const Job& job) {
  unsigned char* const base = maskrt::shared_memory<unsigned char>();
  const int32_t bins = job.pool.output_height + job.pool.output_width;
  Tables t;
  t.header = reinterpret_cast<Header*>(base);
  t.begin = reinterpret_cast<int32_t*>(base + kHeaderBytes);
  t.end = t.begin + bins;
  t.y = reinterpret_cast<Tap*>(t.end + bins);
  t.x = t.y + job.y_capacity;
  return t;
}

struct Counter {
  int32_t count;
  __device__ void operator()(int32_t, float) { ++count; }
};

struct Writer {
  Tap* at;
  int32_t stride;
  float factor;
  __device__ void operator()(int32_t cell, float weight) {
    *at++ = {cell * stride, weight * factor};
  }
};

// One bin of one axis of the block's RoI.
struct Bin {
  Axis axis;
  int32_t index;
  int32_t side;
};

__device__ __forceinline__ Bin bin_of(const Pool& p, const Place& where, int32_t bin) {
  const MaskrtFeatureMap& map = p.maps[where.level];
  const bool is_y = bin < p.output_height;
  return {is_y ? where.y : where.x, is_y ? bin : bin - p.output_height,
          is_y ? map.height : map.width};
}

// Fills the tables; ends with a barrier. With kPairs the rows of a bin are made even in number, by
// one without weight.
template <bool kPairs>
__device__ __forceinline__ void prepare(const Job& job, const Tables& t, int32_t roi) {
  const Pool& p = job.pool;
  const int32_t bins = p.output_height + p.output_width;
  const auto thread = static_cast<int32_t>(threadIdx.y * blockDim.x + threadIdx.x);
  const auto threads = static_cast<int32_t>(blockDim.x * blockDim.y);
  Place where = {};
  Header header = {};
  if (thread < bins) {
    where = place(p, roi);
    const MaskrtFeatureMap& map = p.maps[where.level];
    const bool linear = p.layout == MASKRT_LINEAR;
    header.level = where.level;
    header.plane = map.height * map.width;
    header.cell = linear ? 1 : p.cell_stride;
    header.row = map.width * header.cell;
    header.requantize = requantization(p, where.level);
    if (thread == 0) {
      const int64_t bytes = p.type == MASKRT_FLOAT32 ? 4 : p.type == MASKRT_INT8 ? 1 : 2;
      header.image = bytes * where.image * map_elements(p, where.level);
      *t.header = header;
    }
  }
  if (p.sampling_ratio == 0) {
    for (int32_t b = thread; b < bins; b += threads) {
      const Bin bin = bin_of(p, where, b);
      Counter counter = {0};
      for_each_tap(bin.axis, bin.index, bin.side, counter);
      const bool pad = kPairs && b < p.output_height && counter.count % 2 != 0;
      t.end[b] = counter.count + pad;
    }
    __syncthreads();
    for (int32_t b = thread; b < bins; b += threads) {
      int32_t before = 0;
      for (int32_t i = b < p.output_height ? 0 : p.output_height; i < b; ++i) before += t.end[i];
      t.begin[b] = before;
    }
    __syncthreads();
  }
  for (int32_t b = thread; b < bins; b += threads) {
    const Bin bin = bin_of(p, where, b);
    const bool is_y = b < p.output_height;
    const int32_t first = p.sampling_ratio == 0 ? t.begin[b] : bin.index * 2 * p.sampling_ratio;
    Tap* const taps = (is_y ? t.y : t.x) + first;
    // the requantisation goes with the columns' weights
    Writer writer = {taps, is_y ? header.row : header.cell, is_y ? 1.0f : header.requantize};
    for_each_tap(bin.axis, bin.index, bin.side, writer);
    if (kPairs && is_y && (writer.at - taps) % 2 != 0) {
      *writer.at = {writer.at[-1].cell, 0.0f};
      ++writer.at;
    }
    t.begin[b] = first;
    t.end[b] = first + static_cast<int32_t>(writer.at - taps);
  }
  __syncthreads();
}

template <typename T>
__device__ __forceinline__ const T* map_of(const Pool& p, const Header& header) {
  return reinterpret_cast<const T*>(static_cast<const unsigned char*>(p.maps[header.level].data) +
                                    header.image);
}

// A column's cells, weighted by rows: one pair or more, so that two loads are under way.
template <typename T, int N>
__device__ __forceinline__ void sum_rows(const T* cells, const Tap* row, const Tap* end,
                                         float (&column)[N]) {
  float a[N], b[N];
  Tap first = row[0], second = row[1];
  Pack<T, N>::load(cells + first.cell, a);
  Pack<T, N>::load(cells + second.cell, b);
#pragma unroll
  for (int i = 0; i < N; ++i) column[i] = first.weight * a[i];
#pragma unroll
  for (int i = 0; i < N; ++i) column[i] = fmaf(second.weight, b[i], column[i]);
#pragma unroll 1
  for (row += 2; row != end; row += 2) {
    first = row[0];
    second = row[1];
    Pack<T, N>::load(cells + first.cell, a);
    Pack<T, N>::load(cells + second.cell, b);
#pragma unroll
    for (int i = 0; i < N; ++i) column[i] = fmaf(first.weight, a[i], column[i]);
#pragma unroll
    for (int i = 0; i < N; ++i) column[i] = fmaf(second.weight, b[i], column[i]);
  }
}

template <typename T, int N>
__global__ void __launch_bounds__(kThreads, N == 16 ? 3 : 4)
    pool_channels_last(const __grid_constant__ Job job) {
  const Pool& p = job.pool;
  const Tables t = tables_of(job);
  const auto roi = static_cast<int32_t>(blockIdx.x);
  prepare<true>(job, t, roi);
  const auto row = static_cast<int32_t>(blockIdx.y * blockDim.y + threadIdx.y);
  if (row >= p.output_height) return;
  const int32_t y_begin = t.begin[row], y_end = t.end[row];
  const int32_t* const x_begin = t.begin + p.output_height;
  const int32_t* const x_end = t.end + p.output_height;
  for (int32_t channel = static_cast<int32_t>(threadIdx.x) * N; channel < p.channels;
       channel += static_cast<int32_t>(blockDim.x) * N) {
    const T* const map = map_of<T>(p, *t.header) + channel;
    T* out = static_cast<T*>(p.pooled) + channel +
             (static_cast<int64_t>(roi) * p.output_height + row) * p.output_width * p.cell_stride;
    float column[N] = {};
    int32_t held = -1;  // where the column lies
    for (int32_t bin = 0; bin < p.output_width; ++bin, out += p.cell_stride) {
      float sum[N];
#pragma unroll
      for (int i = 0; i < N; ++i) sum[i] = 0.0f;
      const int32_t end = y_begin == y_end ? 0 : x_end[bin];
#pragma unroll 1
      for (int32_t k = x_begin[bin]; k < end; ++k) {
        const Tap x = t.x[k];
        if (x.cell != held) {
          held = x.cell;
          const auto* const cells = static_cast<const T*>(opaque(map + x.cell));
          sum_rows<T, N>(cells, t.y + y_begin, t.y + y_end, column);
        }
#pragma unroll
        for (int i = 0; i < N; ++i) sum[i] = fmaf(x.weight, column[i], sum[i]);
      }
      Pack<T, N>::store(out, sum);
    }
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads, 4) pool_linear(const __grid_constant__ Job job) {
  const Pool& p = job.pool;
  const Tables t = tables_of(job);
  const auto roi = static_cast<int32_t>(blockIdx.x);
  prepare<false>(job, t, roi);
  const int32_t bins = p.output_height * p.output_width;
  const int32_t plane = t.header->plane;
  const T* const map = map_of<T>(p, *t.header);
  const auto first = static_cast<int32_t>(blockIdx.y) * kChannelsOfABlock;
  const int32_t last = min(first + kChannelsOfABlock, p.channels);
  // several groups of threads where the bins are few: each takes other channels
  const int32_t groups = bins < kThreads ? kThreads / bins : 1;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t group = bins < kThreads ? thread / bins : 0;
  if (group >= groups) return;
  for (int32_t bin = thread - group * bins; bin < bins; bin += kThreads) {
    const int32_t row = bin / p.output_width;
    const int32_t at = p.output_height + bin - row * p.output_width;
    const int32_t y_begin = t.begin[row], y_end = t.end[row];
    const int32_t x_begin = t.begin[at], x_end = t.end[at];
    for (int32_t channel = first + group * kPlanes; channel < last; channel += groups * kPlanes) {
      const T* planes[kPlanes];
      float sums[kPlanes];
#pragma unroll
      for (int i = 0; i < kPlanes; ++i) {
        // past the last channel the last one is read once more
        const int32_t c = min(channel + i, last - 1);
        planes[i] = static_cast<const T*>(opaque(map + static_cast<int64_t>(c) * plane));
        sums[i] = 0.0f;
      }
#pragma unroll 1
      for (int32_t r = y_begin; r < y_end; ++r) {
        const Tap y = t.y[r];
#pragma unroll 1
        for (int32_t k = x_begin; k < x_end; ++k) {
          const Tap x = t.x[k];
          const float weight = y.weight * x.weight;
          const int32_t cell = y.cell + x.cell;
#pragma unroll
          for (int i = 0; i < kPlanes; ++i) {
            sums[i] = fmaf(weight, to_float(load_element<T>(planes[i] + cell)), sums[i]);
          }
        }
      }
      T* const out = static_cast<T*>(p.pooled) +
                     (static_cast<int64_t>(roi) * p.channels + channel) * bins + bin;
#pragma unroll
      for (int i = 0; i < kPlanes; ++i) {
        if (channel + i < last) out[static_cast<int64_t>(i) * bins] = from_float<T>(sums[i]);
      }
    }
  }
}

bool divisible(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

// Whether cells begin where a vector load may.
template <typename T, int N>
bool vectors_fit(const Pool& p) {
  static_assert(sizeof(T) * N == 16, "a vector has 16 bytes");
  bool fit = p.cell_stride % N == 0 && divisible(p.pooled);
  for (int32_t i = 0; i < p.num_levels; ++i) fit = fit && divisible(p.maps[i].data);
  return fit;
}

template <typename T, int N>
cudaError_t launch_channels_last(const Job& job, size_t shared_bytes, cudaStream_t stream) {
  const Pool& p = job.pool;
  const int32_t groups = ceil_div(p.channels, N);
  const int32_t columns = groups < kThreads ? groups : kThreads;
  const int32_t blocks = ceil_div(p.output_height, kThreads / columns);
  const int32_t rows = ceil_div(p.output_height, blocks);
  return maskrt::launch(pool_channels_last<T, N>, dim3(p.num_rois, blocks), dim3(columns, rows),
                        shared_bytes, stream, job);
}

template <typename T, int N>
cudaError_t launch_typed(const Job& job, cudaStream_t stream) {
  const Pool& p = job.pool;
  const auto shared_bytes = static_cast<size_t>(table_bytes(p));
  if (p.layout == MASKRT_CHANNELS_LAST) {
    return vectors_fit<T, N>(p) ? launch_channels_last<T, N>(job, shared_bytes, stream)
                                : launch_channels_last<T, 1>(job, shared_bytes, stream);
  }
  const dim3 grid(p.num_rois, ceil_div(p.channels, kChannelsOfABlock));
  return maskrt::launch(pool_linear<T>, grid, dim3(kThreads), shared_bytes, stream, job);
}

}  // namespace

cudaError_t launch_pool(const Pool& pool, cudaStream_t stream) {
  const Job job = {pool, static_cast<int32_t>(capacity_of(pool).y)};
  switch (pool.type) {
    case MASKRT_FLOAT32:
      return launch_typed<float, 4>(job, stream);
    case MASKRT_FLOAT16:
      return launch_typed<Half, 8>(job, stream);
    case MASKRT_BFLOAT16:
      return launch_typed<BFloat16, 8>(job, stream);
    default:
      return launch_typed<int8_t, 16>(job, stream);
  }
}

size_t workspace_bytes(const MaskrtRoIAlignParams&) { return 0; }

cudaError_t launch(const MaskrtRoIAlignParams& params, void*, cudaStream_t stream) {
  return launch_pool(pool_of(params), stream);
}

}  // namespace roi_align
}  // namespace maskrt

MASKRT_CUDA_INTERFACE(roi_align, MaskrtRoIAlignParams)
