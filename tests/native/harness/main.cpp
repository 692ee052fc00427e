// maskrt_harness --list           names of all cases, one a line
// maskrt_harness CASE...          runs them; --all runs all

#include <cstdio>
#include <cstring>
#include <exception>

#include "harness/harness.h"

namespace harness {

std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

void expect_refused(const char* file, int line, const char* what, bool refused,
                    const std::string& words) {
  if (!refused)
    fail(file, line, std::string(what) + ": found no refusal, expected '" + words + "'");
  const auto messages = take_messages();
  if (messages.size() != 1 || messages[0].find(words) == std::string::npos) {
    std::string all;
    for (const std::string& message : messages) all += "\n  " + message;
    fail(file, line,
         std::string(what) + ": found these messages, expected one with '" + words + "':" + all);
  }
}

namespace {

bool run(const Case& chosen) {
  take_messages();
  try {
    chosen.body();
    const auto messages = take_messages();
    if (messages.empty()) return true;
    std::fprintf(stderr, "%s: left a message that no check took: %s\n", chosen.name,
                 messages[0].c_str());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s: %s\n", chosen.name, error.what());
    for (const auto& message : take_messages()) {
      std::fprintf(stderr, "  logged: %s\n", message.c_str());
    }
  }
  return false;
}

}  // namespace
}  // namespace harness

int main(int count, char** arguments) {
  int ran = 0, failed = 0;
  for (int i = 1; i < count; ++i) {
    if (!std::strcmp(arguments[i], "--list")) {
      for (const auto& one : harness::cases()) std::printf("%s\n", one.name);
      return 0;
    }
    const bool all = !std::strcmp(arguments[i], "--all");
    for (const auto& one : harness::cases()) {
      if (!all && std::strcmp(arguments[i], one.name)) continue;
      ++ran;
      if (!harness::run(one)) ++failed;
    }
  }
  std::printf("%d cases ran, %d failed\n", ran, failed);
  return ran && !failed ? 0 : 1;
}

#if defined(MASKRT_SANITIZE)
// The emulation's threads switch stacks so often that clearing shadow memory by mmap, as
// AddressSanitizer likes to, would take most of the time.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
  return "detect_stack_use_after_return=0:clear_shadow_mmap_threshold=1048576";
}
#endif
