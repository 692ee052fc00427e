// What tests ask of the simulated GPU, beside CUDA's own interface.
#pragma once

#include <stddef.h>
#include <stdint.h>

#define SIMCUDA_API extern "C" __attribute__((visibility("default")))

struct SimcudaCounts {
  int64_t calls;             // of the driver's functions, except queries of facts
  int64_t allocations;       // of device memory, ever
  int64_t host_allocations;  // of pinned memory, ever
  int64_t live_blocks;       // of both, not given back
  int64_t live_streams;
  int64_t live_events;
  int64_t live_graphs;  // and executable ones
  int64_t uploaded_bytes;
  int64_t downloaded_bytes;
  int64_t pageable_copies;  // asynchronous copies from or to memory that is not pinned
  int64_t work;             // pieces that ran: kernels, engines, copies
  int64_t graph_launches;
  int64_t waits;     // of the host
  int64_t captures;  // that succeeded
};

// Queues work on a stream: run(argument) once or, in a graph, several times; then drop(argument).
// Returns a CUresult.
SIMCUDA_API int simcuda_enqueue(void* stream, void (*run)(void*), void* argument,
                                void (*drop)(void*));

// 1 if the range lies in one live block that the device can use.
SIMCUDA_API int simcuda_valid(uint64_t address, size_t bytes);

SIMCUDA_API void simcuda_counts(struct SimcudaCounts* counts);

// What must not be, one per line, since the last call; null where nothing was. Valid until the next
// call.
SIMCUDA_API const char* simcuda_violations();

// Adds a line to them.
SIMCUDA_API void simcuda_note(const char* what);

// The call that comes after so many others fails with this CUresult; sticky: so do all that follow.
SIMCUDA_API void simcuda_fail(int64_t after, int status, int sticky);

// The piece of work that comes after so many others fails; the device is lost then.
SIMCUDA_API void simcuda_fail_work(int64_t after);

// So many captures of graphs fail.
SIMCUDA_API void simcuda_fail_captures(int64_t count);

// Nothing fails any more. Of a device that was lost all memory and handles are gone, as after a
// restart.
SIMCUDA_API void simcuda_heal();

// Below 0: late.
SIMCUDA_API void simcuda_schedule(int64_t seed);

// What the device says of itself: total memory, whether it shares the host's, compute capability as
// 10 * major + minor.
SIMCUDA_API void simcuda_device(size_t bytes, int integrated, int capability);
