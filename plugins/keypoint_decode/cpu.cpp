// The best pixel of each resized heatmap, without resizing all of it: the extremes of a cell's taps
// bound its pixels, so only cells whose bound reaches the best pixel found so far are resized.

#include "common/cpu.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "common/exp.h"
#include "common/half.h"
#include "keypoint_decode/check.h"
#include "keypoint_decode/math.h"
#include "keypoint_decode/params.h"

namespace maskrt {
namespace keypoint_decode {
namespace {

constexpr int32_t kBorder = 2;   // cells around the heatmap that repeat its edges
constexpr int32_t kPiece = 512;  // pixels of a row that are resized at a time
constexpr int32_t kGap = 16;     // pixels between cells that are searched together
constexpr int32_t kNone = std::numeric_limits<int32_t>::min();

// Weights along x, one array each so that loops over them vectorise.
struct Columns {
  explicit Columns(size_t count) : cell(count), before(count), after(count), last(count) {}

  std::vector<int32_t> cell;  // from 0, for the cell -1
  std::vector<float> before;
  std::vector<float> after;
  std::vector<float> last;
};

// Some pixels of a row: what the four rows of taps give there, as mix() takes it.
struct Piece {
  alignas(64) float v0[kPiece];
  alignas(64) float before[kPiece];
  alignas(64) float after[kPiece];
  alignas(64) float last[kPiece];
  alignas(64) int32_t keys[kPiece];
};

template <typename T>
MASKRT_INLINE void read_as(const T* __restrict cells, int64_t stride, int32_t count,
                           float* __restrict out) {
  if (stride == 1) {
    for (int32_t i = 0; i < count; ++i) out[i] = bounded(to_float(cells[i]));
  } else {
    for (int32_t i = 0; i < count; ++i) out[i] = bounded(to_float(cells[i * stride]));
  }
}

MASKRT_CLONES
void read(const float* cells, int64_t stride, int32_t count, float* out) {
  read_as(cells, stride, count, out);
}

MASKRT_CLONES
void read(const Half* cells, int64_t stride, int32_t count, float* out) {
  read_as(cells, stride, count, out);
}

MASKRT_CLONES
void read(const BFloat16* cells, int64_t stride, int32_t count, float* out) {
  read_as(cells, stride, count, out);
}

MASKRT_CLONES
void weigh_columns(float scale, int32_t cells, int32_t count, int32_t* __restrict cell,
                   float* __restrict before, float* __restrict after, float* __restrict last) {
  for (int32_t x = 0; x < count; ++x) {
    const Position at = position_of(x, scale, cells);
    const Weights w = weights_of(at.share);
    cell[x] = at.cell + 1;
    before[x] = w.before;
    after[x] = w.after;
    last[x] = w.last;
  }
}

MASKRT_INLINE float lower(float a, float b) { return a < b ? a : b; }
MASKRT_INLINE float higher(float a, float b) { return a > b ? a : b; }

// Extremes of each four neighbours of a row.
MASKRT_CLONES
void row_extremes(const float* __restrict row, int32_t count, float* __restrict low,
                  float* __restrict high) {
  for (int32_t x = 0; x < count; ++x) {
    low[x] = lower(lower(row[x], row[x + 1]), lower(row[x + 2], row[x + 3]));
    high[x] = higher(higher(row[x], row[x + 1]), higher(row[x + 2], row[x + 3]));
  }
}

// The bounds of a row of cells, as keys; kNone where `used` is 0 (elsewhere it is -1). Returns the
// largest.
MASKRT_CLONES
int32_t bound_cells(const float* __restrict low, const float* __restrict high, int32_t pitch,
                    const int32_t* __restrict used, int32_t count, int32_t* __restrict keys) {
  const float* const low1 = low + pitch;
  const float* const low2 = low1 + pitch;
  const float* const low3 = low2 + pitch;
  const float* const high1 = high + pitch;
  const float* const high2 = high1 + pitch;
  const float* const high3 = high2 + pitch;
  int32_t top = kNone;
  for (int32_t x = 0; x < count; ++x) {
    const float lowest = lower(lower(low[x], low1[x]), lower(low2[x], low3[x]));
    const float highest = higher(higher(high[x], high1[x]), higher(high2[x], high3[x]));
    // a selection by bits: one by a condition would keep the loop from being vectorised
    const int32_t key = (key_of(upper_bound(lowest, highest)) & used[x]) | (kNone & ~used[x]);
    keys[x] = key;
    top = key > top ? key : top;
  }
  return top;
}

MASKRT_INLINE float stretched(const float* __restrict row, int32_t cell, float before, float after,
                              float last) {
  const float v0 = row[cell + 1];
  return mix(v0, row[cell] - v0, row[cell + 2] - v0, row[cell + 3] - v0, {before, after, last});
}

// Resizes four rows of taps along x.
MASKRT_CLONES
void stretch(const float* __restrict row0, int32_t pitch, const int32_t* __restrict cell,
             const float* __restrict before, const float* __restrict after,
             const float* __restrict last, int32_t count, float* __restrict v0,
             float* __restrict to_before, float* __restrict to_after, float* __restrict to_last) {
  const float* const row1 = row0 + pitch;
  const float* const row2 = row1 + pitch;
  const float* const row3 = row2 + pitch;
  for (int32_t x = 0; x < count; ++x) {
    const float a = before[x];
    const float b = after[x];
    const float c = last[x];
    const float value = stretched(row1, cell[x], a, b, c);
    v0[x] = value;
    to_before[x] = stretched(row0, cell[x], a, b, c) - value;
    to_after[x] = stretched(row2, cell[x], a, b, c) - value;
    to_last[x] = stretched(row3, cell[x], a, b, c) - value;
  }
}

// Resizes along y. Returns the largest key.
MASKRT_CLONES
int32_t blend(Piece& __restrict piece, Weights weights, int32_t count) {
  int32_t top = kNone;
  for (int32_t x = 0; x < count; ++x) {
    const int32_t key =
        key_of(mix(piece.v0[x], piece.before[x], piece.after[x], piece.last[x], weights));
    piece.keys[x] = key;
    top = key > top ? key : top;
  }
  return top;
}

MASKRT_CLONES
void exponentials(const float* __restrict row, float highest, int32_t count,
                  float* __restrict out) {
  for (int32_t x = 0; x < count; ++x) out[x] = exponential(row[x] - highest);
}

MASKRT_CLONES
void add(const float* __restrict values, int32_t count, float* __restrict sums) {
  for (int32_t i = 0; i < count; ++i) sums[i] += values[i];
}

// The search within one heatmap after the other; of one thread.
class Search {
 public:
  // `columns`: the most pixels that a resized row will have.
  Search(int32_t height, int32_t width, int32_t columns)
      : height_(height),
        width_(width),
        pitch_(width + 2 * kBorder),
        map_(static_cast<size_t>(pitch_) * (height + 2 * kBorder)),
        low_(map_.size()),
        high_(map_.size()),
        keys_(map_.size()),
        row_top_(height + 1),
        column_used_(width + 1),
        row_start_(height + 2),
        column_start_(width + 2),
        column_(static_cast<size_t>(columns)) {}

