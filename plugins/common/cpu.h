// What the CPU operators share.
#pragma once

#include <cstdint>
#include <exception>
#include <new>

#include "common/status.h"

#if defined(_OPENMP)
#include <omp.h>
#endif

// Compiles a function once for each instruction set; the dynamic loader picks.
// Functions that it calls must be inlined into it (MASKRT_INLINE), or they stay at the baseline.
#if defined(MASKRT_HAS_TARGET_CLONES)
#define MASKRT_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define MASKRT_CLONES
#endif

#define MASKRT_INLINE inline __attribute__((always_inline))

namespace maskrt {

// Workers for so many jobs: as many as were asked for (0: OpenMP's default), but never more than
// there are jobs or processors.
int worker_count(int threads, int64_t jobs);

// Calls body(job, worker) once for each job, in any order; a worker does one job at a time. The
// body must not throw: an exception cannot leave a thread.
template <typename Body>
void parallel_for(int64_t jobs, int workers, const Body& body) {
#if defined(_OPENMP)
  if (workers > 1) {
#pragma omp parallel for schedule(dynamic) num_threads(workers)
    for (int64_t job = 0; job < jobs; ++job) body(job, omp_get_thread_num());
    return;
  }
#endif
  (void)workers;
  for (int64_t job = 0; job < jobs; ++job) body(job, 0);
}

// Runs the body of an operator; no exception leaves the C interface.
template <typename Body>
int guarded(const char* operation, Body&& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return fail(MASKRT_OUT_OF_MEMORY, "%s: out of memory", operation);
  } catch (const std::exception& error) {
    return fail(MASKRT_INTERNAL_ERROR, "%s: %s", operation, error.what());
  }
}

}  // namespace maskrt
