// Rows of the frame are resized along x into byte planes, each one once for a band of canvas rows;
// those that a canvas row is made from are kept, weighted, and normalised straight into the canvas.

#include "letterbox/pillow_cpu.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/cpu.h"
#include "common/half.h"
#include "letterbox/math.h"
#include "letterbox/pillow.h"
#include "letterbox/pixels.h"

namespace maskrt {
namespace letterbox {
namespace {

constexpr int32_t kChunk = 256;  // pixels whose sums stay in the nearest cache

// The weights of one axis: [most, count], so that loops along the axis vectorise; 0 beyond a
// window's end.
struct Weights {
  Weights(int32_t frame, int32_t count) : first(count), taps(count) {
    const Axis axis = axis_of(frame, count);
    values.resize(static_cast<size_t>(most_weights(axis)) * count);
    for (int32_t i = 0; i < count; ++i) {
      const Window window = weigh(axis, i, values.data() + i, count);
      first[i] = window.first;
      taps[i] = window.count;
      most = std::max(most, window.count);
    }
  }

  std::vector<int32_t> first;
  std::vector<int32_t> taps;
  std::vector<int32_t> values;
  int32_t most = 0;
};

struct Columns {
  Columns(const MaskrtLetterboxParams& p, int32_t count)
      : weights(p.width, count), offsets(count), stride(static_cast<int32_t>(p.pixel_stride)) {
    for (int32_t x = 0; x < count; ++x) {
      offsets[x] = weights.first[x] * stride;
      if (weights.first[x] + weights.most < p.width) wide = x + 1;
    }
  }

  Weights weights;
  std::vector<int32_t> offsets;  // byte of the first pixel in the row
  int32_t stride;                // bytes from a pixel to the next
  int32_t wide = 0;              // columns from here on could touch the row's last pixel
};

// Columns [0, count) of a row, for taps that are known when this is compiled: all sums stay in
// registers.
template <int kTaps>
MASKRT_INLINE void stretch_few(const uint8_t* __restrict row, const int32_t* __restrict offsets,
                               int32_t stride, const int32_t* __restrict weights, int32_t pitch,
                               int32_t count, uint8_t* __restrict plane0,
                               uint8_t* __restrict plane1, uint8_t* __restrict plane2) {
  for (int32_t x = 0; x < count; ++x) {
    int32_t sum0 = kRounding, sum1 = kRounding, sum2 = kRounding;
    for (int32_t t = 0; t < kTaps; ++t) {
      const uint32_t pixel = load4((row + t * stride) + offsets[x]);
      const int32_t weight = weights[t * pitch + x];
      sum0 += channel(pixel, 0) * weight;
      sum1 += channel(pixel, 8) * weight;
      sum2 += channel(pixel, 16) * weight;
    }
    plane0[x] = static_cast<uint8_t>(to_byte(sum0));
    plane1[x] = static_cast<uint8_t>(to_byte(sum1));
    plane2[x] = static_cast<uint8_t>(to_byte(sum2));
  }
}

MASKRT_INLINE void stretch_many(const uint8_t* __restrict row, const int32_t* __restrict offsets,
                                int32_t stride, const int32_t* __restrict weights, int32_t taps,
                                int32_t pitch, int32_t count, uint8_t* __restrict plane0,
                                uint8_t* __restrict plane1, uint8_t* __restrict plane2) {
  int32_t sums0[kChunk], sums1[kChunk], sums2[kChunk];
  for (int32_t begin = 0; begin < count; begin += kChunk) {
    const int32_t n = std::min(kChunk, count - begin);
    for (int32_t x = 0; x < n; ++x) sums0[x] = sums1[x] = sums2[x] = kRounding;
    for (int32_t t = 0; t < taps; ++t) {
      const uint8_t* const from = row + static_cast<int64_t>(t) * stride;
      const int32_t* const scaled = weights + static_cast<int64_t>(t) * pitch + begin;
      for (int32_t x = 0; x < n; ++x) {
        const uint32_t pixel = load4(from + offsets[begin + x]);
        sums0[x] += channel(pixel, 0) * scaled[x];
        sums1[x] += channel(pixel, 8) * scaled[x];
        sums2[x] += channel(pixel, 16) * scaled[x];
      }
    }
    for (int32_t x = 0; x < n; ++x) {
      plane0[begin + x] = static_cast<uint8_t>(to_byte(sums0[x]));
      plane1[begin + x] = static_cast<uint8_t>(to_byte(sums1[x]));
      plane2[begin + x] = static_cast<uint8_t>(to_byte(sums2[x]));
    }
  }
}

MASKRT_CLONES
void stretch(const uint8_t* __restrict row, const int32_t* __restrict offsets, int32_t stride,
             const int32_t* __restrict weights, int32_t taps, int32_t pitch, int32_t count,
             uint8_t* __restrict p0, uint8_t* __restrict p1, uint8_t* __restrict p2) {
  switch (taps) {
    case 1:
      return stretch_few<1>(row, offsets, stride, weights, pitch, count, p0, p1, p2);
    case 2:
      return stretch_few<2>(row, offsets, stride, weights, pitch, count, p0, p1, p2);
    case 3:
      return stretch_few<3>(row, offsets, stride, weights, pitch, count, p0, p1, p2);
    case 4:
      return stretch_few<4>(row, offsets, stride, weights, pitch, count, p0, p1, p2);
    default:
      return stretch_many(row, offsets, stride, weights, taps, pitch, count, p0, p1, p2);
  }
}

// Adds up rows, of each the `count` bytes from `first` on, and normalises.
template <typename T>
MASKRT_INLINE void blend_as(const uint8_t* const* rows, size_t first, const int32_t* weights,
                            int32_t taps, int32_t pitch, float mean, float std, int32_t count,
                            T* __restrict out) {
  int32_t sums[kChunk];
  for (int32_t begin = 0; begin < count; begin += kChunk) {
    const int32_t n = std::min(kChunk, count - begin);
    for (int32_t x = 0; x < n; ++x) sums[x] = kRounding;
    for (int32_t t = 0; t < taps; ++t) {
      const uint8_t* __restrict row = rows[t] + first + begin;
      const int32_t weight = weights[static_cast<int64_t>(t) * pitch];
      for (int32_t x = 0; x < n; ++x) sums[x] += row[x] * weight;
    }
    for (int32_t x = 0; x < n; ++x) {
      const auto value = static_cast<float>(to_byte(sums[x]));
      out[begin + x] = from_float<T>(normalize(value, mean, std));
    }
  }
}

MASKRT_CLONES
void blend(const uint8_t* const* rows, size_t first, const int32_t* weights, int32_t taps,
           int32_t pitch, float mean, float std, int32_t count, float* out) {
  blend_as(rows, first, weights, taps, pitch, mean, std, count, out);
}

MASKRT_CLONES
void blend(const uint8_t* const* rows, size_t first, const int32_t* weights, int32_t taps,
           int32_t pitch, float mean, float std, int32_t count, Half* out) {
  blend_as(rows, first, weights, taps, pitch, mean, std, count, out);
}

// The rows that a thread has resized along x, as many as a canvas row can need.
class Kept {
 public:
  Kept(const Columns& columns, int32_t capacity)
      : columns_(columns),
        count_(columns.offsets.size()),
        planes_(3 * count_ * capacity),
        indices_(capacity, -1) {}

