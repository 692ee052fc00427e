// A thread computes the three channels of one canvas pixel.

#include "common/half.h"
#include "letterbox/check.h"
#include "letterbox/kernel.h"
#include "letterbox/math.h"

namespace maskrt {
namespace letterbox {
namespace {

constexpr int kBlockWidth = 32;
constexpr int kBlockHeight = 8;
constexpr int kMaxGrid = 65535;  // of y and z

struct Job {
  MaskrtLetterboxParams p;
  Size content;
  float scale_y;
  float scale_x;
};

template <typename T>
__global__ void __launch_bounds__(kBlockWidth* kBlockHeight)
    letterbox_kernel(const __grid_constant__ Job job) {
  const MaskrtLetterboxParams& p = job.p;
  const int32_t x = static_cast<int32_t>(blockIdx.x * kBlockWidth + threadIdx.x);
  const int64_t plane = static_cast<int64_t>(p.canvas_height) * p.canvas_width;
  for (int32_t b = static_cast<int32_t>(blockIdx.z); b < p.batch;
       b += static_cast<int32_t>(gridDim.z)) {
    if (blockIdx.x == 0 && blockIdx.y == 0 && threadIdx.x == 0 && threadIdx.y == 0) {
      p.scale[2 * b] = job.scale_y;
      p.scale[2 * b + 1] = job.scale_x;
      p.content[2 * b] = static_cast<float>(job.content.height);
      p.content[2 * b + 1] = static_cast<float>(job.content.width);
    }
    if (x >= p.canvas_width) continue;
    const uint8_t* const frame = p.frames + b * p.frame_stride;
    T* const image = static_cast<T*>(p.image) + 3 * b * plane;
    for (int32_t y = static_cast<int32_t>(blockIdx.y * kBlockHeight + threadIdx.y);
         y < p.canvas_height; y += static_cast<int32_t>(gridDim.y * kBlockHeight)) {
      T* const out = image + static_cast<int64_t>(y) * p.canvas_width + x;
      if (y >= job.content.height || x >= job.content.width) {
        for (int c = 0; c < 3; ++c) out[c * plane] = T{};
        continue;
      }
      const Tap rows = tap(y, job.scale_y, p.height);
      const Tap columns = tap(x, job.scale_x, p.width);
      const uint8_t* const above = frame + rows.first * p.row_stride;
      const uint8_t* const below = frame + rows.second * p.row_stride;
      const int64_t left = columns.first * p.pixel_stride;
      const int64_t right = columns.second * p.pixel_stride;
#pragma unroll
      for (int c = 0; c < 3; ++c) {
        const int source = p.swap_channels ? 2 - c : c;
        const float top =
            interpolate<float>(above[left + source], above[right + source], columns.weight);
        const float bottom =
            interpolate<float>(below[left + source], below[right + source], columns.weight);
        const float value = interpolate(top, bottom, rows.weight);
        out[c * plane] = from_float<T>(normalize(value, p.mean[c], p.std[c]));
      }
    }
  }
}

}  // namespace

size_t workspace_bytes(const MaskrtLetterboxParams&) { return 0; }

cudaError_t launch(const MaskrtLetterboxParams& p, void*, cudaStream_t stream) {
  const Size content =
      content_size({p.height, p.width}, {p.canvas_height, p.canvas_width}, p.min_size, p.max_size);
  const Job job = {p, content, axis_scale(p.height, content.height),
                   axis_scale(p.width, content.width)};
  const dim3 block(kBlockWidth, kBlockHeight);
  const int32_t columns = ceil_div(p.canvas_width, kBlockWidth);
  const int32_t rows = ceil_div(p.canvas_height, kBlockHeight);
  const dim3 grid(columns, rows < kMaxGrid ? rows : kMaxGrid,
                  p.batch < kMaxGrid ? p.batch : kMaxGrid);
  const auto kernel =
      p.image_type == MASKRT_FLOAT16 ? letterbox_kernel<Half> : letterbox_kernel<float>;
  return maskrt::launch(kernel, grid, block, 0, stream, job);
}

}  // namespace letterbox
}  // namespace maskrt

MASKRT_CUDA_INTERFACE(letterbox, MaskrtLetterboxParams)
