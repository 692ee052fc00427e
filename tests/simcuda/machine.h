// The simulated GPU: memory, streams, events, graphs. driver.cpp puts CUDA's driver API over it.
//
// Nothing that is queued runs before something legally forces it, or before the schedule says so:
//   late    (the default) only what a wait needs runs, on that stream and those it waits for
//   random  beside that, at any call, some of what could run already does, on any stream
// So a missing wait, a buffer that is reused too early or a wrong stream shows as wrong data.
//
// Device memory cannot be touched by the host: it is readable only while queued work runs.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace simcuda {

// Of CUresult.
enum Status : int {
  kOk = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kDeinitialized = 4,
  kNoDevice = 100,
  kInvalidDevice = 101,
  kInvalidContext = 201,
  kInvalidHandle = 400,
  kNotReady = 600,
  kIllegalAddress = 700,
  kLaunchFailed = 719,
  kNotSupported = 801,
  kCaptureUnsupported = 900,
  kCaptureInvalidated = 901,
  kCaptureUnmatched = 903,
  kCaptureIsolation = 905,
};

using Work = std::function<void()>;

struct Context {
  int references = 0;  // of the primary one
  bool primary = false;
};

// A point in a stream that an event stands for.
struct Mark {
  bool done = false;
  double milliseconds = 0.0;  // when it was reached
  struct Stream* stream = nullptr;
};

struct Event {
  Context* context;
  bool timing;
  std::shared_ptr<Mark> mark;  // of the last record; null: never recorded
};

struct Operation {
  enum Kind { kWork, kReach, kWait } kind;
  Work work;
  std::shared_ptr<Mark> mark;
  std::vector<uint64_t> touches;  // addresses, as far as they are known
};

struct Graph {
  std::vector<Work> work;
  Context* context = nullptr;
};

struct Stream {
  Context* context;
  bool blocking;  // waits for, and is waited for by, the default stream
  std::deque<Operation> queue;
  bool destroyed = false;
  bool capturing = false;
  bool invalidated = false;  // the capture
  Graph capture;
};

struct Block {
  size_t bytes;
  bool host;
  Context* context;
};

// What tests look at; control.h says what the fields are.
struct Counts {
  int64_t calls, allocations, host_allocations, live_blocks, live_streams, live_events, live_graphs,
      uploaded_bytes, downloaded_bytes, pageable_copies, work, graph_launches, waits, captures;
};

class Machine {
 public:
  static Machine& instance();

  // Held by every driver call; work runs without it.
  std::unique_lock<std::mutex> lock() { return std::unique_lock<std::mutex>(mutex_); }

  // Memory. Addresses are never used twice.
  Status allocate(size_t bytes, bool host, uint64_t* address);
  Status release(uint64_t address, bool host);
  // The block that holds the range; null where there is none.
  const Block* find(uint64_t address, size_t bytes) const;
  size_t free_bytes() const { return memory_limit - used_; }

  // Streams.
  Stream* create_stream(bool blocking);
  Status destroy_stream(Stream* stream);
  bool known(const Stream* stream) const { return streams_.count(const_cast<Stream*>(stream)) > 0; }
  Stream* default_stream();
  Status enqueue(Stream* stream, Work work, std::vector<uint64_t> touches = {});
  Status record(Event* event, Stream* stream);
  Status wait_event(Stream* stream, const Event* event);
  // Runs what is needed. The lock is let go of while work runs.
  Status synchronize(std::unique_lock<std::mutex>& lock, Stream* stream);
  Status synchronize(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Mark>& mark);
  Status synchronize_all(std::unique_lock<std::mutex>& lock);
  void reseed() { generator_.seed(static_cast<unsigned>(seed)); }
  // By the schedule: some work may run now.
  void drift(std::unique_lock<std::mutex>& lock);

  Event* create_event(bool timing);
  Status destroy_event(Event* event);
  bool known(const Event* event) const { return events_.count(const_cast<Event*>(event)) > 0; }

  // A thing that must not be is noted, and found by the tests.
  void violation(const std::string& what);
  std::string take_violations();

  // What is left of a context when it ends is freed.
  void end_context(Context* context);

  std::set<Graph*> graphs;
  std::set<Graph*> executables;
  std::set<Context*> contexts;
  Counts counts{};
  Status dead = kOk;        // a sticky error: every call gives it
  int64_t fail_after = -1;  // calls until one fails; -1: none
  Status fail_with = kOk;
  bool fail_sticky = false;
  int64_t work_fails_after = -1;  // pieces of work until one fails; -1: none
  int64_t capture_fails = 0;      // captures that are to fail
  size_t memory_limit = size_t{4} << 30;
  bool integrated = false;
  int capability = 89;
  int64_t seed = -1;  // of the schedule; -1: late

 private:
  Machine();
  bool used(uint64_t address, const Block& block) const;
  bool step(std::unique_lock<std::mutex>& lock, Stream* stream, bool force);
  void open_memory(bool open);
  void forget(Stream* stream);

  std::mutex mutex_;
  std::condition_variable changed_;
  bool running_ = false;  // some thread runs work
  std::thread::id runner_;
  unsigned char* arena_ = nullptr;
  size_t next_ = 0;
  size_t used_ = 0;
  std::map<uint64_t, Block> blocks_;
  std::set<Stream*> streams_;
  std::set<Event*> events_;
  std::map<Context*, Stream*> defaults_;
  std::mt19937 generator_;
  std::string violations_;
};

// The calling thread's stack of contexts.
std::vector<Context*>& context_stack();
Context* current_context();

}  // namespace simcuda
