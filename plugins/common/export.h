// The C interface of libmaskrt_ops: plain functions over plain structs, so that any language can
// call it. Every operator takes one pointer to its params and returns a MaskrtStatus.
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
#define MASKRT_OPS_VERSION 1

enum MaskrtStatus {
  MASKRT_OK = 0,
  MASKRT_INVALID_ARGUMENT = 1,  // nothing was computed; maskrt_last_error() says what was found
  MASKRT_OUT_OF_MEMORY = 2,
  MASKRT_INTERNAL_ERROR = 3,
};

MASKRT_API int maskrt_ops_version();

// What the calling thread's last failed call complained about: never null, valid until the thread's
// next failed call. A call that succeeds leaves it as it is.
MASKRT_API const char* maskrt_last_error();