  void forget() { std::fill(indices_.begin(), indices_.end(), -1); }

  // Planes [3, count] of a row of the frame. They stay for the next `capacity` - 1 rows.
  const uint8_t* planes(const uint8_t* row, int32_t index) {
    const size_t slot = static_cast<size_t>(index) % indices_.size();
    uint8_t* const out = planes_.data() + slot * 3 * count_;
    if (indices_[slot] == index) return out;
    indices_[slot] = index;
    const Weights& w = columns_.weights;
    const auto count = static_cast<int32_t>(count_);
    stretch(row, columns_.offsets.data(), columns_.stride, w.values.data(), w.most, count,
            columns_.wide, out, out + count_, out + 2 * count_);
    for (int32_t x = columns_.wide; x < count; ++x) {
      for (size_t c = 0; c < 3; ++c) {
        const uint8_t* from = row + columns_.offsets[x] + c;
        const int32_t* weight = w.values.data() + x;
        int32_t sum = kRounding;
        for (int32_t t = 0; t < w.taps[x]; ++t, from += columns_.stride, weight += count) {
          sum += *from * *weight;
        }
        out[c * count_ + x] = static_cast<uint8_t>(to_byte(sum));
      }
    }
    return out;
  }

 private:
  const Columns& columns_;
  const size_t count_;
  std::vector<uint8_t> planes_;
  std::vector<int32_t> indices_;
};

struct Worker {
  Kept kept;
  std::vector<const uint8_t*> rows;
};

template <typename T>
void band(const MaskrtLetterboxParams& p, const Weights& weights, Size content, int32_t frame,
          int32_t begin, int32_t end, Worker& worker) {
  worker.kept.forget();
  const uint8_t* const first_row = p.frames + frame * p.frame_stride;
  const int64_t plane = static_cast<int64_t>(p.canvas_height) * p.canvas_width;
  T* const image = static_cast<T*>(p.image) + frame * (3 * plane);
  for (int32_t y = begin; y < end; ++y) {
    T* const out = image + static_cast<int64_t>(y) * p.canvas_width;
    if (y >= content.height) {
      for (int c = 0; c < 3; ++c) std::fill_n(out + c * plane, p.canvas_width, T{});
      continue;
    }
    const int32_t taps = weights.taps[y];
    for (int32_t t = 0; t < taps; ++t) {
      const int32_t index = weights.first[y] + t;
      worker.rows[t] = worker.kept.planes(first_row + index * p.row_stride, index);
    }
    for (int c = 0; c < 3; ++c) {
      const size_t source = static_cast<size_t>(p.swap_channels ? 2 - c : c) * content.width;
      T* const line = out + c * plane;
      blend(worker.rows.data(), source, weights.values.data() + y, taps, content.height, p.mean[c],
            p.std[c], content.width, line);
      std::fill(line + content.width, line + p.canvas_width, T{});
    }
  }
}

}  // namespace

void run_pillow(const MaskrtLetterboxParams& p, Size content) {
  const Columns columns(p, content.width);
  const Weights rows(p.height, content.height);
  const int32_t bands = (p.canvas_height + kBandRows - 1) / kBandRows;
  const int64_t jobs = static_cast<int64_t>(p.batch) * bands;
  const int count = worker_count(p.threads, jobs);
  std::vector<Worker> workers(static_cast<size_t>(count),
                              Worker{Kept(columns, rows.most),
                                     std::vector<const uint8_t*>(static_cast<size_t>(rows.most))});
  parallel_for(jobs, count, [&](int64_t job, int worker) {
    const auto begin = static_cast<int32_t>(job % bands) * kBandRows;
    const int32_t end = std::min(begin + kBandRows, p.canvas_height);
    const auto frame = static_cast<int32_t>(job / bands);
    if (p.image_type == MASKRT_FLOAT16) {
      band<Half>(p, rows, content, frame, begin, end, workers[worker]);
    } else {
      band<float>(p, rows, content, frame, begin, end, workers[worker]);
    }
  });
}

}  // namespace letterbox
}  // namespace maskrt
