// The kernels are those of RoIAlign, which know about levels.

#include "multilevel_roi_align/check.h"
#include "multilevel_roi_align/kernel.h"
#include "roi_align/pool_device.h"

namespace maskrt {
namespace multilevel_roi_align {

size_t workspace_bytes(const MaskrtMultilevelRoIAlignParams&) { return 0; }

cudaError_t launch(const MaskrtMultilevelRoIAlignParams& params, void*, cudaStream_t stream) {
  return roi_align::launch_pool(pool_of(params), stream);
}

}  // namespace multilevel_roi_align
}  // namespace maskrt

MASKRT_CUDA_INTERFACE(multilevel_roi_align, MaskrtMultilevelRoIAlignParams)
