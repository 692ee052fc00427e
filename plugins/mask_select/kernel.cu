// A thread computes one cell of one mask.

#include "common/half.h"
#include "mask_select/check.h"
#include "mask_select/kernel.h"
#include "mask_select/math.h"

namespace maskrt {
namespace mask_select {
namespace {

constexpr int kThreads = 128;
constexpr int kMaxGrid = 65535;  // of y and z

template <typename In, typename Out>
__global__ void __launch_bounds__(kThreads)
    select_kernel(const __grid_constant__ MaskrtMaskSelectParams p) {
  const int32_t area = p.height * p.width;
  const auto cell = static_cast<int32_t>(blockIdx.x * kThreads + threadIdx.x);
  if (cell >= area) return;
  for (int32_t b = static_cast<int32_t>(blockIdx.z); b < p.batch;
       b += static_cast<int32_t>(gridDim.z)) {
    const int32_t real = p.count[b];
    for (int32_t d = static_cast<int32_t>(blockIdx.y); d < p.slots;
         d += static_cast<int32_t>(gridDim.y)) {
      const int64_t instance = static_cast<int64_t>(b) * p.slots + d;
      Out value{};
      if (d < real) {
        const Cells cells = cells_of(instance, channel_of(p.labels[instance], p.classes), p.classes,
                                     area, p.channel_stride, p.layout == MASKRT_CHANNELS_LAST);
        const In* const logits = static_cast<const In*>(p.logits) + cells.first;
        value = written<Out>(probability(to_float(logits[cell * cells.stride])));
      }
      static_cast<Out*>(p.masks)[instance * area + cell] = value;
    }
  }
}

template <typename In>
auto kernel_for(const MaskrtMaskSelectParams& p) {
  if (p.masks_type == MASKRT_FLOAT16) return select_kernel<In, Half>;
  return p.masks_type == MASKRT_UINT8 ? select_kernel<In, uint8_t> : select_kernel<In, float>;
}

}  // namespace

size_t workspace_bytes(const MaskrtMaskSelectParams&) { return 0; }

cudaError_t launch(const MaskrtMaskSelectParams& p, void*, cudaStream_t stream) {
  const auto kernel = p.logits_type == MASKRT_FLOAT16    ? kernel_for<Half>(p)
                      : p.logits_type == MASKRT_BFLOAT16 ? kernel_for<BFloat16>(p)
                                                         : kernel_for<float>(p);
  const dim3 grid(ceil_div(p.height * p.width, kThreads), p.slots < kMaxGrid ? p.slots : kMaxGrid,
                  p.batch < kMaxGrid ? p.batch : kMaxGrid);
  return maskrt::launch(kernel, grid, dim3(kThreads), 0, stream, p);
}

}  // namespace mask_select
}  // namespace maskrt

MASKRT_CUDA_INTERFACE(mask_select, MaskrtMaskSelectParams)
