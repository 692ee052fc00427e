// The hot loop of RoIAlign on the CPU: a block of channels of one RoI.
#pragma once

#include <cstdint>

#include "common/half.h"
#include "roi_align/math.h"

namespace maskrt {
namespace roi_align {

// Channels computed at once, in registers. The smaller block keeps a rearranged map in the cache;
// the larger one takes more of a cell while it is at hand.
constexpr int32_t kBlock = 32;
constexpr int32_t kWideBlock = 64;

// A RoI's taps. The columns that it touches are numbered: `x` taps name the number, and
// columns[number] is the cell.
struct Blend {
  const Tap* y;
  const int32_t* y_end;  // of each row of bins; a row's taps begin where the row's before end
  const Tap* x;
  const int32_t* x_end;
  const int32_t* columns;
  int32_t num_columns;
  int32_t rows, bins;   // of bins, and bins of a row
  int64_t row_stride;   // elements from a row of cells to the next
  int64_t cell_stride;  // elements from a cell to the next
  int32_t block;        // kBlock or kWideBlock
  float* wide;          // scratch [num_columns, block]
  int64_t out_stride;   // floats from a bin to the next, block or more
};

// `map` is the first of the block's channels of the first cell; out [rows * bins, block].
void blend(const Blend& b, const float* map, float* out);
void blend(const Blend& b, const Half* map, float* out);
void blend(const Blend& b, const BFloat16* map, float* out);
void blend(const Blend& b, const int8_t* map, float* out);

}  // namespace roi_align
}  // namespace maskrt
