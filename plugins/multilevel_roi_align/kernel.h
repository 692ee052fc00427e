#pragma once

#include "common/cuda.h"
#include "multilevel_roi_align/params.h"

namespace maskrt {
namespace multilevel_roi_align {

// Of device memory.
size_t workspace_bytes(const MaskrtMultilevelRoIAlignParams& params);

// Queues the kernel; the params have passed check().
cudaError_t launch(const MaskrtMultilevelRoIAlignParams& params, void* workspace,
                   cudaStream_t stream);

}  // namespace multilevel_roi_align
}  // namespace maskrt

MASKRT_API int64_t
maskrt_cuda_multilevel_roi_align_workspace(const MaskrtMultilevelRoIAlignParams* params);
MASKRT_API int maskrt_cuda_multilevel_roi_align(const MaskrtMultilevelRoIAlignParams* params,
                                                void* workspace, size_t bytes, cudaStream_t stream);
