#include <cuda_runtime_api.h>

#include "common/export.h"

// The release that the library was built with, as CUDART_VERSION: 13000 is 13.0.
MASKRT_API int maskrt_cuda_version() { return CUDART_VERSION; }
