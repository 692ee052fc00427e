#pragma once

#include "roi_align/pool.h"

namespace maskrt {
namespace roi_align {

// Pools all RoIs on the CPU. Throws std::bad_alloc.
void run_pool(const Pool& pool);

}  // namespace roi_align
}  // namespace maskrt
