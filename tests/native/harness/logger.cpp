// Takes the plugins' messages, and holds the logging to both layouts of TensorRT's interfaces.

#include "abi/tensorrt.h"
#include "harness/harness.h"

extern "C" void setLoggerFinder(nvinfer1::ILoggerFinder* finder);

// The layouts, under their names: what the library tells them apart by.
namespace nvinfer1 {

class ILogger {  // up to TensorRT 10
 public:
  virtual void log(int32_t severity, const char* text) noexcept = 0;
  virtual ~ILogger() = default;
};

class ILoggerFinder {
 public:
  virtual ILogger* findLogger() = 0;

 protected:
  virtual ~ILoggerFinder() = default;
};

namespace v_1_0 {

class ILogger : public IVersionedInterface {  // from TensorRT 11 on
 public:
  InterfaceInfo getInterfaceInfo() const noexcept override { return {"ILogger", 1, 0}; }
  virtual void log(int32_t severity, const char* text) noexcept = 0;
};

class ILoggerFinder : public IVersionedInterface {
 public:
  InterfaceInfo getInterfaceInfo() const noexcept override { return {"ILoggerFinder", 1, 0}; }
  virtual ILogger* findLogger() = 0;
};

}  // namespace v_1_0
}  // namespace nvinfer1

namespace {

std::vector<std::string> messages;

template <typename Base>
struct Logger : Base {
  void log(int32_t severity, const char* text) noexcept override {
    messages.push_back((severity == 1 ? "" : "not an error: ") + std::string(text));
  }
};

template <typename Logger>
struct DerivedLogger : Logger {};

template <typename Base, typename Logger>
struct Finder : Base {
  Logger* findLogger() override { return logger; }
  Logger* logger = nullptr;
};

// The memory layout of a finder, under a name that nobody knows.
struct Stranger {
  virtual void* findLogger() { std::abort(); }
  virtual ~Stranger() = default;
};

void set(void* finder) { setLoggerFinder(static_cast<nvinfer1::ILoggerFinder*>(finder)); }

Logger<nvinfer1::v_1_0::ILogger> versioned_logger;
Finder<nvinfer1::v_1_0::ILoggerFinder, nvinfer1::v_1_0::ILogger> versioned_finder;

struct Set {
  Set() {
    versioned_finder.logger = &versioned_logger;
    set(&versioned_finder);
  }
} at_the_start;

void provoke();

}  // namespace

namespace harness {

std::vector<std::string> take_messages() {
  std::vector<std::string> taken;
  taken.swap(messages);
  return taken;
}

}  // namespace harness

#include "harness/tensorrt.h"

namespace {

void provoke() { harness::create("Letterbox", harness::FieldSet()); }

}  // namespace

CASE(logs_to_a_logger_of_tensorrt_11) {
  provoke();
  EXPECT_EQUAL(harness::take_messages(),
               std::vector<std::string>{"Letterbox: attribute canvas: found none, expected one of "
                                        "type int32"});
}

CASE(logs_to_a_logger_of_tensorrt_10) {
  DerivedLogger<Logger<nvinfer1::ILogger>> logger;
  Finder<nvinfer1::ILoggerFinder, nvinfer1::ILogger> finder;
  finder.logger = &logger;
  set(&finder);
  provoke();
  set(&versioned_finder);
  EXPECT_EQUAL(harness::take_messages().size(), size_t{1});
}

CASE(logs_to_stderr_where_there_is_no_logger) {
  Finder<nvinfer1::ILoggerFinder, nvinfer1::ILogger> plain;
  Finder<nvinfer1::v_1_0::ILoggerFinder, nvinfer1::v_1_0::ILogger> versioned;
  Stranger stranger;
  for (void* finder : {static_cast<void*>(nullptr), static_cast<void*>(&plain),
                       static_cast<void*>(&versioned), static_cast<void*>(&stranger)}) {
    set(finder);
    provoke();
    set(&versioned_finder);
    EXPECT(harness::take_messages().empty());
  }
}
