// Each kept box is held against all that are left in one vectorised loop; the suppressed ones are
// taken out now and then, so that the loop gets shorter.

#include "common/cpu.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/nms.h"
#include "nms/check.h"
#include "nms/greedy.h"
#include "nms/params.h"

namespace maskrt {
namespace nms {
namespace {

constexpr int32_t kChunk = 64;           // candidates between two clearings
constexpr size_t kSmall = 64;            // keys that are sorted by comparison
constexpr int kDigits[] = {11, 11, 10};  // of the score's bits, lowest first

struct Columns {
  float* __restrict x1;
  float* __restrict y1;
  float* __restrict x2;
  float* __restrict y2;
  float* __restrict area;
  int32_t* __restrict position;
  int32_t* __restrict suppressed;  // 0 or 1
};

MASKRT_CLONES
int32_t reduce_columns(const Columns& columns, int32_t count, float threshold, int32_t limit,
                       int32_t* __restrict kept) {
  // local copies, so that the compiler sees that nothing changes them
  float* __restrict const x1 = columns.x1;
  float* __restrict const y1 = columns.y1;
  float* __restrict const x2 = columns.x2;
  float* __restrict const y2 = columns.y2;
  float* __restrict const area = columns.area;
  int32_t* __restrict const position = columns.position;
  int32_t* __restrict const suppressed = columns.suppressed;
  for (int32_t i = 0; i < count; ++i) {
    area[i] = box_area({x1[i], y1[i], x2[i], y2[i]});
    position[i] = i;
    suppressed[i] = 0;
  }
  int32_t found = 0;
  while (count > 0) {
    const int32_t end = count < kChunk ? count : kChunk;
    for (int32_t i = 0; i < end; ++i) {
      if (suppressed[i]) continue;
      kept[found++] = position[i];
      if (found == limit) return found;
      const Box box = {x1[i], y1[i], x2[i], y2[i]};
      const float box_area = area[i];
      for (int32_t j = i + 1; j < count; ++j) {
        const Box other = {x1[j], y1[j], x2[j], y2[j]};
        suppressed[j] |= overlap(box, box_area, other, area[j], threshold);
      }
    }
    int32_t left = 0;
    for (int32_t j = end; j < count; ++j) {
      x1[left] = x1[j];
      y1[left] = y1[j];
      x2[left] = x2[j];
      y2[left] = y2[j];
      area[left] = area[j];
      position[left] = position[j];
      left += 1 - suppressed[j];
    }
    for (int32_t j = 0; j < left; ++j) suppressed[j] = 0;
    count = left;
  }
  return found;
}

// Any float: ascending keys are descending scores. NaN comes first, as in PyTorch's sort.
uint64_t any_score_key(float score, uint32_t index) {
  const uint32_t bits = score == score ? float_to_bits(score + 0.0f) : 0x7fffffffu;
  const uint32_t ordered = bits ^ (bits >> 31 ? 0xffffffffu : 0x80000000u);
  return static_cast<uint64_t>(~ordered) << 32 | index;
}

// The groups' numbers, from 0 on; returns how many groups there are.
size_t number_groups(const int32_t* groups, size_t count, std::vector<uint32_t>& numbers) {
  const auto bounds = std::minmax_element(groups, groups + count);
  const int64_t first = *bounds.first;
  const auto range = static_cast<size_t>(*bounds.second - first) + 1;
  if (range <= 2 * count + 1024) {
    for (size_t i = 0; i < count; ++i) numbers[i] = static_cast<uint32_t>(groups[i] - first);
    return range;
  }
  std::vector<int32_t> values(groups, groups + count);
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  for (size_t i = 0; i < count; ++i) {
    const auto at = std::lower_bound(values.begin(), values.end(), groups[i]);
    numbers[i] = static_cast<uint32_t>(at - values.begin());
  }
  return values.size();
}

struct Scratch {
  explicit Scratch(size_t capacity) : candidates(capacity), kept(capacity) {}

