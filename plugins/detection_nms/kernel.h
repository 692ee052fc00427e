#pragma once

#include "common/cuda.h"
#include "detection_nms/params.h"

namespace maskrt {
namespace detection_nms {

// Of device memory.
size_t workspace_bytes(const MaskrtDetectionNmsParams& params);

// Queues the kernels; the params have passed check().
cudaError_t launch(const MaskrtDetectionNmsParams& params, void* workspace, cudaStream_t stream);

}  // namespace detection_nms
}  // namespace maskrt

MASKRT_API int64_t maskrt_cuda_detection_nms_workspace(const MaskrtDetectionNmsParams* params);
MASKRT_API int maskrt_cuda_detection_nms(const MaskrtDetectionNmsParams* params, void* workspace,
                                         size_t bytes, cudaStream_t stream);
