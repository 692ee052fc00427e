#pragma once

#include "common/cuda.h"
#include "letterbox/params.h"

namespace maskrt {
namespace letterbox {

// Of device memory.
size_t workspace_bytes(const MaskrtLetterboxParams& params);

// Queues the kernel; the params have passed check().
cudaError_t launch(const MaskrtLetterboxParams& params, void* workspace, cudaStream_t stream);

}  // namespace letterbox
}  // namespace maskrt

MASKRT_API int64_t maskrt_cuda_letterbox_workspace(const MaskrtLetterboxParams* params);
MASKRT_API int maskrt_cuda_letterbox(const MaskrtLetterboxParams* params, void* workspace,
                                     size_t bytes, cudaStream_t stream);
