// TensorRT's two logging interfaces changed their layout: up to version 10 their only virtual
// function is the first of their table; from 11 on they derive from IVersionedInterface and it is
// the fifth. One library serves both, so it reads from an object's type information which of them
// it is, and calls through the table. An object that it does not know is left alone.

#include "common/plugin_log.h"

#include <cxxabi.h>

#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <typeinfo>

namespace maskrt {
namespace {

enum class Layout { kUnknown, kPlain, kVersioned };

std::atomic<void*> logger_finder{nullptr};

// Names as the Itanium ABI mangles them: nvinfer1::X and nvinfer1::v_1_0::X.
Layout layout_of(const void* object, const char* plain, const char* versioned) {
  // the word before the virtual functions
  const auto* const* const table = *static_cast<const std::type_info* const* const*>(object);
  const std::type_info* type = table[-1];
  while (type) {
    if (!std::strcmp(type->name(), plain)) return Layout::kPlain;
    if (!std::strcmp(type->name(), versioned)) return Layout::kVersioned;
    const auto* const derived = dynamic_cast<const abi::__si_class_type_info*>(type);
    type = derived ? derived->__base_type : nullptr;
  }
  return Layout::kUnknown;
}

// The table's function after those of IVersionedInterface (two, and two entries for the
// destructor).
template <typename Function>
Function virtual_function(const void* object, Layout layout) {
  const void* const* const table = *static_cast<const void* const* const*>(object);
  const void* const entry = table[layout == Layout::kVersioned ? 4 : 0];
  Function function;
  static_assert(sizeof function == sizeof entry, "a pointer to a plain function");
  std::memcpy(&function, &entry, sizeof function);
  return function;
}

// False where there is no logger that we understand.
bool log_to_tensorrt(const char* text) {
  void* const finder = logger_finder.load(std::memory_order_acquire);
  if (!finder) return false;
  const Layout of_finder =
      layout_of(finder, "N8nvinfer113ILoggerFinderE", "N8nvinfer15v_1_013ILoggerFinderE");
  if (of_finder == Layout::kUnknown) return false;
  using FindLogger = void* (*)(void*);
  void* const logger = virtual_function<FindLogger>(finder, of_finder)(finder);
  if (!logger) return false;
  Layout of_logger = layout_of(logger, "N8nvinfer17ILoggerE", "N8nvinfer15v_1_07ILoggerE");
  // an application built without type information has the layout of the TensorRT that it runs
  if (of_logger == Layout::kUnknown) of_logger = of_finder;
  constexpr int32_t kError = 1;
  using Log = void (*)(void*, int32_t, const char*);
  virtual_function<Log>(logger, of_logger)(logger, kError, text);
  return true;
}

}  // namespace

void set_logger_finder(void* finder) { logger_finder.store(finder, std::memory_order_release); }

void log_error(const char* format, ...) {
  char text[768];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (!log_to_tensorrt(text)) std::fprintf(stderr, "maskrt: %s\n", text);
}

}  // namespace maskrt
