#include "emulation/cuda.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <vector>

#if defined(MASKRT_SIMULATED)
#include "simcuda/control.h"
#endif

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace maskrt {
namespace emulation {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr size_t kStackBytes = 512 * 1024;
#else
constexpr size_t kStackBytes = 128 * 1024;
#endif
constexpr unsigned kMaxThreads = 1024;

enum class State { kReady, kBlock, kWarp, kDone };

struct Fiber {
  Thread thread;
  State state = State::kReady;
  uint64_t value = 0;  // brought to the barrier or the warp operation
  Vote vote = Vote::kNone;
  unsigned mask = 0;
  ucontext_t context;
  void* fake_stack = nullptr;
};

struct Machine {
  std::vector<Fiber> fibers;
  ucontext_t scheduler;
  void* scheduler_fake_stack = nullptr;
  const void* scheduler_stack = nullptr;
  size_t scheduler_stack_bytes = 0;
  unsigned char* stacks = nullptr;
  Fiber* running = nullptr;
  const std::function<void()>* kernel = nullptr;
  int vote = 0;
  std::vector<uint64_t> published;  // 32 for each warp
  std::vector<unsigned char> shared;
  unsigned char* shared_base = nullptr;
};

Machine& machine() {
  static thread_local Machine instance;
  return instance;
}

[[noreturn]] void stuck(const char* what) {
  std::fprintf(stderr, "emulated kernel: %s\n", what);
  std::abort();
}

void switch_to_scheduler(bool last) {
  Machine& m = machine();
  Fiber* const self = m.running;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(last ? nullptr : &self->fake_stack, m.scheduler_stack,
                                 m.scheduler_stack_bytes);
#endif
  (void)last;
  swapcontext(&self->context, &m.scheduler);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(self->fake_stack, &m.scheduler_stack, &m.scheduler_stack_bytes);
#endif
}

void enter() {
  Machine& m = machine();
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &m.scheduler_stack, &m.scheduler_stack_bytes);
#endif
  (*m.kernel)();
  m.running->state = State::kDone;
  switch_to_scheduler(true);
}

void resume(Fiber& fiber, size_t slot) {
  Machine& m = machine();
  m.running = &fiber;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&m.scheduler_fake_stack, m.stacks + slot * kStackBytes,
                                 kStackBytes);
#endif
  (void)slot;
  swapcontext(&m.scheduler, &fiber.context);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(m.scheduler_fake_stack, nullptr, nullptr);
#endif
}

// Lets the warps go on whose lanes have all arrived.
bool release_warps() {
  Machine& m = machine();
  bool any = false;
  for (size_t first = 0; first < m.fibers.size(); first += 32) {
    const size_t end = std::min(first + 32, m.fibers.size());
    for (size_t i = first; i < end; ++i) {
      const Fiber& fiber = m.fibers[i];
      if (fiber.state != State::kWarp) continue;
      const unsigned mask = fiber.mask;
      bool complete = true;
      for (size_t j = 0; j < 32 && complete; ++j) {
        if (!(mask >> j & 1u)) continue;
        complete = first + j < end && m.fibers[first + j].state == State::kWarp &&
                   m.fibers[first + j].mask == mask;
      }
      if (!complete) continue;
      for (size_t j = 0; j < 32; ++j) {
        if (!(mask >> j & 1u)) continue;
        m.published[first + j] = m.fibers[first + j].value;
        m.fibers[first + j].state = State::kReady;
      }
      any = true;
    }
  }
  return any;
}

bool release_block() {
  Machine& m = machine();
  int both = 1, one = 0, count = 0, waiting = 0;
  for (const Fiber& fiber : m.fibers) {
    if (fiber.state == State::kDone) continue;
    if (fiber.state != State::kBlock) return false;
    ++waiting;
    both = both && fiber.value;
    one = one || fiber.value;
    count += fiber.value != 0;
  }
  if (!waiting) return false;
  for (Fiber& fiber : m.fibers) {
    if (fiber.state != State::kBlock) continue;
    m.vote = fiber.vote == Vote::kAnd ? both : fiber.vote == Vote::kOr ? one : count;
    fiber.state = State::kReady;
  }
  return true;
}

// The order in which the threads of a block run between two barriers: MASKRT_EMULATION_ORDER is
// forward (the default), reverse or shuffled.
void set_order(std::vector<size_t>& order) {
  const char* const name = std::getenv("MASKRT_EMULATION_ORDER");
  const std::string chosen = name ? name : "forward";
  if (chosen == "reverse") {
    std::reverse(order.begin(), order.end());
  } else if (chosen == "shuffled") {
    static thread_local std::mt19937 generator(1);
    std::shuffle(order.begin(), order.end(), generator);
  } else if (chosen != "forward") {
    stuck("MASKRT_EMULATION_ORDER must be forward, reverse or shuffled");
  }
}

