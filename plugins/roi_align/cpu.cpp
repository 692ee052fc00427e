// Channels are computed in blocks, which lie together in a cell. Maps of linear layout
// are therefore rearranged first, block after block and only where a RoI reads, so that the
// rearranged part stays small.

#include "common/cpu.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "common/half.h"
#include "common/transpose.h"
#include "roi_align/blend.h"
#include "roi_align/check.h"
#include "roi_align/pool_cpu.h"

namespace maskrt {
namespace roi_align {
namespace {

constexpr int32_t kTile = 16;  // cells of a row that are rearranged together

// A RoI's place and taps, worked out once for all channels.
struct Taps {
  Place where;
  std::vector<Tap> y, x;
  std::vector<int32_t> y_end, x_end;
  std::vector<int32_t> columns;
};

struct Collector {
  std::vector<Tap>& taps;
  float factor;
  void operator()(int32_t cell, float weight) { taps.push_back({cell, weight * factor}); }
};

// `number` holds -1 for each cell of the widest row, before and after.
Taps taps_of(const Pool& p, int32_t roi, std::vector<int32_t>& number) {
  Taps t;
  t.where = place(p, roi);
  const MaskrtFeatureMap& map = p.maps[t.where.level];
  Collector ys = {t.y, 1.0f};
  for (int32_t bin = 0; bin < p.output_height; ++bin) {
    for_each_tap(t.where.y, bin, map.height, ys);
    t.y_end.push_back(static_cast<int32_t>(t.y.size()));
  }
  Collector xs = {t.x, requantization(p, t.where.level)};
  for (int32_t bin = 0; bin < p.output_width; ++bin) {
    for_each_tap(t.where.x, bin, map.width, xs);
    t.x_end.push_back(static_cast<int32_t>(t.x.size()));
  }
  for (Tap& tap : t.x) {
    if (number[tap.cell] < 0) {
      number[tap.cell] = static_cast<int32_t>(t.columns.size());
      t.columns.push_back(tap.cell);
    }
    tap.cell = number[tap.cell];
  }
  for (const int32_t cell : t.columns) number[cell] = -1;
  return t;
}

struct Worker {
  std::vector<float> wide;    // [columns, kWideBlock]
  std::vector<float> pooled;  // [bins, kWideBlock]
  std::vector<float> turned;  // [kBlock, bins]
};

// Where the RoIs read linear maps: rows of all maps one after the other, tiles of kTile cells.
class Needed {
 public:
  Needed(const Pool& p, const std::vector<Taps>& rois) : p_(p) {
    for (int32_t l = 0; l < p.num_levels; ++l) {
      const MaskrtFeatureMap& map = p.maps[l];
      first_cell_[l] = cells_;
      first_row_[l] = rows_;
      tiles_[l] = (map.width + kTile - 1) / kTile;
      marks_[l].assign(static_cast<size_t>(p.images) * map.height * tiles_[l], 0);
      cells_ += static_cast<int64_t>(p.images) * map.height * map.width;
      rows_ += static_cast<int64_t>(p.images) * map.height;
    }
    for (const Taps& t : rois) mark(t);
  }

  int64_t cells() const { return cells_; }
  int64_t rows() const { return rows_; }

  // Brings a row's block of channels to `block`, [cells, kBlock], where it is needed.
  template <typename T>
  void rearrange(int64_t row, int32_t channel, int32_t channels, T* block) const {
    int32_t l = p_.num_levels - 1;
    while (row < first_row_[l]) --l;
    const MaskrtFeatureMap& map = p_.maps[l];
    const int64_t at = row - first_row_[l];  // image * height + y
    const int64_t image = at / map.height, y = at % map.height;
    const int64_t plane = static_cast<int64_t>(map.height) * map.width;
    const T* const from =
        static_cast<const T*>(map.data) + (image * p_.channels + channel) * plane + y * map.width;
    T* const to = block + (first_cell_[l] + at * map.width) * kBlock;
    const uint8_t* const marks = marks_[l].data() + at * tiles_[l];
    for (int32_t tile = 0; tile < tiles_[l]; ++tile) {
      if (!marks[tile]) continue;
      const int32_t x = tile * kTile;
      const int32_t width = std::min(kTile, map.width - x);
      T* const cells = to + static_cast<int64_t>(x) * kBlock;
      if (channels == kBlock && width == kTile) {  // known sizes make better code
        transpose<T>(from + x, plane, cells, kBlock, kBlock, kTile);
      } else {
        transpose<T>(from + x, plane, cells, kBlock, channels, width);
      }
    }
  }

  // The first cell of an image's map in a block.
  int64_t first_cell(const Place& where) const {
    const MaskrtFeatureMap& map = p_.maps[where.level];
    return first_cell_[where.level] + static_cast<int64_t>(where.image) * map.height * map.width;
  }

