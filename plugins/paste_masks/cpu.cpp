// The mask's few rows are stretched along x, then two such rows are blended along y and compared
// with the threshold, straight into bytes or labels. Neighbouring rows of the frame share stretched
// rows, of which a thread keeps two.

#include "common/cpu.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "paste_masks/check.h"
#include "paste_masks/math.h"
#include "paste_masks/params.h"

namespace maskrt {
namespace paste_masks {
namespace {

constexpr int32_t kCropRows = 128;  // of a crop that one thread takes at a time
constexpr int32_t kMapRows = 32;    // of the label map

MASKRT_CLONES
void find_columns(const Axis& axis, int32_t start, int32_t count, int32_t cells,
                  int32_t* __restrict first, float* __restrict share) {
  const Axis local = axis;
  for (int32_t x = 0; x < count; ++x) {
    const Tap at = tap(start + x, local, cells);
    first[x] = at.first;
    share[x] = at.share;
  }
}

MASKRT_CLONES
void stretch(const float* __restrict cells, const int32_t* __restrict first,
             const float* __restrict share, int32_t count, float* __restrict out) {
  for (int32_t x = 0; x < count; ++x) {
    out[x] = interpolate(cells[first[x]], cells[first[x] + 1], share[x]);
  }
}

MASKRT_CLONES
void mark(const float* __restrict above, const float* __restrict below, float share, float limit,
          int32_t count, uint8_t* __restrict out) {
  for (int32_t x = 0; x < count; ++x) {
    out[x] = interpolate(above[x], below[x], share) > limit ? 1 : 0;
  }
}

template <typename T>
MASKRT_INLINE void paint_as(const float* __restrict above, const float* __restrict below,
                            float share, float limit, int32_t count, T label, T* __restrict out) {
  for (int32_t x = 0; x < count; ++x) {
    out[x] = interpolate(above[x], below[x], share) > limit ? label : out[x];
  }
}

MASKRT_CLONES
void paint(const float* above, const float* below, float share, float limit, int32_t count,
           uint8_t label, uint8_t* out) {
  paint_as(above, below, share, limit, count, label, out);
}

MASKRT_CLONES
void paint(const float* above, const float* below, float share, float limit, int32_t count,
           uint16_t label, uint16_t* out) {
  paint_as(above, below, share, limit, count, label, out);
}

// What one thread needs: one instance, stretched to some columns of the frame.
class Stretched {
 public:
  Stretched(const MaskrtPasteMasksParams& p, int32_t columns)
      : p_(p),
        cells_(static_cast<size_t>(p.mask_width) + 2),
        first_(columns),
        share_(columns),
        rows_(2 * static_cast<size_t>(columns)),
        columns_(columns) {}

  // Turns to the columns from `start` on of an instance.
  void take(int64_t instance, const Axis& x, int32_t start, int32_t count) {
    instance_ = instance;
    count_ = count;
    kept_[0] = kept_[1] = -1;
    find_columns(x, start, count, p_.mask_width, first_.data(), share_.data());
  }

  // The row of cells (with the padding: 0 to mask_height + 1), stretched; `keep` is one that must
  // stay.
  const float* row(int32_t at, int32_t keep) {
    if (kept_[0] == at) return slot(0);
    if (kept_[1] == at) return slot(1);
    const int free = kept_[0] == keep ? 1 : 0;
    kept_[free] = at;
    float* const out = slot(free);
    if (at == 0 || at == p_.mask_height + 1) {
      std::fill_n(out, count_, 0.0f);
      return out;
    }
    const int64_t first = (instance_ * p_.mask_height + at - 1) * p_.mask_width;
    if (p_.masks_type == MASKRT_UINT8) {
      const uint8_t* const source = static_cast<const uint8_t*>(p_.masks) + first;
      for (int32_t i = 0; i < p_.mask_width; ++i) cells_[i + 1] = probability(source[i]);
    } else {
      std::memcpy(cells_.data() + 1, static_cast<const float*>(p_.masks) + first,
                  static_cast<size_t>(p_.mask_width) * sizeof(float));
    }
    stretch(cells_.data(), first_.data(), share_.data(), count_, out);
    return out;
  }

 private:
  float* slot(int at) { return rows_.data() + static_cast<size_t>(at) * columns_; }

