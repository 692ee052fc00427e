#pragma once

#include "letterbox/content.h"
#include "letterbox/params.h"

namespace maskrt {
namespace letterbox {

// Writes the image on the CPU, as detectron2 resizes; the params have passed check(). Throws
// std::bad_alloc.
void run_pillow(const MaskrtLetterboxParams& p, Size content);

}  // namespace letterbox
}  // namespace maskrt
