#include "machine.h"

#include <sys/mman.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

namespace simcuda {
namespace {

constexpr size_t kArena = size_t{1} << 40;  // of addresses; memory is taken when it is touched
constexpr size_t kAlign = 4096;
constexpr size_t kGuard = 256;
constexpr unsigned char kGarbage = 0xA5;
constexpr unsigned char kFence = 0xC3;

double now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double, std::milli>(Clock::now().time_since_epoch()).count();
}

size_t span(size_t bytes) { return (bytes + kGuard + kAlign - 1) / kAlign * kAlign; }

}  // namespace

std::vector<Context*>& context_stack() {
  static thread_local std::vector<Context*> stack;
  return stack;
}

Context* current_context() { return context_stack().empty() ? nullptr : context_stack().back(); }

Machine& Machine::instance() {
  static Machine* const machine = new Machine;  // outlives everything that may call at exit
  return *machine;
}

Machine::Machine() {
  void* const memory =
      mmap(nullptr, kArena, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  arena_ = static_cast<unsigned char*>(memory);
}

Status Machine::allocate(size_t bytes, bool host, uint64_t* address) {
  if (bytes == 0) return kInvalidValue;
  if (!host && bytes > free_bytes()) return kOutOfMemory;
  const size_t size = span(bytes);
  unsigned char* const memory = arena_ + next_;
  next_ += size;
  mprotect(memory, size, PROT_READ | PROT_WRITE);
  std::memset(memory, kGarbage, bytes);
  std::memset(memory + bytes, kFence, size - bytes);
  if (!host) {
    if (!running_) mprotect(memory, size, PROT_NONE);
    used_ += bytes;
  }
  *address = reinterpret_cast<uint64_t>(memory);
  blocks_[*address] = {bytes, host, current_context()};
  ++(host ? counts.host_allocations : counts.allocations);
  ++counts.live_blocks;
  return kOk;
}

Status Machine::release(uint64_t address, bool host) {
  const auto found = blocks_.find(address);
  if (found == blocks_.end() || found->second.host != host) {
    violation("memory is freed that is not there");
    return kInvalidValue;
  }
  // CUDA may or may not wait here: nobody should count on it
  if (used(address, found->second)) violation("memory is freed while queued work uses it");
  const size_t bytes = found->second.bytes;
  auto* const memory = reinterpret_cast<unsigned char*>(address);
  mprotect(memory, span(bytes), PROT_READ | PROT_WRITE);
  for (size_t i = bytes; i < span(bytes); ++i) {
    if (memory[i] != kFence) {
      violation("something was written behind the end of a block of " + std::to_string(bytes));
      break;
    }
  }
  madvise(memory, span(bytes), MADV_DONTNEED);
  mprotect(memory, span(bytes), PROT_NONE);
  if (!host) used_ -= bytes;
  blocks_.erase(found);
  --counts.live_blocks;
  return kOk;
}

bool Machine::used(uint64_t address, const Block& block) const {
  for (const Stream* stream : streams_) {
    for (const Operation& operation : stream->queue) {
      for (const uint64_t touched : operation.touches) {
        if (touched >= address && touched < address + block.bytes) return true;
      }
    }
  }
  return false;
}

const Block* Machine::find(uint64_t address, size_t bytes) const {
  auto found = blocks_.upper_bound(address);
  if (found == blocks_.begin()) return nullptr;
  --found;
  const bool inside = address + bytes <= found->first + found->second.bytes;
  return inside ? &found->second : nullptr;
}

Stream* Machine::create_stream(bool blocking) {
  auto* const stream = new Stream{current_context(), blocking, {}, false, false, false, {}};
  streams_.insert(stream);
  ++counts.live_streams;
  return stream;
}

Status Machine::destroy_stream(Stream* stream) {
  stream->destroyed = true;  // what it has queued still runs
  --counts.live_streams;
  forget(stream);
  return kOk;
}

void Machine::forget(Stream* stream) {
  if (!stream->destroyed || !stream->queue.empty()) return;
  streams_.erase(stream);  // marks may still point to it: it stays in memory
}

Stream* Machine::default_stream() {
  Stream*& stream = defaults_[current_context()];
  if (!stream) {
    stream = create_stream(true);
    --counts.live_streams;  // nobody has made it
  }
  return stream;
}

Status Machine::enqueue(Stream* stream, Work work, std::vector<uint64_t> touches) {
  if (stream->capturing) {
    stream->capture.work.push_back(std::move(work));
    return kOk;
  }
  stream->queue.push_back({Operation::kWork, std::move(work), nullptr, std::move(touches)});
  return kOk;
}

Status Machine::record(Event* event, Stream* stream) {
  if (stream->capturing) {
    stream->invalidated = true;  // allowed by CUDA, for forks that nobody here makes
    return kCaptureUnsupported;
  }
  auto mark = std::make_shared<Mark>();
  mark->stream = stream;
  event->mark = mark;
  stream->queue.push_back({Operation::kReach, nullptr, std::move(mark), {}});
  return kOk;
}

Status Machine::wait_event(Stream* stream, const Event* event) {
  if (stream->capturing) {
    stream->invalidated = true;
    return kCaptureIsolation;
  }
  if (event->mark && !event->mark->done) {
    stream->queue.push_back({Operation::kWait, nullptr, event->mark, {}});
  }
  return kOk;
}

// Runs the stream's next operation; false where it waits for another stream, or is empty.
bool Machine::step(std::unique_lock<std::mutex>& lock, Stream* stream, bool force) {
  if (stream->queue.empty()) return false;
  Operation operation = std::move(stream->queue.front());
  if (operation.kind == Operation::kWait && !operation.mark->done) {
    const std::shared_ptr<Mark> mark = operation.mark;
    stream->queue.front() = std::move(operation);
    if (!force) return false;
    while (!mark->done) {
      if (!step(lock, mark->stream, true)) std::abort();  // a circle of waits
    }
    return true;
  }
  stream->queue.pop_front();
  if (operation.kind == Operation::kReach) {
    operation.mark->done = true;
    operation.mark->milliseconds = now();
  } else if (operation.kind == Operation::kWork && dead == kOk) {
    if (work_fails_after >= 0 && work_fails_after-- == 0) {
      dead = kLaunchFailed;
    } else {
      ++counts.work;
      lock.unlock();
      operation.work();
      lock.lock();
    }
  }
  lock.unlock();
  operation = {};  // may call into Python
  lock.lock();
  forget(stream);
  return true;
}

Status Machine::synchronize(std::unique_lock<std::mutex>& lock, Stream* stream) {
  auto mark = std::make_shared<Mark>();
  mark->stream = stream;
  stream->queue.push_back({Operation::kReach, nullptr, mark, {}});
  return synchronize(lock, mark);
}

Status Machine::synchronize(std::unique_lock<std::mutex>& lock, const std::shared_ptr<Mark>& mark) {
  ++counts.waits;
  while (mark && !mark->done) {
    if (running_) {
      changed_.wait(lock);
      continue;
    }
    running_ = true;
    open_memory(true);
    while (!mark->done && step(lock, mark->stream, true)) {
    }
    open_memory(false);
    running_ = false;
    changed_.notify_all();
  }
  return dead;
}

Status Machine::synchronize_all(std::unique_lock<std::mutex>& lock) {
  for (;;) {
    Stream* waiting = nullptr;
    for (Stream* stream : streams_) {
      if (!stream->queue.empty() && stream->context == current_context()) waiting = stream;
    }
    if (!waiting) return dead;
    synchronize(lock, waiting);
  }
}

void Machine::drift(std::unique_lock<std::mutex>& lock) {
  if (seed < 0 || running_) return;
  running_ = true;
  bool opened = false;
  for (int turns = static_cast<int>(generator_() % 4); turns > 0; --turns) {
    std::vector<Stream*> ready;
    for (Stream* stream : streams_) {
      if (!stream->queue.empty()) ready.push_back(stream);
    }
    if (ready.empty()) break;
    if (!opened) open_memory(true);
    opened = true;
    step(lock, ready[generator_() % ready.size()], false);
  }
  if (opened) open_memory(false);
  running_ = false;
  changed_.notify_all();
}

Event* Machine::create_event(bool timing) {
  auto* const event = new Event{current_context(), timing, nullptr};
  events_.insert(event);
  ++counts.live_events;
  return event;
}

Status Machine::destroy_event(Event* event) {
  events_.erase(event);
  --counts.live_events;
  delete event;
  return kOk;
}

void Machine::violation(const std::string& what) {
  if (violations_.size() < 4096) violations_ += what + "\n";
}

std::string Machine::take_violations() {
  std::string taken;
  taken.swap(violations_);
  return taken;
}

void Machine::end_context(Context* context) {
  for (auto at = blocks_.begin(); at != blocks_.end();) {
    if (at->second.context != context) {
      ++at;
      continue;
    }
    auto* const memory = reinterpret_cast<unsigned char*>(at->first);
    madvise(memory, span(at->second.bytes), MADV_DONTNEED);
    mprotect(memory, span(at->second.bytes), PROT_NONE);
    if (!at->second.host) used_ -= at->second.bytes;
    --counts.live_blocks;
    at = blocks_.erase(at);
  }
  for (auto at = streams_.begin(); at != streams_.end();) {
    Stream* const stream = *at;
    if (stream->context == context) {
      if (!stream->destroyed && defaults_[context] != stream) --counts.live_streams;
      at = streams_.erase(at);
    } else {
      ++at;
    }
  }
  for (auto at = events_.begin(); at != events_.end();) {
    if ((*at)->context == context) {
      --counts.live_events;
      at = events_.erase(at);
    } else {
      ++at;
    }
  }
  defaults_.erase(context);
  for (std::set<Graph*>* const kept : {&graphs, &executables}) {
    for (auto at = kept->begin(); at != kept->end();) {
      if ((*at)->context == context) {
        --counts.live_graphs;
        at = kept->erase(at);
      } else {
        ++at;
      }
    }
  }
}

// Neighbours are opened in one go: each call costs as much as copying some kilobytes.
void Machine::open_memory(bool open) {
  const int mode = open ? PROT_READ | PROT_WRITE : PROT_NONE;
  uint64_t first = 0, last = 0;
  for (const auto& [address, block] : blocks_) {
    if (block.host) continue;
    if (address != last) {
      if (last) mprotect(reinterpret_cast<void*>(first), last - first, mode);
      first = address;
    }
    last = address + span(block.bytes);
  }
  if (last) mprotect(reinterpret_cast<void*>(first), last - first, mode);
}

}  // namespace simcuda