 private:
  void mark(const Taps& t) {
    const int32_t l = t.where.level;
    for (const Tap& tap : t.y) {
      const int64_t row = static_cast<int64_t>(t.where.image) * p_.maps[l].height + tap.cell;
      uint8_t* const marks = marks_[l].data() + row * tiles_[l];
      for (const int32_t cell : t.columns) marks[cell / kTile] = 1;
    }
  }

  const Pool& p_;
  int64_t cells_ = 0, rows_ = 0;
  int64_t first_cell_[MASKRT_ROI_ALIGN_MAX_LEVELS] = {};
  int64_t first_row_[MASKRT_ROI_ALIGN_MAX_LEVELS] = {};
  int32_t tiles_[MASKRT_ROI_ALIGN_MAX_LEVELS] = {};
  std::vector<uint8_t> marks_[MASKRT_ROI_ALIGN_MAX_LEVELS];
};

Blend blend_of(const Pool& p, const Taps& t, int64_t cell_stride, Worker& worker) {
  Blend b;
  b.y = t.y.data();
  b.y_end = t.y_end.data();
  b.x = t.x.data();
  b.x_end = t.x_end.data();
  b.columns = t.columns.data();
  b.num_columns = static_cast<int32_t>(t.columns.size());
  b.rows = p.output_height;
  b.bins = p.output_width;
  b.cell_stride = cell_stride;
  b.row_stride = cell_stride * p.maps[t.where.level].width;
  b.block = kBlock;
  b.wide = worker.wide.data();
  b.out_stride = kBlock;
  return b;
}

// A block at the end that is not full: the cells that the RoI touches are copied to cells of kBlock
// channels, and the blend is bent to them.
template <typename T>
class Patch {
 public:
  // The RoIs' largest patches fit; fill() allocates nothing.
  void reserve(const std::vector<Taps>& rois) {
    size_t rows = 0, columns = 0, cells = 0;
    for (const Taps& t : rois) {
      rows = std::max(rows, t.y.size());
      columns = std::max(columns, t.columns.size());
      cells = std::max(cells, t.y.size() * t.columns.size());
    }
    rows_.resize(rows);
    columns_.resize(columns);
    cells_.resize(cells * kBlock);
  }

  const T* fill(const Taps& t, const T* map, int32_t channels, Blend& b) {
    const size_t width = t.columns.size();
    for (size_t i = 0; i < width; ++i) columns_[i] = static_cast<int32_t>(i);
    for (size_t r = 0; r < t.y.size(); ++r) {
      for (size_t i = 0; i < width; ++i) {
        const T* const from = map + t.y[r].cell * b.row_stride + t.columns[i] * b.cell_stride;
        T* const to = cells_.data() + (r * width + i) * kBlock;
        std::copy_n(from, channels, to);
        std::fill(to + channels, to + kBlock, T{});
      }
      rows_[r] = {static_cast<int32_t>(r), t.y[r].weight};
    }
    b.y = rows_.data();
    b.columns = columns_.data();
    b.cell_stride = kBlock;
    b.row_stride = static_cast<int64_t>(width) * kBlock;
    return cells_.data();
  }