  const MaskrtPasteMasksParams& p_;
  std::vector<float> cells_;  // a row, with its padding
  std::vector<int32_t> first_;
  std::vector<float> share_;
  std::vector<float> rows_;
  const size_t columns_;
  int64_t instance_ = 0;
  int32_t count_ = 0;
  int32_t kept_[2] = {-1, -1};
};

// Calls each(y, above, below, share) for the rows of the frame.
template <typename Each>
void blend_rows(Stretched& stretched, const Axis& axis, int32_t cells, int32_t begin, int32_t end,
                const Each& each) {
  for (int32_t y = begin; y < end; ++y) {
    const Tap at = tap(y, axis, cells);
    const float* const above = stretched.row(at.first, at.first + 1);
    const float* const below = stretched.row(at.first + 1, at.first);
    each(y, above, below, at.share);
  }
}

struct Band {
  int32_t instance;
  int32_t begin;  // rows of the region
  int32_t end;
};

int paste_crops(const MaskrtPasteMasksParams& p) {
  const Frame frame = frame_of(p);
  const int32_t instances = live(p.count, p.instances);
  std::vector<Band> bands;
  int32_t columns = 0;
  for (int32_t i = 0; i < instances; ++i) {
    const int32_t* const r = p.regions + 4 * static_cast<int64_t>(i);
    MASKRT_EXPECT(fits({r[0], r[1], r[2], r[3]}, p.offsets[i], frame, p.out_bytes),
                  "paste_masks: found region %d (x %d, y %d, %d wide, %d high) at offset %lld, "
                  "expected it within the frame, and within %lld bytes",
                  i, r[0], r[1], r[2], r[3], static_cast<long long>(p.offsets[i]),
                  static_cast<long long>(p.out_bytes));
    if (r[2] == 0) continue;
    columns = std::max(columns, r[2]);
    for (int32_t y = 0; y < r[3]; y += kCropRows) {
      bands.push_back({i, y, std::min(y + kCropRows, r[3])});
    }
  }
  const float limit = limit_of(p);
  const auto jobs = static_cast<int64_t>(bands.size());
  const int workers = worker_count(p.threads, jobs);
  std::vector<Stretched> stretched(static_cast<size_t>(workers), Stretched(p, columns));
  parallel_for(jobs, workers, [&](int64_t job, int worker) {
    const Band& band = bands[job];
    const int64_t i = band.instance;
    const int32_t* const r = p.regions + 4 * i;
    const Placement placement = placement_of(p.boxes + 4 * i, frame);
    uint8_t* const out = static_cast<uint8_t*>(p.out) + p.offsets[i];
    Stretched& rows = stretched[worker];
    rows.take(i, placement.x, r[0], r[2]);
    blend_rows(rows, placement.y, p.mask_height, r[1] + band.begin, r[1] + band.end,
               [&](int32_t y, const float* above, const float* below, float share) {
                 mark(above, below, share, limit, r[2],
                      out + static_cast<int64_t>(y - r[1]) * r[2]);
               });
  });
  return MASKRT_OK;
}

template <typename T>
int paste_label_map(const MaskrtPasteMasksParams& p) {
  const Frame frame = frame_of(p);
  const int32_t instances = live(p.count, p.instances);
  std::vector<Placement> placements(static_cast<size_t>(instances));
  int32_t columns = 0;
  for (int32_t i = 0; i < instances; ++i) {
    placements[i] = placement_of(p.boxes + 4 * static_cast<int64_t>(i), frame);
    columns = std::max(columns, placements[i].x.stop - placements[i].x.start);
  }
  const float limit = limit_of(p);
  const int64_t jobs = (p.frame_height + kMapRows - 1) / kMapRows;
  const int workers = worker_count(p.threads, jobs);
  std::vector<Stretched> stretched(static_cast<size_t>(workers), Stretched(p, columns));
  parallel_for(jobs, workers, [&](int64_t job, int worker) {
    const auto top = static_cast<int32_t>(job) * kMapRows;
    const int32_t bottom = std::min(top + kMapRows, p.frame_height);
    T* const out = static_cast<T*>(p.out);
    const int64_t width = p.frame_width;
    std::memset(out + top * width, 0, static_cast<size_t>((bottom - top) * width) * sizeof(T));
    Stretched& rows = stretched[worker];
    // the first is painted last, over all others
    for (int32_t i = instances - 1; i >= 0; --i) {
      const Axis& x = placements[i].x;
      const Axis& y = placements[i].y;
      const int32_t begin = std::max(top, y.start);
      const int32_t end = std::min(bottom, y.stop);
      if (begin >= end) continue;
      const int32_t count = x.stop - x.start;
      const auto label = static_cast<T>(i + 1);
      rows.take(i, x, x.start, count);
      blend_rows(rows, y, p.mask_height, begin, end,
                 [&](int32_t row, const float* above, const float* below, float share) {
                   paint(above, below, share, limit, count, label, out + row * width + x.start);
                 });
    }
  });
  return MASKRT_OK;
}

int run(const MaskrtPasteMasksParams& p) {
  if (p.mode == MASKRT_PASTE_CROPS) return paste_crops(p);
  return p.label_bytes == 1 ? paste_label_map<uint8_t>(p) : paste_label_map<uint16_t>(p);
}

int regions(const MaskrtPasteRegionsParams& p) {
  const Frame frame = frame_of(p);
  int64_t offset = 0;
  for (int64_t i = 0; i < p.instances; ++i) {
    const Placement placement = placement_of(p.boxes + 4 * i, frame);
    int32_t* const region = p.regions + 4 * i;
    region[0] = placement.x.start;
    region[1] = placement.y.start;
    region[2] = placement.x.stop - placement.x.start;
    region[3] = placement.y.stop - placement.y.start;
    p.offsets[i] = offset;
    const int64_t bytes = static_cast<int64_t>(region[2]) * region[3];
    offset += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }
  p.offsets[p.instances] = offset;
  return MASKRT_OK;
}

}  // namespace
}  // namespace paste_masks
}  // namespace maskrt

int maskrt_paste_regions(const MaskrtPasteRegionsParams* params) {
  MASKRT_EXPECT(params, "paste_regions: found a null pointer for params");
  const int status = maskrt::paste_masks::check(*params);
  if (status != MASKRT_OK) return status;
  return maskrt::guarded("paste_regions", [&] { return maskrt::paste_masks::regions(*params); });
}

int maskrt_paste_masks(const MaskrtPasteMasksParams* params) {
  MASKRT_EXPECT(params, "paste_masks: found a null pointer for params");
  const int status = maskrt::paste_masks::check(*params);
  if (status != MASKRT_OK) return status;
  return maskrt::guarded("paste_masks", [&] { return maskrt::paste_masks::run(*params); });
}
