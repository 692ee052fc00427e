// A little test framework: cases that main() lists and runs by name.
#pragma once

#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace harness {

struct Case {
  const char* name;
  void (*body)();
};

std::vector<Case>& cases();

struct Added {
  Added(const char* name, void (*body)()) { cases().push_back({name, body}); }
};

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& text) {
  std::ostringstream message;
  message << file << ":" << line << ": " << text;
  throw Failure(message.str());
}

template <typename T>
std::string shown(const T& value) {
  std::ostringstream text;
  text << value;
  return text.str();
}
template <typename T>
std::string shown(const std::vector<T>& values) {
  std::ostringstream text;
  text << "[";
  for (const T& value : values) text << " " << value;
  text << " ]";
  return text.str();
}

template <typename A, typename B>
void expect_equal(const char* file, int line, const char* what, const A& found, const B& expected) {
  if (!(found == expected)) {
    fail(file, line,
         std::string(what) + ": found " + shown(found) + ", expected " + shown(expected));
  }
}

// What the plugins have logged since the last call; logged text never goes to stderr.
std::vector<std::string> take_messages();
// The call fails, for a reason that has these words.
void expect_refused(const char* file, int line, const char* what, bool refused,
                    const std::string& words);

}  // namespace harness

#define CASE(name)                                       \
  static void name();                                    \
  static const harness::Added name##_added(#name, name); \
  static void name()
#define EXPECT(condition)                                            \
  do {                                                               \
    if (!(condition)) harness::fail(__FILE__, __LINE__, #condition); \
  } while (0)
#define EXPECT_EQUAL(found, expected) \
  harness::expect_equal(__FILE__, __LINE__, #found, found, expected)
#define EXPECT_REFUSED(refused, words) \
  harness::expect_refused(__FILE__, __LINE__, #refused, refused, words)
