#pragma once

#include "common/cuda.h"
#include "proposals/params.h"

namespace maskrt {
namespace proposals {

// Of device memory.
size_t workspace_bytes(const MaskrtProposalsParams& params);

// Queues the kernels; the params have passed check().
cudaError_t launch(const MaskrtProposalsParams& params, void* workspace, cudaStream_t stream);

}  // namespace proposals
}  // namespace maskrt

MASKRT_API int64_t maskrt_cuda_proposals_workspace(const MaskrtProposalsParams* params);
MASKRT_API int maskrt_cuda_proposals(const MaskrtProposalsParams* params, void* workspace,
                                     size_t bytes, cudaStream_t stream);
