// As detectron2 resizes, on the device: a kernel of its own writes the weights of both axes into
// the workspace, and the image's kernel reads them. For kernel.cu alone.
#pragma once

#include "common/cuda.h"
#include "letterbox/content.h"
#include "letterbox/params.h"
#include "letterbox/pillow.h"

namespace maskrt {
namespace letterbox {
namespace {

constexpr int kWeightThreads = 64;

// The weights of one axis, in the workspace.
struct Weights {
  int32_t count;    // content pixels
  int32_t* first;   // [count], of the window, frame pixels
  int32_t* taps;    // [count], of the window
  int32_t* values;  // [most, count]: neighbouring threads read neighbouring numbers
};

inline Weights weights_of(int32_t frame, int32_t content, int32_t canvas, Workspace& workspace) {
  // enough for any content, and more for a larger frame, as TensorRT asks for the largest one:
  // a content pixel has at most 2 * (frame + content) / content + 1 weights
  const int64_t most = 2 * static_cast<int64_t>(frame) + 3 * static_cast<int64_t>(canvas);
  int32_t* const first = workspace.take<int32_t>(canvas);
  int32_t* const taps = workspace.take<int32_t>(canvas);
  return {content, first, taps, workspace.take<int32_t>(most)};
}

// The channels of a content pixel from the weights.
struct Pillow {
  Weights rows;
  Weights columns;

  // In the frame's order.
  __device__ void resize(const MaskrtLetterboxParams& p, const uint8_t* frame, int32_t x, int32_t y,
                         float (&values)[3]) const {
    const int32_t row_taps = rows.taps[y], column_taps = columns.taps[x];
    const uint8_t* row = frame + rows.first[y] * p.row_stride + columns.first[x] * p.pixel_stride;
    int32_t sums[3] = {kRounding, kRounding, kRounding};
    for (int32_t i = 0; i < row_taps; ++i, row += p.row_stride) {
      int32_t line[3] = {kRounding, kRounding, kRounding};
      const uint8_t* pixel = row;
      for (int32_t j = 0; j < column_taps; ++j, pixel += p.pixel_stride) {
        const int32_t weight = columns.values[j * columns.count + x];
#pragma unroll
        for (int c = 0; c < 3; ++c) line[c] += pixel[c] * weight;
      }
      const int32_t weight = rows.values[i * rows.count + y];
#pragma unroll
      for (int c = 0; c < 3; ++c) sums[c] += to_byte(line[c]) * weight;
    }
#pragma unroll
    for (int c = 0; c < 3; ++c) values[c] = static_cast<float>(to_byte(sums[c]));
  }
};

struct WeightsJob {
  Axis row_axis;
  Axis column_axis;
  Pillow out;
};

// A thread for each row and column of the content. All of the operator's float64 is here: Pillow's
// weights are rounded from it, and no narrower arithmetic gives the same ones. They are so few that
// its rate does not count.
__global__ void __launch_bounds__(kWeightThreads)
    weights_kernel(const __grid_constant__ WeightsJob job) {
  const auto index = static_cast<int32_t>(blockIdx.x * kWeightThreads + threadIdx.x);
  const bool row = index < job.out.rows.count;
  const Weights& out = row ? job.out.rows : job.out.columns;
  const int32_t pixel = row ? index : index - job.out.rows.count;
  if (pixel >= out.count) return;
  const Window window =
      weigh(row ? job.row_axis : job.column_axis, pixel, out.values + pixel, out.count);
  out.first[pixel] = window.first;
  out.taps[pixel] = window.count;
}

inline Pillow pillow_of(const MaskrtLetterboxParams& p, Size content, Workspace& workspace) {
  return {weights_of(p.height, content.height, p.canvas_height, workspace),
          weights_of(p.width, content.width, p.canvas_width, workspace)};
}

inline size_t pillow_bytes(const MaskrtLetterboxParams& p) {
  Workspace parts(nullptr);
  pillow_of(p, content_size(p), parts);
  return parts.bytes();
}

// Queues the kernel that fills the method's weights.
inline cudaError_t launch_weights(const MaskrtLetterboxParams& p, Size content, void* workspace,
                                  cudaStream_t stream, Pillow& method) {
  Workspace parts(workspace);
  method = pillow_of(p, content, parts);
  const WeightsJob job = {axis_of(p.height, content.height), axis_of(p.width, content.width),
                          method};
  const dim3 grid(ceil_div(content.height + content.width, kWeightThreads));
  return maskrt::launch(weights_kernel, grid, dim3(kWeightThreads), 0, stream, job);
}

}  // namespace
}  // namespace letterbox
}  // namespace maskrt
