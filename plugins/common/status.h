// How operators refuse their params, on every target.
#pragma once

#include "common/export.h"

namespace maskrt {

// Keeps the text for maskrt_last_error() and returns the status.
int fail(MaskrtStatus status, const char* format, ...) __attribute__((format(printf, 2, 3)));

// maskrt_last_error() of this library, even where another one of the process exports that name too.
const char* last_error();

}  // namespace maskrt

// For checks of params: returns from the caller where the condition does not hold.
#define MASKRT_EXPECT(condition, ...)                              \
  do {                                                             \
    if (!(condition)) {                                            \
      return ::maskrt::fail(MASKRT_INVALID_ARGUMENT, __VA_ARGS__); \
    }                                                              \
  } while (0)

// The first check of every operator.
#define MASKRT_EXPECT_STRUCT(operation, params)                                        \
  MASKRT_EXPECT((params).struct_size == sizeof(params),                                \
                operation                                                              \
                ": found params of %zu bytes, expected %zu: the caller was built for " \
                "another version",                                                     \
                (params).struct_size, sizeof(params))

#define MASKRT_EXPECT_POINTER(operation, params, field) \
  MASKRT_EXPECT((params).field, operation ": found a null pointer for " #field)

// Inclusive bounds of an int32 field.
#define MASKRT_EXPECT_RANGE(operation, params, field, low, high)      \
  MASKRT_EXPECT((params).field >= (low) && (params).field <= (high),  \
                operation ": found " #field " %d, expected %d to %d", \
                static_cast<int>((params).field), static_cast<int>(low), static_cast<int>(high))
