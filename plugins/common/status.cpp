#include "common/status.h"

#include <cstdarg>
#include <cstdio>

namespace maskrt {
namespace {

thread_local char text[512] = "";

}  // namespace

int fail(MaskrtStatus status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  return status;
}

const char* last_error() { return text; }

}  // namespace maskrt

int maskrt_ops_version() { return MASKRT_OPS_VERSION; }

const char* maskrt_last_error() { return maskrt::last_error(); }
