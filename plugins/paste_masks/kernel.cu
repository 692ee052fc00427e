// Crops: a warp takes 32 columns of a region and walks down some rows; a lane keeps its column's
// two stretched cells. Label map: a block takes a tile of the frame, lists the instances that reach
// it, and each pixel takes the first of them that is on there.

#include "paste_masks/check.h"
#include "paste_masks/kernel.h"
#include "paste_masks/math.h"

namespace maskrt {
namespace paste_masks {
namespace {

constexpr int kWarp = 32;
constexpr int kCropWarps = 4;
constexpr int kCropRows = 64;    // that a warp walks down
constexpr int kCropBlocks = 16;  // for each instance
constexpr int kTileRows = 8;     // of threads; a tile is a warp wide
constexpr int kRowsPerThread = 4;
constexpr int kThreads = kWarp * kTileRows;
constexpr int kMaxGrid = 65535;  // of y

struct Job {
  MaskrtPasteMasksParams p;
  Frame frame;
  float limit;
};

// A column of one mask; zero above and below it.
template <typename T>
struct Column {
  const T* mask;
  int32_t first;  // cells that the column lies between
  int32_t width;
  int32_t height;
  float share;

  __device__ float cell(int32_t row, int32_t column) const {
    if (row < 1 || row > height || column < 1 || column > width) return 0.0f;
    return probability(mask[(row - 1) * width + column - 1]);
  }

