#include "common/cpu.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace maskrt {
namespace {

thread_local char last_error[512] = "";

}  // namespace

int fail(MaskrtStatus status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(last_error, sizeof last_error, format, arguments);
  va_end(arguments);
  return status;
}

int worker_count(int threads, int64_t jobs) {
#if defined(_OPENMP)
  const int asked = threads > 0 ? threads : omp_get_max_threads();
  // more would be slower, and OpenMP ends the process when it cannot start a thread
  const int64_t workers = std::min(asked, omp_get_num_procs());
#else
  const int64_t workers = 1;
  (void)threads;
#endif
  return static_cast<int>(std::min(workers, jobs));
}

}  // namespace maskrt

int maskrt_ops_version() { return MASKRT_OPS_VERSION; }

const char* maskrt_last_error() { return maskrt::last_error; }
