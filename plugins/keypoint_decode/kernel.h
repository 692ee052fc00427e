#pragma once

#include "common/cuda.h"
#include "keypoint_decode/params.h"

namespace maskrt {
namespace keypoint_decode {

// Of device memory.
size_t workspace_bytes(const MaskrtKeypointDecodeParams& params);

// Queues the kernel; the params have passed check().
cudaError_t launch(const MaskrtKeypointDecodeParams& params, void* workspace, cudaStream_t stream);

}  // namespace keypoint_decode
}  // namespace maskrt

MASKRT_API int64_t maskrt_cuda_keypoint_decode_workspace(const MaskrtKeypointDecodeParams* params);
MASKRT_API int maskrt_cuda_keypoint_decode(const MaskrtKeypointDecodeParams* params,
                                           void* workspace, size_t bytes, cudaStream_t stream);