void run_block(uint3 block, dim3 block_size, dim3 grid_size) {
  Machine& m = machine();
  const size_t count = static_cast<size_t>(block_size.x) * block_size.y * block_size.z;
  m.fibers.resize(count);
  m.published.assign((count + 31) / 32 * 32, 0);
  std::fill(m.shared.begin(), m.shared.end(), static_cast<unsigned char>(0xfe));
  std::vector<size_t> order(count);
  for (size_t i = 0; i < count; ++i) {
    order[i] = i;
    Fiber& fiber = m.fibers[i];
    const auto x = static_cast<unsigned>(i % block_size.x);
    const auto y = static_cast<unsigned>(i / block_size.x % block_size.y);
    const auto z = static_cast<unsigned>(i / block_size.x / block_size.y);
    fiber.thread = {{x, y, z}, block, block_size, grid_size};
    fiber.state = State::kReady;
    fiber.fake_stack = nullptr;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = m.stacks + i * kStackBytes;
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
  set_order(order);
  for (;;) {
    bool ran = false;
    for (const size_t i : order) {
      if (m.fibers[i].state != State::kReady) continue;
      resume(m.fibers[i], i);
      ran = true;
    }
    const bool released = release_warps() || release_block();
    if (ran || released) continue;
    for (const Fiber& fiber : m.fibers) {
      if (fiber.state != State::kDone) stuck("some threads wait for others that never come");
    }
    return;
  }
}

}  // namespace

const Thread& thread() { return machine().running->thread; }

void* shared_memory() { return machine().shared_base; }

int block_barrier(Vote vote, int value) {
  Fiber* const self = machine().running;
  self->state = State::kBlock;
  self->vote = vote;
  self->value = static_cast<uint64_t>(value != 0);
  switch_to_scheduler(false);
  return machine().vote;
}

const uint64_t* warp_exchange(unsigned mask, uint64_t value) {
  Fiber* const self = machine().running;
  if (!(mask >> lane() & 1u)) stuck("a lane calls a warp operation whose mask lacks it");
  self->state = State::kWarp;
  self->mask = mask;
  self->value = value;
  switch_to_scheduler(false);
  const auto at = static_cast<size_t>(machine().running - machine().fibers.data());
  return machine().published.data() + at / 32 * 32;
}

cudaError_t check(dim3 grid, dim3 block, size_t shared_bytes) {
  const uint64_t threads = static_cast<uint64_t>(block.x) * block.y * block.z;
  if (threads == 0 || threads > kMaxThreads || block.z > 64 || grid.x == 0 || grid.y == 0 ||
      grid.z == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535 ||
      shared_bytes > 48 * 1024) {
    return cudaErrorInvalidConfiguration;
  }
  return cudaSuccess;
}

void run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel) {
  Machine& m = machine();
  if (!m.stacks) {
    void* const memory = mmap(nullptr, kMaxThreads * kStackBytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) stuck("no memory for the threads' stacks");
    m.stacks = static_cast<unsigned char*>(memory);
  }
  m.kernel = &kernel;
  m.shared.resize(shared_bytes);  // the exact size, so that AddressSanitizer sees its end
  m.shared.shrink_to_fit();
  m.shared_base = m.shared.data();
  for (unsigned z = 0; z < grid.z; ++z) {
    for (unsigned y = 0; y < grid.y; ++y) {
      for (unsigned x = 0; x < grid.x; ++x) run_block({x, y, z}, block, grid);
    }
  }
}

#if defined(MASKRT_SIMULATED)
extern "C" __attribute__((visibility("default"))) int maskrt_cuda_version() { return 13000; }

cudaError_t submit(cudaStream_t stream, std::function<void()> work) {
  using Held = std::function<void()>;
  // the driver's numbers of errors are the runtime's
  return static_cast<cudaError_t>(simcuda_enqueue(
      stream, [](void* held) { (*static_cast<Held*>(held))(); }, new Held(std::move(work)),
      [](void* held) { delete static_cast<Held*>(held); }));
}
#else
cudaError_t submit(cudaStream_t, std::function<void()> work) {
  work();
  return cudaSuccess;
}
#endif

}  // namespace emulation
}  // namespace maskrt
