// A thread computes the three channels of one canvas pixel.

#include "common/half.h"
#include "letterbox/check.h"
#include "letterbox/content.h"
#include "letterbox/kernel.h"
#include "letterbox/math.h"
#include "letterbox/pillow_device.h"

namespace maskrt {
namespace letterbox {
namespace {

constexpr int kBlockWidth = 32;
constexpr int kBlockHeight = 8;
constexpr int kMaxGrid = 65535;  // of y and z

// As torchvision resizes.
struct Bilinear {
  float scale_y;
  float scale_x;

  // The channels of a content pixel, in the frame's order.
  __device__ void resize(const MaskrtLetterboxParams& p, const uint8_t* frame, int32_t x, int32_t y,
                         float (&values)[3]) const {
    const Tap rows = tap(y, scale_y, p.height);
    const Tap columns = tap(x, scale_x, p.width);
    const uint8_t* const above = frame + rows.first * p.row_stride;
    const uint8_t* const below = frame + rows.second * p.row_stride;
    const int64_t left = columns.first * p.pixel_stride;
    const int64_t right = columns.second * p.pixel_stride;
#pragma unroll
    for (int c = 0; c < 3; ++c) {
      const float top = interpolate<float>(above[left + c], above[right + c], columns.weight);
      const float bottom = interpolate<float>(below[left + c], below[right + c], columns.weight);
      values[c] = interpolate(top, bottom, rows.weight);
    }
  }
};

template <typename Method>
struct Job {
  MaskrtLetterboxParams p;
  Size content;
  float scale_y;
  float scale_x;
  Method method;
};

template <typename T, typename Method>
__global__ void __launch_bounds__(kBlockWidth* kBlockHeight)
    letterbox_kernel(const __grid_constant__ Job<Method> job) {
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
      float values[3];
      job.method.resize(p, frame, x, y, values);
      // every index is a constant: the array stays in registers
      const float first = p.swap_channels ? values[2] : values[0];
      const float last = p.swap_channels ? values[0] : values[2];
      out[0] = from_float<T>(normalize(first, p.mean[0], p.std[0]));
      out[plane] = from_float<T>(normalize(values[1], p.mean[1], p.std[1]));
      out[2 * plane] = from_float<T>(normalize(last, p.mean[2], p.std[2]));
    }
  }
}

template <typename Method>
cudaError_t launch_image(const MaskrtLetterboxParams& p, Size content, const Method& method,
                         cudaStream_t stream) {
  const Job<Method> job = {p, content, axis_scale(p.height, content.height),
                           axis_scale(p.width, content.width), method};
  const dim3 block(kBlockWidth, kBlockHeight);
  const int32_t columns = ceil_div(p.canvas_width, kBlockWidth);
  const int32_t rows = ceil_div(p.canvas_height, kBlockHeight);
  const dim3 grid(columns, rows < kMaxGrid ? rows : kMaxGrid,
                  p.batch < kMaxGrid ? p.batch : kMaxGrid);
  const auto kernel = p.image_type == MASKRT_FLOAT16 ? letterbox_kernel<Half, Method>
                                                     : letterbox_kernel<float, Method>;
  return maskrt::launch(kernel, grid, block, 0, stream, job);
}

}  // namespace

size_t workspace_bytes(const MaskrtLetterboxParams& p) {
  return p.resize == MASKRT_LETTERBOX_DETECTRON2 ? pillow_bytes(p) : 0;
}

cudaError_t launch(const MaskrtLetterboxParams& p, void* workspace, cudaStream_t stream) {
  const Size content = content_size(p);
  if (p.resize == MASKRT_LETTERBOX_DETECTRON2) {
    Pillow method;
    MASKRT_RETURN_IF_ERROR(launch_weights(p, content, workspace, stream, method));
    return launch_image(p, content, method, stream);
  }
  const Bilinear method = {axis_scale(p.height, content.height),
                           axis_scale(p.width, content.width)};
  return launch_image(p, content, method, stream);
}

}  // namespace letterbox
}  // namespace maskrt

MASKRT_CUDA_INTERFACE(letterbox, MaskrtLetterboxParams)