  // Turns to the box of a detection.
  void take(const Axis& x, const Axis& y) {
    if (x.resized == columns_ && y.resized == rows_) return;
    columns_ = x.resized;
    rows_ = y.resized;
    weigh_columns(x.scale, width_, columns_, column_.cell.data(), column_.before.data(),
                  column_.after.data(), column_.last.data());
    for (int32_t cell = 0; cell <= width_ + 1; ++cell) {
      column_start_[cell] = first_pixel(cell - 1, x);
    }
    for (int32_t cell = 0; cell <= height_ + 1; ++cell) {
      row_start_[cell] = first_pixel(cell - 1, y);
    }
    for (int32_t cell = 0; cell <= width_; ++cell) {
      column_used_[cell] = column_start_[cell] < column_start_[cell + 1] ? -1 : 0;
    }
    y_ = y;
  }

  template <typename T>
  void load(const T* cells, int64_t stride) {
    for (int32_t y = 0; y < height_; ++y) {
      float* const row = map_.data() + (y + kBorder) * pitch_;
      read(cells + y * width_ * stride, stride, width_, row + kBorder);
      std::fill_n(row, kBorder, row[kBorder]);
      std::fill_n(row + kBorder + width_, kBorder, row[kBorder + width_ - 1]);
    }
    for (int32_t i = 0; i < kBorder; ++i) {
      const float* const first = map_.data() + kBorder * pitch_;
      const float* const last = first + (height_ - 1) * pitch_;
      std::copy_n(first, pitch_, map_.data() + i * pitch_);
      std::copy_n(last, pitch_, map_.data() + (kBorder + height_ + i) * pitch_);
    }
  }

