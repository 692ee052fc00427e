// TensorRT's plugin interface: from NVIDIA's headers where the compiler finds them, else from ours.
#pragma once

#if !defined(MASKRT_OWN_ABI) && !defined(MASKRT_EMULATED) && defined(__has_include)
#if __has_include(<NvInferRuntime.h>)
#include <NvInferRuntime.h>
#define MASKRT_REAL_ABI
#endif
#endif
#if !defined(MASKRT_REAL_ABI)
#include "abi/nvinfer1.h"
#endif

#include "abi/layout.h"
