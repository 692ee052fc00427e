// As torchvision resizes (pillow_cpu.cpp has detectron2's way).
// Rows of the frame are stretched along x into float planes, then two such rows are blended along y
// and normalised straight into the canvas. Neighbouring canvas rows share stretched rows.

#include "common/cpu.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/half.h"
#include "letterbox/check.h"
#include "letterbox/content.h"
#include "letterbox/math.h"
#include "letterbox/params.h"
#include "letterbox/pillow_cpu.h"
#include "letterbox/pixels.h"

namespace maskrt {
namespace letterbox {
namespace {

// Taps along x, one array each so that loops over them vectorise.
struct Columns {
  explicit Columns(size_t count) : first(count), second(count), weight(count) {}

  std::vector<int32_t> first;   // byte offset in the row
  std::vector<int32_t> second;  // byte offset in the row
  std::vector<float> weight;    // of the second
  int32_t wide = 0;             // columns from here on touch the row's last pixel
};

Columns columns_of(const MaskrtLetterboxParams& p, int32_t count) {
  Columns columns(static_cast<size_t>(count));
  const float scale = axis_scale(p.width, count);
  const auto stride = static_cast<int32_t>(p.pixel_stride);
  for (int32_t x = 0; x < count; ++x) {
    const Tap at = tap(x, scale, p.width);
    columns.first[x] = at.first * stride;
    columns.second[x] = at.second * stride;
    columns.weight[x] = at.weight;
    if (at.second < p.width - 1) columns.wide = x + 1;
  }
  return columns;
}

// One load takes all channels of a pixel, and a byte that follows it in memory: not for the last.
MASKRT_CLONES
void stretch(const uint8_t* __restrict row, const int32_t* __restrict first,
             const int32_t* __restrict second, const float* __restrict weight, int32_t count,
             float* __restrict plane0, float* __restrict plane1, float* __restrict plane2) {
  for (int32_t x = 0; x < count; ++x) {
    const uint32_t a = load4(row + first[x]);
    const uint32_t b = load4(row + second[x]);
    plane0[x] = interpolate<float>(channel(a, 0), channel(b, 0), weight[x]);
    plane1[x] = interpolate<float>(channel(a, 8), channel(b, 8), weight[x]);
    plane2[x] = interpolate<float>(channel(a, 16), channel(b, 16), weight[x]);
  }
}

template <typename T>
MASKRT_INLINE void blend_as(const float* __restrict above, const float* __restrict below,
                            float weight, float mean, float std, int32_t count, T* __restrict out) {
  for (int32_t x = 0; x < count; ++x) {
    out[x] = from_float<T>(normalize(interpolate(above[x], below[x], weight), mean, std));
  }
}

MASKRT_CLONES
void blend(const float* __restrict above, const float* __restrict below, float weight, float mean,
           float std, int32_t count, float* __restrict out) {
  blend_as(above, below, weight, mean, std, count, out);
}

MASKRT_CLONES
void blend(const float* __restrict above, const float* __restrict below, float weight, float mean,
           float std, int32_t count, Half* __restrict out) {
  blend_as(above, below, weight, mean, std, count, out);
}

// The last two rows that a thread has stretched.
class Stretched {
 public:
  Stretched(const Columns& columns, int32_t count)
      : columns_(columns), count_(count), planes_(2 * 3 * static_cast<size_t>(count)) {}

  void forget() { rows_[0] = rows_[1] = nullptr; }

  // Planes [3, count] of the row; `keep` is one that must stay, or null.
  const float* planes(const uint8_t* row, const uint8_t* keep) {
    if (rows_[0] == row) return slot(0);
    if (rows_[1] == row) return slot(1);
    const int at = rows_[0] == keep ? 1 : 0;
    rows_[at] = row;
    float* const out = slot(at);
    const int32_t wide = columns_.wide;
    stretch(row, columns_.first.data(), columns_.second.data(), columns_.weight.data(), wide, out,
            out + count_, out + 2 * static_cast<size_t>(count_));
    for (int32_t x = wide; x < count_; ++x) {
      const uint8_t* a = row + columns_.first[x];
      const uint8_t* b = row + columns_.second[x];
      for (size_t c = 0; c < 3; ++c) {
        out[c * count_ + x] = interpolate<float>(a[c], b[c], columns_.weight[x]);
      }
    }
    return out;
  }