  // The best candidate.
  uint64_t best() {
    for (int32_t y = 0; y < height_ + 2 * kBorder; ++y) {
      row_extremes(map_.data() + y * pitch_, width_ + 1, low_.data() + y * pitch_,
                   high_.data() + y * pitch_);
    }
    int32_t top = kNone;
    int32_t top_row = 0;
    for (int32_t row = 0; row <= height_; ++row) {
      row_top_[row] = kNone;
      if (row_start_[row] == row_start_[row + 1]) continue;
      row_top_[row] = bound_cells(low_.data() + row * pitch_, high_.data() + row * pitch_, pitch_,
                                  column_used_.data(), width_ + 1, keys_.data() + row * pitch_);
      if (row_top_[row] > top) {
        top = row_top_[row];
        top_row = row;
      }
    }
    best_ = 0;
    const int32_t* const keys = keys_.data() + top_row * pitch_;
    const auto top_column = static_cast<int32_t>(std::find(keys, keys + width_, top) - keys);
    if (is_flat(top_row, top_column)) {
      offer(top_row, top_column);
    } else {
      search(top_row, top_column, top_column + 1);
    }
    for (int32_t row = 0; row <= height_; ++row) {
      if (row_top_[row] != kNone && row_top_[row] >= key_of(best_)) search_row(row);
    }
    return best_;
  }

  // Of e^(logit - highest) over the heatmap's cells.
  float softmax_sum(float highest) {
    std::vector<float>& terms = low_;
    for (int32_t y = 0; y < height_; ++y) {
      exponentials(map_.data() + (y + kBorder) * pitch_ + kBorder, highest, width_,
                   terms.data() + y * width_);
    }
    float sums[kSums] = {};
    const int32_t area = height_ * width_;
    for (int32_t i = 0; i < area; i += kSums) {
      add(terms.data() + i, std::min(kSums, area - i), sums);
    }
    for (int32_t half = kSums / 2; half > 0; half /= 2) add(sums + half, half, sums);
    return sums[0];
  }

 private:
  // The cells of a row whose bound reaches the best; those that lie close together at once, with
  // what is between them.
  void search_row(int32_t row) {
    const int32_t* const keys = keys_.data() + row * pitch_;
    int32_t first = 0;
    int32_t end = 0;  // of the cells to be searched
    for (int32_t column = 0; column <= width_; ++column) {
      if (keys[column] < key_of(best_)) continue;
      // a flat cell has one value: its first pixel stands for all
      if (is_flat(row, column)) {
        offer(row, column);
        continue;
      }
      if (column_start_[column] - column_start_[end] > kGap) {
        search(row, first, end);
        first = column;
      } else if (first == end) {
        first = column;
      }
      end = column + 1;
    }
    search(row, first, end);
  }

  bool is_flat(int32_t row, int32_t column) const {
    const float first = low_[row * pitch_ + column];
    for (int32_t i = 0; i < 4; ++i) {
      const int32_t at = (row + i) * pitch_ + column;
      if (low_[at] != first || high_[at] != first) return false;
    }
    return true;
  }

  void offer(int32_t row, int32_t column) {
    const float value = low_[row * pitch_ + column];
    const int32_t pixel = row_start_[row] * columns_ + column_start_[column];
    best_ = std::max(best_, candidate(key_of(value), pixel));
  }

