// The C interface of the two libraries: plain functions over plain structs, so that any language
// can call it.
//
//   libmaskrt_ops      maskrt_<operator>(params): pointers are host memory
//   libmaskrt_plugins  maskrt_cuda_<operator>(params, workspace, bytes, stream): the same params;
//                      pointers are device memory, nothing waits for the device
//
// Every operator returns a MaskrtStatus.
#pragma once

#if defined(_WIN32)
#if defined(MASKRT_BUILDING)
#define MASKRT_API extern "C" __declspec(dllexport)
#else
#define MASKRT_API extern "C" __declspec(dllimport)
#endif
#else
#define MASKRT_API extern "C" __attribute__((visibility("default")))
#endif

// Raised when a struct or a function of the interface changes; maskrt/plugins/library.py holds the
// number that the Python side was written for.
#define MASKRT_OPS_VERSION 2

enum MaskrtStatus {
  MASKRT_OK = 0,
  MASKRT_INVALID_ARGUMENT = 1,  // nothing was computed; maskrt_last_error() says what was found
  MASKRT_OUT_OF_MEMORY = 2,
  MASKRT_INTERNAL_ERROR = 3,
  MASKRT_CUDA_ERROR = 4,  // the launch failed; maskrt_last_error() has CUDA's words
};

// Numbers of the element types in params: those of TensorRT's DataType.
enum MaskrtType {
  MASKRT_FLOAT32 = 0,
  MASKRT_FLOAT16 = 1,
  MASKRT_INT8 = 2,
  MASKRT_INT32 = 3,
  MASKRT_UINT8 = 5,
  MASKRT_BFLOAT16 = 7,
  MASKRT_INT64 = 8,
};

enum MaskrtLayout {
  MASKRT_LINEAR = 0,         // [N, C, H, W]
  MASKRT_CHANNELS_LAST = 1,  // [N, H, W, C]
};

MASKRT_API int maskrt_ops_version();

// What the calling thread's last failed call complained about: never null, valid until the thread's
// next failed call. A call that succeeds leaves it as it is.
MASKRT_API const char* maskrt_last_error();
