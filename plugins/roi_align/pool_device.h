#pragma once

#include "common/cuda.h"
#include "roi_align/pool.h"

namespace maskrt {
namespace roi_align {

// Queues the pooling of all RoIs.
cudaError_t launch_pool(const Pool& pool, cudaStream_t stream);

}  // namespace roi_align
}  // namespace maskrt