  // All pixels of the cells from `first` to before `end`.
  void search(int32_t row, int32_t first, int32_t end) {
    const int32_t stop = column_start_[end];
    for (int32_t x = column_start_[first]; x < stop; x += kPiece) {
      const int32_t count = std::min(kPiece, stop - x);
      stretch(map_.data() + row * pitch_, pitch_, column_.cell.data() + x,
              column_.before.data() + x, column_.after.data() + x, column_.last.data() + x, count,
              piece_.v0, piece_.before, piece_.after, piece_.last);
      for (int32_t y = row_start_[row]; y < row_start_[row + 1]; ++y) {
        const Weights weights = weights_of(position_of(y, y_.scale, y_.cells).share);
        const int32_t top = blend(piece_, weights, count);
        if (top < key_of(best_)) continue;
        const auto at =
            static_cast<int32_t>(std::find(piece_.keys, piece_.keys + count, top) - piece_.keys);
        best_ = std::max(best_, candidate(top, y * columns_ + x + at));
      }
    }
  }

  const int32_t height_;
  const int32_t width_;
  const int32_t pitch_;
  // all of the map's rows and pitch
  std::vector<float> map_;   // with its border
  std::vector<float> low_;   // of each four neighbours
  std::vector<float> high_;  // of each four neighbours
  std::vector<int32_t> keys_;
  std::vector<int32_t> row_top_;
  std::vector<int32_t> column_used_;
  // first pixels of the cells -1 and on, and the end
  std::vector<int32_t> row_start_;
  std::vector<int32_t> column_start_;
  Columns column_;
  Axis y_ = {};
  int32_t columns_ = 0;
  int32_t rows_ = 0;
  uint64_t best_ = 0;
  Piece piece_ = {};
};

template <typename T>
void decode(const MaskrtKeypointDecodeParams& p, int64_t job, Search& search) {
  const int64_t detection = job / p.points;
  const int64_t frame = detection / p.slots;
  float* const out = p.keypoints + 3 * job;
  const float* const box = p.boxes + 4 * detection;
  const Axis x = axis_of(box[0], box[2], p.width);
  const Axis y = axis_of(box[1], box[3], p.height);
  if (detection % p.slots >= p.count[frame] || !is_usable(x) || !is_usable(y)) {
    std::fill_n(out, 3, 0.0f);
    return;
  }
  const Cells cells = cells_of(detection, static_cast<int32_t>(job % p.points), p.points,
                               static_cast<int64_t>(p.height) * p.width, p.channel_stride,
                               p.layout == MASKRT_CHANNELS_LAST);
  search.take(x, y);
  search.load(static_cast<const T*>(p.heatmaps) + cells.first, cells.stride);
  const uint64_t best = search.best();
  float score = value_of(key_of(best));
  if (p.decode == MASKRT_KEYPOINT_DETECTRON2) score = 1.0f / search.softmax_sum(score);
  const int32_t pixel = pixel_of(best);
  write_point(out, coordinate(pixel % x.resized, x, p.scale[2 * frame + 1]),
              coordinate(pixel / x.resized, y, p.scale[2 * frame]), score);
}

int run(const MaskrtKeypointDecodeParams& p) {
  const int64_t detections = static_cast<int64_t>(p.batch) * p.slots;
  int32_t columns = 0;
  for (int64_t i = 0; i < detections; ++i) {
    columns = std::max(columns, axis_of(p.boxes[4 * i], p.boxes[4 * i + 2], p.width).resized);
  }
  const int64_t jobs = detections * p.points;
  const int workers = worker_count(p.threads, jobs);
  std::vector<Search> searches(static_cast<size_t>(workers), Search(p.height, p.width, columns));
  const auto decode_one = p.heatmaps_type == MASKRT_FLOAT16    ? decode<Half>
                          : p.heatmaps_type == MASKRT_BFLOAT16 ? decode<BFloat16>
                                                               : decode<float>;
  parallel_for(jobs, workers,
               [&](int64_t job, int worker) { decode_one(p, job, searches[worker]); });
  return MASKRT_OK;
}

}  // namespace
}  // namespace keypoint_decode
}  // namespace maskrt

int maskrt_keypoint_decode(const MaskrtKeypointDecodeParams* params) {
  MASKRT_EXPECT(params, "keypoint_decode: found a null pointer for params");
  const int status = maskrt::keypoint_decode::check(*params);
  if (status != MASKRT_OK) return status;
  return maskrt::guarded("keypoint_decode", [&] { return maskrt::keypoint_decode::run(*params); });
}
