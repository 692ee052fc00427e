#include "common/cpu.h"

#include <algorithm>

namespace maskrt {

int worker_count(int threads, int64_t jobs) {
#if defined(_OPENMP)
  const int asked = threads > 0 ? threads : omp_get_max_threads();
  // more would be slower, and OpenMP ends the process when it cannot start a thread
  const int64_t workers = std::min(asked, omp_get_num_procs());
#else
  const int64_t workers = 1;
  (void)threads;
#endif
  return static_cast<int>(std::max<int64_t>(1, std::min(workers, jobs)));
}

}  // namespace maskrt