  // The row of cells (with the padding), stretched.
  __device__ float at(int32_t row) const {
    return interpolate(cell(row, first), cell(row, first + 1), share);
  }
};

template <typename T>
__device__ Column<T> column_of(const MaskrtPasteMasksParams& p, int64_t instance, Tap tap) {
  const T* const mask = static_cast<const T*>(p.masks) + instance * p.mask_height * p.mask_width;
  return {mask, tap.first, p.mask_width, p.mask_height, tap.share};
}

template <typename T>
__global__ void __launch_bounds__(kWarp* kCropWarps) crops_kernel(const __grid_constant__ Job job) {
  const MaskrtPasteMasksParams& p = job.p;
  const int32_t instances = live(p.count, p.instances);
  const auto lane = static_cast<int32_t>(threadIdx.x);
  const auto first_tile = static_cast<int32_t>(blockIdx.x * kCropWarps + threadIdx.y);
  for (auto i = static_cast<int32_t>(blockIdx.y); i < instances;
       i += static_cast<int32_t>(gridDim.y)) {
    const int32_t* const r = p.regions + 4 * static_cast<int64_t>(i);
    const Region region = {r[0], r[1], r[2], r[3]};
    const int64_t offset = p.offsets[i];
    if (!fits(region, offset, job.frame, p.out_bytes)) continue;
    const int32_t columns = ceil_div(region.width, kWarp);
    const int64_t tiles = static_cast<int64_t>(columns) * ceil_div(region.height, kCropRows);
    if (first_tile >= tiles) continue;
    const Placement placement = placement_of(p.boxes + 4 * static_cast<int64_t>(i), job.frame);
    uint8_t* const out = static_cast<uint8_t*>(p.out) + offset;
    for (int64_t tile = first_tile; tile < tiles; tile += kCropBlocks * kCropWarps) {
      const auto x = static_cast<int32_t>(tile % columns) * kWarp + lane;
      if (x >= region.width) continue;
      const auto top = static_cast<int32_t>(tile / columns) * kCropRows;
      const int32_t bottom = top + kCropRows < region.height ? top + kCropRows : region.height;
      const Column<T> column = column_of<T>(p, i, tap(region.x + x, placement.x, p.mask_width));
      int32_t cell = -1;
      float above = 0.0f;
      float below = 0.0f;
      for (int32_t y = top; y < bottom; ++y) {
        const Tap row = tap(region.y + y, placement.y, p.mask_height);
        if (row.first != cell) {
          above = row.first == cell + 1 ? below : column.at(row.first);
          below = column.at(row.first + 1);
          cell = row.first;
        }
        out[static_cast<int64_t>(y) * region.width + x] =
            interpolate(above, below, row.share) > job.limit ? 1 : 0;
      }
    }
  }
}

// What the label map's kernel keeps of an instance that reaches its tile.
struct Listed {
  Placement placement;
  int32_t instance;
};

template <typename T, typename Label>
__global__ void __launch_bounds__(kThreads, 4) label_map_kernel(const __grid_constant__ Job job) {
  const MaskrtPasteMasksParams& p = job.p;
  Listed* const list = shared_memory<Listed>();
  auto* const counts = reinterpret_cast<int32_t*>(list + kThreads);  // of each warp
  const auto lane = static_cast<int32_t>(threadIdx.x);
  const auto warp = static_cast<int32_t>(threadIdx.y);
  const int32_t thread = warp * kWarp + lane;
  const int32_t instances = live(p.count, p.instances);
  const auto left = static_cast<int32_t>(blockIdx.x) * kWarp;
  const int32_t x = left + lane;
  constexpr int32_t kHeight = kTileRows * kRowsPerThread;
  const int32_t tiles = ceil_div(p.frame_height, kHeight);
  for (auto tile = static_cast<int32_t>(blockIdx.y); tile < tiles;
       tile += static_cast<int32_t>(gridDim.y)) {
    const int32_t top = tile * kHeight;
    const int32_t y = top + warp * kRowsPerThread;
    Label labels[kRowsPerThread] = {};
    for (int32_t chunk = 0; chunk < instances; chunk += kThreads) {
      // list those of the next instances that reach the tile, in their order
      const int32_t i = chunk + thread;
      Placement placement;
      bool reaches = false;
      if (i < instances) {
        placement = placement_of(p.boxes + 4 * static_cast<int64_t>(i), job.frame);
        reaches = placement.x.start < left + kWarp && placement.x.stop > left &&
                  placement.y.start < top + kHeight && placement.y.stop > top;
      }
      const unsigned bits = __ballot_sync(0xffffffffu, reaches);
      if (lane == 0) counts[warp] = __popc(bits);
      __syncthreads();  // also: all threads are done with the chunk before
      int32_t before = 0;
      int32_t listed = 0;
      for (int32_t w = 0; w < kTileRows; ++w) {
        before += w < warp ? counts[w] : 0;
        listed += counts[w];
      }
      if (reaches) {
        list[before + __popc(bits & ((1u << lane) - 1u))] = {placement, i};
      }
      __syncthreads();
      for (int32_t k = 0; k < listed; ++k) {
        const Listed& entry = list[k];
        const Axis& columns = entry.placement.x;
        if (x < columns.start || x >= columns.stop) continue;
        const Column<T> column = column_of<T>(p, entry.instance, tap(x, columns, p.mask_width));
        const Axis& rows = entry.placement.y;
#pragma unroll
        for (int32_t j = 0; j < kRowsPerThread; ++j) {
          if (labels[j] != 0 || y + j < rows.start || y + j >= rows.stop) continue;
          const Tap row = tap(y + j, rows, p.mask_height);
          const float value =
              interpolate(column.at(row.first), column.at(row.first + 1), row.share);
          if (value > job.limit) labels[j] = static_cast<Label>(entry.instance + 1);
        }
      }
    }
    if (x < p.frame_width) {
      Label* const out = static_cast<Label*>(p.out) + x;
#pragma unroll
      for (int32_t j = 0; j < kRowsPerThread; ++j) {
        if (y + j < p.frame_height) {
          out[static_cast<int64_t>(y + j) * p.frame_width] = labels[j];
        }
      }
    }
  }
}

template <typename T>
cudaError_t launch_for(const Job& job, cudaStream_t stream) {
  const MaskrtPasteMasksParams& p = job.p;
  if (p.mode == MASKRT_PASTE_CROPS) {
    if (p.instances == 0) return cudaSuccess;
    const dim3 grid(kCropBlocks, p.instances < kMaxGrid ? p.instances : kMaxGrid);
    return maskrt::launch(crops_kernel<T>, grid, dim3(kWarp, kCropWarps), 0, stream, job);
  }
  const int32_t rows = ceil_div(p.frame_height, kTileRows * kRowsPerThread);
  const dim3 grid(ceil_div(p.frame_width, kWarp), rows < kMaxGrid ? rows : kMaxGrid);
  const size_t shared_bytes = kThreads * sizeof(Listed) + kTileRows * sizeof(int32_t);
  const auto kernel =
      p.label_bytes == 1 ? label_map_kernel<T, uint8_t> : label_map_kernel<T, uint16_t>;
  return maskrt::launch(kernel, grid, dim3(kWarp, kTileRows), shared_bytes, stream, job);
}

}  // namespace

size_t workspace_bytes(const MaskrtPasteMasksParams&) { return 0; }

cudaError_t launch(const MaskrtPasteMasksParams& p, void*, cudaStream_t stream) {
  const Job job = {p, frame_of(p), limit_of(p)};
  return p.masks_type == MASKRT_UINT8 ? launch_for<uint8_t>(job, stream)
                                      : launch_for<float>(job, stream);
}

}  // namespace paste_masks
}  // namespace maskrt

MASKRT_CUDA_INTERFACE(paste_masks, MaskrtPasteMasksParams)
