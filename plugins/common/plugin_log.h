// Where plugins say why they refuse something.
#pragma once

namespace maskrt {

// What TensorRT gave to setLoggerFinder(), or null.
void set_logger_finder(void* finder);

// To the logger of the engine or builder that calls from this thread; to stderr where there is
// none.
void log_error(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace maskrt
