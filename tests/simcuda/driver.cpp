// CUDA's driver API over the simulated machine: what pycuda, cuda-bindings and maskrt call.
#include <dlfcn.h>

#include <cstdio>
#include <cstring>

#include "control.h"
#include "machine.h"

#define API extern "C" __attribute__((visibility("default"))) int

using namespace simcuda;

namespace {

using Lock = std::unique_lock<std::mutex>;

constexpr int kRelaxed = 2;  // CU_STREAM_CAPTURE_MODE_RELAXED
constexpr int kVersion = 13000;

Machine& gpu() { return Machine::instance(); }

// What every call begins with: by the schedule some work runs, and the call may be made to fail.
Status enter(Lock& lock, bool may_fail = true) {
  Machine& m = gpu();
  m.drift(lock);
  ++m.counts.calls;
  if (may_fail && m.dead == kOk && m.fail_after >= 0 && m.fail_after-- == 0) {
    if (m.fail_sticky) m.dead = m.fail_with;
    return m.fail_with;
  }
  if (m.dead != kOk) return m.dead;
  return current_context() ? kOk : kInvalidContext;
}

#define ENTER()                    \
  Lock lock = gpu().lock();        \
  {                                \
    const Status at = enter(lock); \
    if (at != kOk) return at;      \
  }

// For what gives things back: only a lost device makes it fail.
#define ENTER_RELEASE()                   \
  Lock lock = gpu().lock();               \
  {                                       \
    const Status at = enter(lock, false); \
    if (at != kOk) return at;             \
  }

#define EXPECT(condition, status) \
  if (!(condition)) return status

Stream* stream_of(void* handle) {
  // 0, CU_STREAM_LEGACY and CU_STREAM_PER_THREAD
  if (reinterpret_cast<uintptr_t>(handle) <= 2) return gpu().default_stream();
  auto* const stream = static_cast<Stream*>(handle);
  if (!gpu().known(stream) || stream->destroyed) return nullptr;
  return stream->context == current_context() ? stream : nullptr;
}

#define FIND_STREAM(name, handle)         \
  Stream* const name = stream_of(handle); \
  EXPECT(name, kInvalidHandle)

Event* event_of(void* handle) {
  auto* const event = static_cast<Event*>(handle);
  return gpu().known(event) && event->context == current_context() ? event : nullptr;
}

#define FIND_EVENT(name, handle)        \
  Event* const name = event_of(handle); \
  EXPECT(name, kInvalidHandle)

const void* host(uint64_t address) { return reinterpret_cast<const void*>(address); }
void* writable(uint64_t address) { return reinterpret_cast<void*>(address); }

// The range must still be there when the copy runs.
void move(uint64_t to, uint64_t from, size_t bytes, bool to_block, bool from_block) {
  {
    Lock lock = gpu().lock();
    if ((to_block && !gpu().find(to, bytes)) || (from_block && !gpu().find(from, bytes))) {
      gpu().violation("a copy of " + std::to_string(bytes) +
                      " bytes runs after its memory is gone");
      return;
    }
  }
  std::memmove(writable(to), host(from), bytes);
}

enum class Side { kHost, kDevice };

int copy(uint64_t to, Side to_side, uint64_t from, Side from_side, size_t bytes, void* handle,
         bool wait) {
  ENTER();
  EXPECT(bytes > 0, kOk);
  Stream* const stream = wait ? gpu().default_stream() : stream_of(handle);
  EXPECT(stream, kInvalidHandle);
  const Block* const target = gpu().find(to, bytes);
  const Block* const source = gpu().find(from, bytes);
  if ((to_side == Side::kDevice && !target) || (from_side == Side::kDevice && !source)) {
    gpu().violation("a copy of " + std::to_string(bytes) + " bytes reaches beyond its memory");
    return kInvalidValue;
  }
  Counts& counts = gpu().counts;
  if (from_side == Side::kHost) counts.uploaded_bytes += static_cast<int64_t>(bytes);
  if (to_side == Side::kHost) counts.downloaded_bytes += static_cast<int64_t>(bytes);
  const bool pageable = !target || !source;
  if (pageable && stream->capturing) {
    stream->invalidated = true;
    return kCaptureUnsupported;
  }
  if (pageable && !wait) ++counts.pageable_copies;
  const bool to_block = target != nullptr, from_block = source != nullptr;
  if (!source) {  // CUDA takes a copy before it returns
    auto staged = std::make_shared<std::vector<unsigned char>>(bytes);
    std::memcpy(staged->data(), host(from), bytes);
    gpu().enqueue(
        stream, [=] { move(to, reinterpret_cast<uint64_t>(staged->data()), bytes, true, false); });
  } else {
    gpu().enqueue(stream, [=] { move(to, from, bytes, to_block, from_block); }, {to, from});
  }
  // to pageable memory CUDA returns when the copy is done
  if (wait || !target) return gpu().synchronize(lock, stream);
  return kOk;
}

int fill(uint64_t address, std::vector<unsigned char> pattern, size_t count, void* handle,
         bool wait) {
  ENTER();
  const size_t bytes = count * pattern.size();
  EXPECT(bytes > 0, kOk);
  Stream* const stream = wait ? gpu().default_stream() : stream_of(handle);
  EXPECT(stream, kInvalidHandle);
  EXPECT(gpu().find(address, bytes), kInvalidValue);
  gpu().enqueue(stream, [=] {
    auto* const to = static_cast<unsigned char*>(writable(address));
    for (size_t i = 0; i < bytes; ++i) to[i] = pattern[i % pattern.size()];
  });
  return wait ? gpu().synchronize(lock, stream) : kOk;
}

Context* primary() {
  static Context* const context = new Context{0, true};
  return context;
}

Status begin_capture(Stream* stream) {
  EXPECT(!stream->capturing, kCaptureUnsupported);
  stream->capturing = true;
  stream->invalidated = false;
  stream->capture = {};
  return kOk;
}

struct Description {
  int status;
  const char* name;
  const char* text;
};

const Description& described(int status) {
  static const Description known[] = {
      {kOk, "CUDA_SUCCESS", "no error"},
      {kOutOfMemory, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
      {kIllegalAddress, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
      {kLaunchFailed, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
  };
  static const Description other = {-1, "CUDA_ERROR_SIMULATED", "simulated error"};
  for (const Description& one : known) {
    if (one.status == status) return one;
  }
  return other;
}

}  // namespace

// ---- the driver and the device

API cuInit(unsigned) { return kOk; }
API cuDriverGetVersion(int* version) { return *version = kVersion, kOk; }
API cuDeviceGetCount(int* count) { return *count = 1, kOk; }
API cuDeviceGet(int* device, int index) {
  EXPECT(index == 0, kInvalidDevice);
  return *device = 0, kOk;
}
API cuDeviceGetName(char* name, int length, int) {
  std::snprintf(name, static_cast<size_t>(length), "Simulated GPU");
  return kOk;
}
API cuDeviceTotalMem_v2(size_t* bytes, int) { return *bytes = gpu().memory_limit, kOk; }
API cuDeviceGetAttribute(int* value, int attribute, int) {
  constexpr int kWarp = 10, kIntegrated = 18, kMap = 19, kUnified = 41, kMajor = 75, kMinor = 76;
  switch (attribute) {
    case kWarp:
      *value = 32;
      break;
    case kIntegrated:
      *value = gpu().integrated;
      break;
    case kMap:
      *value = 1;
      break;
    case kUnified:
      *value = 1;
      break;
    case kMajor:
      *value = gpu().capability / 10;
      break;
    case kMinor:
      *value = gpu().capability % 10;
      break;
    default:
      *value = 0;
  }
  return kOk;
}
API cuDeviceComputeCapability(int* major, int* minor, int) {
  *major = gpu().capability / 10;
  *minor = gpu().capability % 10;
  return kOk;
}
API cuDeviceGetPCIBusId(char* text, int length, int) {
  std::snprintf(text, static_cast<size_t>(length), "0000:00:00.0");
  return kOk;
}
API cuDeviceGetUuid_v2(void* uuid, int) { return std::memset(uuid, 1, 16), kOk; }
API cuMemGetInfo_v2(size_t* free, size_t* total) {
  ENTER();
  *free = gpu().free_bytes();
  *total = gpu().memory_limit;
  return kOk;
}

// ---- contexts

API cuDevicePrimaryCtxRetain(void** context, int) {
  Lock lock = gpu().lock();
  gpu().contexts.insert(primary());
  ++primary()->references;
  *context = primary();
  return kOk;
}
API cuDevicePrimaryCtxRelease_v2(int) {
  Lock lock = gpu().lock();
  EXPECT(primary()->references > 0, kInvalidContext);
  if (--primary()->references > 0) return kOk;
  gpu().end_context(primary());
  return kOk;
}
API cuDevicePrimaryCtxGetState(int, unsigned* flags, int* active) {
  *flags = 0;
  return *active = primary()->references > 0, kOk;
}
API cuDevicePrimaryCtxSetFlags_v2(int, unsigned) { return kOk; }
API cuCtxCreate_v2(void** context, unsigned, int) {
  Lock lock = gpu().lock();
  auto* const made = new Context{1, false};
  gpu().contexts.insert(made);
  context_stack().push_back(made);
  *context = made;
  return kOk;
}
API cuCtxCreate_v3(void** context, void*, int, unsigned flags, int device) {
  return cuCtxCreate_v2(context, flags, device);
}
API cuCtxCreate_v4(void** context, void*, unsigned flags, int device) {
  return cuCtxCreate_v2(context, flags, device);
}
API cuCtxDestroy_v2(void* handle) {
  Lock lock = gpu().lock();
  auto* const context = static_cast<Context*>(handle);
  EXPECT(gpu().contexts.count(context), kInvalidContext);
  gpu().end_context(context);
  gpu().contexts.erase(context);
  auto& stack = context_stack();
  if (!stack.empty() && stack.back() == context) stack.pop_back();
  return kOk;
}
API cuCtxPushCurrent_v2(void* context) {
  return context_stack().push_back(static_cast<Context*>(context)), kOk;
}
API cuCtxPopCurrent_v2(void** context) {
  EXPECT(!context_stack().empty(), kInvalidContext);
  if (context) *context = context_stack().back();
  return context_stack().pop_back(), kOk;
}
API cuCtxSetCurrent(void* context) {
  auto& stack = context_stack();
  if (!stack.empty()) stack.pop_back();
  if (context) stack.push_back(static_cast<Context*>(context));
  return kOk;
}
API cuCtxGetCurrent(void** context) { return *context = current_context(), kOk; }
API cuCtxGetDevice(int* device) {
  EXPECT(current_context(), kInvalidContext);
  return *device = 0, kOk;
}
API cuCtxGetApiVersion(void*, unsigned* version) { return *version = 3020, kOk; }
API cuCtxSynchronize() {
  ENTER();
  return gpu().synchronize_all(lock);
}

// ---- memory

API cuMemAlloc_v2(uint64_t* address, size_t bytes) {
  ENTER();
  return gpu().allocate(bytes, false, address);
}
API cuMemFree_v2(uint64_t address) {
  ENTER_RELEASE();
  return gpu().release(address, false);
}
API cuMemHostAlloc(void** memory, size_t bytes, unsigned) {
  ENTER();
  return gpu().allocate(bytes, true, reinterpret_cast<uint64_t*>(memory));
}
API cuMemAllocHost_v2(void** memory, size_t bytes) { return cuMemHostAlloc(memory, bytes, 0); }
API cuMemFreeHost(void* memory) {
  ENTER_RELEASE();
  return gpu().release(reinterpret_cast<uint64_t>(memory), true);
}
API cuMemHostGetDevicePointer_v2(uint64_t* address, void* memory, unsigned) {
  ENTER();
  EXPECT(gpu().find(reinterpret_cast<uint64_t>(memory), 1), kInvalidValue);
  return *address = reinterpret_cast<uint64_t>(memory), kOk;
}
API cuMemHostGetFlags(unsigned* flags, void*) { return *flags = 0, kOk; }
API cuMemcpyHtoDAsync_v2(uint64_t to, const void* from, size_t bytes, void* stream) {
  return copy(to, Side::kDevice, reinterpret_cast<uint64_t>(from), Side::kHost, bytes, stream,
              false);
}
API cuMemcpyDtoHAsync_v2(void* to, uint64_t from, size_t bytes, void* stream) {
  return copy(reinterpret_cast<uint64_t>(to), Side::kHost, from, Side::kDevice, bytes, stream,
              false);
}
API cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, void* stream) {
  return copy(to, Side::kDevice, from, Side::kDevice, bytes, stream, false);
}
API cuMemcpyHtoD_v2(uint64_t to, const void* from, size_t bytes) {
  return copy(to, Side::kDevice, reinterpret_cast<uint64_t>(from), Side::kHost, bytes, nullptr,
              true);
}
API cuMemcpyDtoH_v2(void* to, uint64_t from, size_t bytes) {
  return copy(reinterpret_cast<uint64_t>(to), Side::kHost, from, Side::kDevice, bytes, nullptr,
              true);
}
API cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) {
  return copy(to, Side::kDevice, from, Side::kDevice, bytes, nullptr, true);
}
API cuMemsetD8_v2(uint64_t address, unsigned char value, size_t count) {
  return fill(address, {value}, count, nullptr, true);
}
API cuMemsetD8Async(uint64_t address, unsigned char value, size_t count, void* stream) {
  return fill(address, {value}, count, stream, false);
}
API cuMemsetD32_v2(uint64_t address, unsigned value, size_t count) {
  std::vector<unsigned char> pattern(4);
  std::memcpy(pattern.data(), &value, 4);
  return fill(address, pattern, count, nullptr, true);
}
API cuMemsetD32Async(uint64_t address, unsigned value, size_t count, void* stream) {
  std::vector<unsigned char> pattern(4);
  std::memcpy(pattern.data(), &value, 4);
  return fill(address, pattern, count, stream, false);
}

// ---- streams and events

API cuStreamCreate(void** stream, unsigned flags) {
  ENTER();
  return *stream = gpu().create_stream(flags == 0), kOk;
}
API cuStreamCreateWithPriority(void** stream, unsigned flags, int) {
  return cuStreamCreate(stream, flags);
}
API cuStreamDestroy_v2(void* handle) {
  ENTER_RELEASE();
  FIND_STREAM(stream, handle);
  return gpu().destroy_stream(stream);
}
API cuStreamSynchronize(void* handle) {
  ENTER();
  FIND_STREAM(stream, handle);
  if (stream->capturing) {
    stream->invalidated = true;
    return kCaptureUnsupported;
  }
  return gpu().synchronize(lock, stream);
}
API cuStreamQuery(void* handle) {
  ENTER();
  FIND_STREAM(stream, handle);
  return stream->queue.empty() ? kOk : kNotReady;
}
API cuStreamWaitEvent(void* handle, void* event_handle, unsigned) {
  ENTER();
  FIND_STREAM(stream, handle);
  FIND_EVENT(event, event_handle);
  return gpu().wait_event(stream, event);
}
API cuEventCreate(void** event, unsigned flags) {
  constexpr unsigned kDisableTiming = 2;
  ENTER();
  return *event = gpu().create_event(!(flags & kDisableTiming)), kOk;
}
API cuEventDestroy_v2(void* handle) {
  ENTER_RELEASE();
  FIND_EVENT(event, handle);
  return gpu().destroy_event(event);
}
API cuEventRecord(void* handle, void* stream_handle) {
  ENTER();
  FIND_EVENT(event, handle);
  FIND_STREAM(stream, stream_handle);
  return gpu().record(event, stream);
}
API cuEventQuery(void* handle) {
  ENTER();
  FIND_EVENT(event, handle);
  return !event->mark || event->mark->done ? kOk : kNotReady;
}
API cuEventSynchronize(void* handle) {
  ENTER();
  FIND_EVENT(event, handle);
  return gpu().synchronize(lock, std::shared_ptr<Mark>(event->mark));
}
API cuEventElapsedTime(float* milliseconds, void* first, void* last) {
  ENTER();
  FIND_EVENT(start, first);
  FIND_EVENT(end, last);
  EXPECT(start->timing && end->timing && start->mark && end->mark, kInvalidHandle);
  EXPECT(start->mark->done && end->mark->done, kNotReady);
  *milliseconds = static_cast<float>(end->mark->milliseconds - start->mark->milliseconds);
  return kOk;
}
API cuEventElapsedTime_v2(float* milliseconds, void* first, void* last) {
  return cuEventElapsedTime(milliseconds, first, last);
}

// ---- graphs

API cuStreamBeginCapture_v2(void* handle, int mode) {
  ENTER();
  // others would forbid allocations of all threads meanwhile, among them the app's own
  EXPECT(mode == kRelaxed || mode == 1, kNotSupported);
  FIND_STREAM(stream, handle);
  EXPECT(reinterpret_cast<uintptr_t>(handle) > 2, kCaptureUnsupported);
  return begin_capture(stream);
}
API cuStreamEndCapture(void* handle, void** graph) {
  ENTER();
  FIND_STREAM(stream, handle);
  *graph = nullptr;
  EXPECT(stream->capturing, kCaptureUnmatched);
  stream->capturing = false;
  if (gpu().capture_fails > 0) {
    --gpu().capture_fails;
    stream->invalidated = true;
  }
  EXPECT(!stream->invalidated, kCaptureInvalidated);
  auto* const made = new Graph(std::move(stream->capture));
  made->context = current_context();
  stream->capture = {};
  gpu().graphs.insert(made);
  ++gpu().counts.live_graphs;
  ++gpu().counts.captures;
  *graph = made;
  return kOk;
}
API cuStreamIsCapturing(void* handle, int* status) {
  ENTER();
  FIND_STREAM(stream, handle);
  return *status = stream->capturing ? 1 : 0, kOk;
}
API cuGraphInstantiateWithFlags(void** executable, void* handle, unsigned long long) {
  ENTER();
  auto* const graph = static_cast<Graph*>(handle);
  EXPECT(gpu().graphs.count(graph), kInvalidValue);
  auto* const made = new Graph(*graph);
  gpu().executables.insert(made);
  ++gpu().counts.live_graphs;
  *executable = made;
  return kOk;
}
API cuGraphDestroy(void* handle) {
  ENTER_RELEASE();
  auto* const graph = static_cast<Graph*>(handle);
  EXPECT(gpu().graphs.erase(graph), kInvalidValue);
  --gpu().counts.live_graphs;
  Graph dropped = std::move(*graph);
  delete graph;
  lock.unlock();  // what goes with it may call into Python
  return kOk;
}
API cuGraphExecDestroy(void* handle) {
  ENTER_RELEASE();
  auto* const graph = static_cast<Graph*>(handle);
  EXPECT(gpu().executables.erase(graph), kInvalidValue);
  --gpu().counts.live_graphs;
  Graph dropped = std::move(*graph);
  delete graph;
  lock.unlock();
  return kOk;
}
API cuGraphLaunch(void* handle, void* stream_handle) {
  ENTER();
  auto* const graph = static_cast<Graph*>(handle);
  EXPECT(gpu().executables.count(graph), kInvalidValue);
  FIND_STREAM(stream, stream_handle);
  ++gpu().counts.graph_launches;
  return gpu().enqueue(stream, [work = graph->work] {
    for (const Work& piece : work) piece();
  });
}

// ---- errors, and how callers find all of this

API cuGetErrorString(int status, const char** text) { return *text = described(status).text, kOk; }
API cuGetErrorName(int status, const char** text) { return *text = described(status).name, kOk; }
API cuGetProcAddress_v2(const char* name, void** function, int, uint64_t, int* state) {
  static void* const self = dlopen("libcuda.so.1", RTLD_NOLOAD | RTLD_NOW);
  *function = nullptr;
  for (const char* const version : {"_v4", "_v2", ""}) {
    if (*function) break;
    *function = dlsym(self, (std::string(name) + version).c_str());
  }
  if (state) *state = *function ? 0 : 1;
  return *function ? kOk : 500;  // CUDA_ERROR_NOT_FOUND
}
API cuGetProcAddress(const char* name, void** function, int version, uint64_t flags) {
  return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}

// ---- control.h

int simcuda_enqueue(void* handle, void (*run)(void*), void* argument, void (*drop)(void*)) {
  // before the lock: dropping may call into Python
  const std::shared_ptr<void> held(argument, [drop](void* kept) {
    if (drop) drop(kept);
  });
  ENTER();
  FIND_STREAM(stream, handle);
  return gpu().enqueue(stream, [run, held] { run(held.get()); });
}

int simcuda_valid(uint64_t address, size_t bytes) {
  Lock lock = gpu().lock();
  return gpu().find(address, bytes) != nullptr;
}

void simcuda_counts(SimcudaCounts* counts) {
  Lock lock = gpu().lock();
  static_assert(sizeof(SimcudaCounts) == sizeof(Counts), "the same fields");
  std::memcpy(counts, &gpu().counts, sizeof *counts);
}

const char* simcuda_violations() {
  static std::string taken;
  Lock lock = gpu().lock();
  taken = gpu().take_violations();
  return taken.empty() ? nullptr : taken.c_str();
}

void simcuda_note(const char* what) {
  Lock lock = gpu().lock();
  gpu().violation(what);
}

void simcuda_fail(int64_t after, int status, int sticky) {
  Lock lock = gpu().lock();
  gpu().fail_after = after;
  gpu().fail_with = static_cast<Status>(status);
  gpu().fail_sticky = sticky != 0;
}

void simcuda_fail_work(int64_t after) {
  Lock lock = gpu().lock();
  gpu().work_fails_after = after;
}

void simcuda_fail_captures(int64_t count) {
  Lock lock = gpu().lock();
  gpu().capture_fails = count;
}

void simcuda_heal() {
  Lock lock = gpu().lock();
  Machine& m = gpu();
  m.fail_after = m.work_fails_after = -1;
  m.capture_fails = 0;
  if (m.dead != kOk) {
    for (Context* const context : m.contexts) m.end_context(context);
  }
  m.dead = kOk;
}

void simcuda_schedule(int64_t seed) {
  Lock lock = gpu().lock();
  gpu().seed = seed;
  gpu().reseed();
}

void simcuda_device(size_t bytes, int integrated, int capability) {
  Lock lock = gpu().lock();
  gpu().memory_limit = bytes;
  gpu().integrated = integrated != 0;
  gpu().capability = capability;
}