 private:
  float* slot(int at) { return planes_.data() + static_cast<size_t>(at) * 3 * count_; }

  const Columns& columns_;
  const int32_t count_;
  std::vector<float> planes_;
  const uint8_t* rows_[2] = {nullptr, nullptr};
};

template <typename T>
void band(const MaskrtLetterboxParams& p, Size content, int32_t frame, int32_t begin, int32_t end,
          Stretched& stretched) {
  stretched.forget();
  const float scale = axis_scale(p.height, content.height);
  const uint8_t* const first_row = p.frames + frame * p.frame_stride;
  const int64_t plane = static_cast<int64_t>(p.canvas_height) * p.canvas_width;
  T* const image = static_cast<T*>(p.image) + frame * (3 * plane);
  for (int32_t y = begin; y < end; ++y) {
    T* const out = image + static_cast<int64_t>(y) * p.canvas_width;
    if (y >= content.height) {
      for (int c = 0; c < 3; ++c) std::fill_n(out + c * plane, p.canvas_width, T{});
      continue;
    }
    const Tap at = tap(y, scale, p.height);
    const uint8_t* const row0 = first_row + at.first * p.row_stride;
    const uint8_t* const row1 = first_row + at.second * p.row_stride;
    const float* const above = stretched.planes(row0, row1);
    const float* const below = stretched.planes(row1, row0);
    for (int c = 0; c < 3; ++c) {
      const size_t source = static_cast<size_t>(p.swap_channels ? 2 - c : c) * content.width;
      T* const line = out + c * plane;
      blend(above + source, below + source, at.weight, p.mean[c], p.std[c], content.width, line);
      std::fill(line + content.width, line + p.canvas_width, T{});
    }
  }
}

int run(const MaskrtLetterboxParams& p) {
  const Size content = content_size(p);
  for (int64_t b = 0; b < p.batch; ++b) {
    p.scale[2 * b] = axis_scale(p.height, content.height);
    p.scale[2 * b + 1] = axis_scale(p.width, content.width);
    p.content[2 * b] = static_cast<float>(content.height);
    p.content[2 * b + 1] = static_cast<float>(content.width);
  }
  if (p.resize == MASKRT_LETTERBOX_DETECTRON2) {
    run_pillow(p, content);
    return MASKRT_OK;
  }

  const Columns columns = columns_of(p, content.width);
  const int32_t bands = (p.canvas_height + kBandRows - 1) / kBandRows;
  const int64_t jobs = static_cast<int64_t>(p.batch) * bands;
  const int workers = worker_count(p.threads, jobs);
  std::vector<Stretched> stretched(static_cast<size_t>(workers), Stretched(columns, content.width));
  parallel_for(jobs, workers, [&](int64_t job, int worker) {
    const auto begin = static_cast<int32_t>(job % bands) * kBandRows;
    const int32_t end = std::min(begin + kBandRows, p.canvas_height);
    const auto frame = static_cast<int32_t>(job / bands);
    if (p.image_type == MASKRT_FLOAT16) {
      band<Half>(p, content, frame, begin, end, stretched[worker]);
    } else {
      band<float>(p, content, frame, begin, end, stretched[worker]);
    }
  });
  return MASKRT_OK;
}

}  // namespace
}  // namespace letterbox
}  // namespace maskrt

int maskrt_letterbox(const MaskrtLetterboxParams* params) {
  MASKRT_EXPECT(params, "letterbox: found a null pointer for params");
  const int status = maskrt::letterbox::check(*params);
  if (status != MASKRT_OK) return status;
  return maskrt::guarded("letterbox", [&] { return maskrt::letterbox::run(*params); });
}
