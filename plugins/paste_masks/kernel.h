#pragma once

#include "common/cuda.h"
#include "paste_masks/params.h"

namespace maskrt {
namespace paste_masks {

// Of device memory.
size_t workspace_bytes(const MaskrtPasteMasksParams& params);

// Queues the kernel; the params have passed check().
cudaError_t launch(const MaskrtPasteMasksParams& params, void* workspace, cudaStream_t stream);

}  // namespace paste_masks
}  // namespace maskrt

// Regions and boxes are device memory here. Instances whose region does not lie in the frame, or
// whose bytes do not lie in the buffer, are left out.
MASKRT_API int64_t maskrt_cuda_paste_masks_workspace(const MaskrtPasteMasksParams* params);
MASKRT_API int maskrt_cuda_paste_masks(const MaskrtPasteMasksParams* params, void* workspace,
                                       size_t bytes, cudaStream_t stream);
