#pragma once

#include "common/cuda.h"
#include "mask_select/params.h"

namespace maskrt {
namespace mask_select {

// Of device memory.
size_t workspace_bytes(const MaskrtMaskSelectParams& params);

// Queues the kernel; the params have passed check().
cudaError_t launch(const MaskrtMaskSelectParams& params, void* workspace, cudaStream_t stream);

}  // namespace mask_select
}  // namespace maskrt

MASKRT_API int64_t maskrt_cuda_mask_select_workspace(const MaskrtMaskSelectParams* params);
MASKRT_API int maskrt_cuda_mask_select(const MaskrtMaskSelectParams* params, void* workspace,
                                       size_t bytes, cudaStream_t stream);
