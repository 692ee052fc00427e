#pragma once

#include "common/cuda.h"
#include "roi_align/params.h"

namespace maskrt {
namespace roi_align {

// Of device memory.
size_t workspace_bytes(const MaskrtRoIAlignParams& params);

// Queues the kernel; the params have passed check().
cudaError_t launch(const MaskrtRoIAlignParams& params, void* workspace, cudaStream_t stream);

}  // namespace roi_align
}  // namespace maskrt

MASKRT_API int64_t maskrt_cuda_roi_align_workspace(const MaskrtRoIAlignParams* params);
MASKRT_API int maskrt_cuda_roi_align(const MaskrtRoIAlignParams* params, void* workspace,
                                     size_t bytes, cudaStream_t stream);