  Candidates candidates;
  std::vector<int32_t> kept;
};

int run(const MaskrtNmsParams& p) {
  *p.kept_count = 0;
  if (p.count == 0) return MASKRT_OK;
  const auto count = static_cast<size_t>(p.count);
  std::vector<uint32_t> numbers(count);
  const size_t groups = number_groups(p.groups, count, numbers);

  // each group's keys beside each other
  std::vector<size_t> begin(groups + 1, 0);
  for (const uint32_t number : numbers) ++begin[number + 1];
  size_t largest = 0;
  for (size_t g = 0; g < groups; ++g) {
    largest = std::max(largest, begin[g + 1]);
    begin[g + 1] += begin[g];
  }
  std::vector<uint64_t> keys(count), spare(count);
  std::vector<size_t> next(begin.begin(), begin.end() - 1);
  for (size_t i = 0; i < count; ++i) {
    keys[next[numbers[i]]++] = any_score_key(p.scores[i], static_cast<uint32_t>(i));
  }

  std::vector<uint8_t> keep(count, 0);
  const int workers = worker_count(p.threads, static_cast<int64_t>(groups));
  std::vector<Scratch> scratch(static_cast<size_t>(workers), Scratch(largest));
  parallel_for(static_cast<int64_t>(groups), workers, [&](int64_t group, int worker) {
    uint64_t* const own = keys.data() + begin[group];
    const size_t size = begin[group + 1] - begin[group];
    if (size == 0) return;
    Scratch& mine = scratch[worker];
    sort_keys(own, size, spare.data() + begin[group]);
    const auto members = static_cast<int32_t>(size);
    for (int32_t i = 0; i < members; ++i) {
      mine.candidates.set(i, load_box(p.boxes + 4 * static_cast<size_t>(key_index(own[i]))));
    }
    const int32_t found = mine.candidates.reduce(members, p.threshold, members, mine.kept.data());
    for (int32_t k = 0; k < found; ++k) keep[key_index(own[mine.kept[k]])] = 1;
  });

  size_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    if (keep[i]) keys[found++] = any_score_key(p.scores[i], static_cast<uint32_t>(i));
  }
  sort_keys(keys.data(), found, spare.data());
  for (size_t k = 0; k < found; ++k) p.kept[k] = key_index(keys[k]);
  *p.kept_count = static_cast<int64_t>(found);
  return MASKRT_OK;
}

}  // namespace

Candidates::Candidates(size_t capacity)
    : x1_(capacity),
      y1_(capacity),
      x2_(capacity),
      y2_(capacity),
      area_(capacity),
      position_(capacity),
      suppressed_(capacity) {}

int32_t Candidates::reduce(int32_t count, float threshold, int32_t limit, int32_t* kept) {
  const Columns columns = {x1_.data(),   y1_.data(),       x2_.data(),        y2_.data(),
                           area_.data(), position_.data(), suppressed_.data()};
  return reduce_columns(columns, count, threshold, limit, kept);
}

// The scores are all that has to be sorted, by counting, lowest digit first: that is stable.
void sort_keys(uint64_t* keys, size_t count, uint64_t* scratch) {
  if (std::is_sorted(keys, keys + count)) return;
  if (count <= kSmall) {
    std::sort(keys, keys + count);
    return;
  }
  uint64_t* from = keys;
  uint64_t* to = scratch;
  int shift = 32;
  for (const int bits : kDigits) {
    uint32_t at[1 << 11] = {};
    const uint32_t mask = (1u << bits) - 1;
    for (size_t i = 0; i < count; ++i) ++at[from[i] >> shift & mask];
    uint32_t total = 0;
    for (uint32_t digit = 0; digit <= mask; ++digit) {
      const uint32_t here = at[digit];
      at[digit] = total;
      total += here;
    }
    for (size_t i = 0; i < count; ++i) to[at[from[i] >> shift & mask]++] = from[i];
    std::swap(from, to);
    shift += bits;
  }
  if (from != keys) std::copy(from, from + count, keys);
}

}  // namespace nms
}  // namespace maskrt

int maskrt_nms(const MaskrtNmsParams* params) {
  MASKRT_EXPECT(params, "nms: found a null pointer for params");
  const int status = maskrt::nms::check(*params);
  if (status != MASKRT_OK) return status;
  return maskrt::guarded("nms", [&] { return maskrt::nms::run(*params); });
}