 private:
  std::vector<Tap> rows_;
  std::vector<int32_t> columns_;
  std::vector<T> cells_;
};

template <typename T>
void convert(const float* from, T* to, int64_t count) {
  for (int64_t i = 0; i < count; ++i) to[i] = from_float<T>(from[i]);
}

template <>
void convert<float>(const float* from, float* to, int64_t count) {
  std::memcpy(to, from, static_cast<size_t>(count) * sizeof(float));
}

template <typename T>
void run_channels_last(const Pool& p, const std::vector<Taps>& rois, std::vector<Worker>& workers) {
  const int64_t bins = static_cast<int64_t>(p.output_height) * p.output_width;
  std::vector<Patch<T>> patches(workers.size());
  if (p.channels % kBlock != 0) {
    for (Patch<T>& patch : patches) patch.reserve(rois);
  }
  parallel_for(p.num_rois, static_cast<int>(workers.size()), [&](int64_t roi, int at) {
    const Taps& t = rois[roi];
    Worker& worker = workers[at];
    const T* const map = static_cast<const T*>(p.maps[t.where.level].data) +
                         t.where.image * map_elements(p, t.where.level);
    T* const out = static_cast<T*>(p.pooled) + roi * bins * p.cell_stride;
    int32_t channels = 0;
    for (int32_t channel = 0; channel < p.channels; channel += channels) {
      const int32_t left = p.channels - channel;
      Blend b = blend_of(p, t, p.cell_stride, worker);
      if (left >= kWideBlock) b.out_stride = b.block = kWideBlock;
      channels = std::min(b.block, left);
      const T* from = map + channel;
      if (channels < b.block) from = patches[at].fill(t, from, channels, b);
      if (std::is_same<T, float>::value && channels == b.block) {
        b.out_stride = p.cell_stride;
        blend(b, from, reinterpret_cast<float*>(out + channel));
        continue;
      }
      blend(b, from, worker.pooled.data());
      for (int64_t bin = 0; bin < bins; ++bin) {
        const float* const pooled = worker.pooled.data() + bin * b.block;
        convert(pooled, out + bin * p.cell_stride + channel, channels);
      }
    }
  });
}

template <typename T>
void pool_block(const Pool& p, const Taps& t, int64_t roi, int32_t channel, const T* map,
                Worker& worker) {
  const int64_t bins = static_cast<int64_t>(p.output_height) * p.output_width;
  const int32_t channels = std::min(kBlock, p.channels - channel);
  T* const out = static_cast<T*>(p.pooled) + (roi * p.channels + channel) * bins;
  blend(blend_of(p, t, kBlock, worker), map, worker.pooled.data());
  transpose<float>(worker.pooled.data(), kBlock, worker.turned.data(), bins,
                   static_cast<int32_t>(bins), channels);
  convert(worker.turned.data(), out, bins * channels);
}

template <typename T>
void run_linear(const Pool& p, const std::vector<Taps>& rois, std::vector<Worker>& workers) {
  const int count = static_cast<int>(workers.size());
  const int32_t blocks = (p.channels + kBlock - 1) / kBlock;
  const Needed needed(p, rois);
  const size_t elements = static_cast<size_t>(needed.cells()) * kBlock;
  const auto channels = [&](int32_t channel) { return std::min(kBlock, p.channels - channel); };
  if (blocks >= 2 * count) {
    // a worker does all of a block, so that nobody waits in between
    std::vector<std::unique_ptr<T[]>> scratch(count);
    for (auto& cells : scratch) cells.reset(new T[elements]);  // not cleared: mostly not touched
    parallel_for(blocks, count, [&](int64_t block, int at) {
      const auto channel = static_cast<int32_t>(block) * kBlock;
      T* const cells = scratch[at].get();
      for (int64_t row = 0; row < needed.rows(); ++row) {
        needed.rearrange(row, channel, channels(channel), cells);
      }
      for (int32_t roi = 0; roi < p.num_rois; ++roi) {
        const T* const map = cells + needed.first_cell(rois[roi].where) * kBlock;
        pool_block(p, rois[roi], roi, channel, map, workers[at]);
      }
    });
    return;
  }
  const std::unique_ptr<T[]> cells(new T[elements]);
  constexpr int64_t kRows = 8;  // of a job
  for (int32_t channel = 0; channel < p.channels; channel += kBlock) {
    parallel_for((needed.rows() + kRows - 1) / kRows, count, [&](int64_t job, int) {
      const int64_t end = std::min(needed.rows(), (job + 1) * kRows);
      for (int64_t row = job * kRows; row < end; ++row) {
        needed.rearrange(row, channel, channels(channel), cells.get());
      }
    });
    parallel_for(p.num_rois, count, [&](int64_t roi, int at) {
      const T* const map = cells.get() + needed.first_cell(rois[roi].where) * kBlock;
      pool_block(p, rois[roi], roi, channel, map, workers[at]);
    });
  }
}

template <typename T>
void run_typed(const Pool& p, const std::vector<Taps>& rois, std::vector<Worker>& workers) {
  if (p.layout == MASKRT_LINEAR) {
    run_linear<T>(p, rois, workers);
  } else {
    run_channels_last<T>(p, rois, workers);
  }
}

}  // namespace

void run_pool(const Pool& p) {
  int32_t width = 0;
  for (int32_t l = 0; l < p.num_levels; ++l) width = std::max(width, p.maps[l].width);
  const int count = worker_count(p.threads, p.num_rois);
  std::vector<std::vector<int32_t>> numbers(count, std::vector<int32_t>(width, -1));
  std::vector<Taps> rois(p.num_rois);
  for (int32_t roi = 0; roi < p.num_rois; ++roi) rois[roi] = taps_of(p, roi, numbers[0]);

  const size_t bins = static_cast<size_t>(p.output_height) * p.output_width;
  size_t columns = 0;
  for (const Taps& t : rois) columns = std::max(columns, t.columns.size());
  std::vector<Worker> workers(count);
  for (Worker& worker : workers) {
    worker.wide.resize(columns * kWideBlock);
    worker.pooled.resize(bins * kWideBlock);
    worker.turned.resize(bins * kBlock);
  }
  switch (p.type) {
    case MASKRT_FLOAT32:
      return run_typed<float>(p, rois, workers);
    case MASKRT_FLOAT16:
      return run_typed<Half>(p, rois, workers);
    case MASKRT_BFLOAT16:
      return run_typed<BFloat16>(p, rois, workers);
    default:
      return run_typed<int8_t>(p, rois, workers);
  }
}

}  // namespace roi_align
}  // namespace maskrt

int maskrt_roi_align(const MaskrtRoIAlignParams* params) {
  MASKRT_EXPECT(params, "roi_align: found a null pointer for params");
  const int status = maskrt::roi_align::check(*params);
  if (status != MASKRT_OK) return status;
  return maskrt::guarded("roi_align", [&] {
    maskrt::roi_align::run_pool(maskrt::roi_align::pool_of(*params));
    return MASKRT_OK;
  });
}
