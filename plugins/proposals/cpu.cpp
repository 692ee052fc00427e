// Threads take a level of a frame each: decode, sort, NMS. Then each frame's levels are merged.

#include "common/cpu.h"

#include <algorithm>
#include <cstdint>
#include <vector>

#include "common/box.h"
#include "common/nms.h"
#include "nms/greedy.h"
#include "proposals/check.h"
#include "proposals/math.h"
#include "proposals/params.h"

namespace maskrt {
namespace proposals {
namespace {

// What a thread needs for a level.
struct Scratch {
  explicit Scratch(size_t capacity)
      : anchors(capacity),
        boxes(capacity),
        scores(capacity),
        valid(capacity),
        keys(capacity),
        spare(capacity),
        kept(capacity),
        candidates(capacity) {}

  std::vector<Box> anchors;
  std::vector<Box> boxes;
  std::vector<float> scores;
  std::vector<int32_t> valid;
  std::vector<uint64_t> keys;
  std::vector<uint64_t> spare;
  std::vector<int32_t> kept;
  nms::Candidates candidates;
};

// Anchors become boxes; which of them are valid, and their scores.
MASKRT_CLONES
void decode_level(const Box* __restrict anchors, const float* __restrict deltas,
                  const float* __restrict objectness, const MaskrtProposalsParams& p, float height,
                  float width, int32_t count, Box* __restrict boxes, float* __restrict scores,
                  int32_t* __restrict valid) {
  const float weights[4] = {p.delta_weights[0], p.delta_weights[1], p.delta_weights[2],
                            p.delta_weights[3]};
  const float clip = p.delta_clip;
  const float score_threshold = p.score_threshold;
  const float min_size = p.min_size;
  for (int32_t i = 0; i < count; ++i) {
    const Box box = clip_box(
        decode(anchors[i], deltas + 4 * static_cast<int64_t>(i), weights, clip), height, width);
    const float score = sigmoid(objectness[i]);
    boxes[i] = box;
    scores[i] = score;
    valid[i] = is_valid(box, score, score_threshold, min_size);
  }
}

// Of one level: keys and boxes of what NMS leaves, best first. Returns how many.
int32_t reduce_level(const MaskrtProposalsParams& p, const MaskrtProposalsLevel& level,
                     int32_t first, const float* objectness, const float* deltas,
                     const int32_t* indices, const float* content, Scratch& scratch,
                     uint64_t* kept_keys, Box* kept_boxes) {
  for (int32_t i = 0; i < level.top_k; ++i) {
    const Position at = position_of(std::max(indices[i], 0), level);
    scratch.anchors[i] = anchor_box(at, level, p.anchors);
  }
  decode_level(scratch.anchors.data(), deltas, objectness, p, content[0], content[1], level.top_k,
               scratch.boxes.data(), scratch.scores.data(), scratch.valid.data());
  int32_t count = 0;
  for (int32_t i = 0; i < level.top_k; ++i) {
    if (!scratch.valid[i] || indices[i] < 0) continue;
    scratch.keys[count++] = score_key(scratch.scores[i], static_cast<uint32_t>(first + i));
  }
  nms::sort_keys(scratch.keys.data(), static_cast<size_t>(count), scratch.spare.data());
  for (int32_t i = 0; i < count; ++i) {
    scratch.candidates.set(i, scratch.boxes[key_index(scratch.keys[i]) - first]);
  }
  const int32_t found =
      scratch.candidates.reduce(count, p.nms_threshold, p.num_rois, scratch.kept.data());
  for (int32_t k = 0; k < found; ++k) {
    const uint64_t key = scratch.keys[scratch.kept[k]];
    kept_keys[k] = key;
    kept_boxes[k] = scratch.boxes[key_index(key) - first];
  }
  return found;
}

// A level's part of the frame's candidates.
struct Span {
  int32_t begin;
  int32_t end;
};

// Best first over all levels; returns how many.
int32_t merge(Span* spans, int32_t levels, const uint64_t* keys, const Box* boxes, int32_t limit,
              float* rois) {
  int32_t count = 0;
  for (; count < limit; ++count) {
    Span* best = nullptr;
    for (int32_t l = 0; l < levels; ++l) {
      if (spans[l].begin == spans[l].end) continue;
      if (!best || keys[spans[l].begin] < keys[best->begin]) best = &spans[l];
    }
    if (!best) break;
    store_box(rois + 4 * static_cast<int64_t>(count), boxes[best->begin]);
    ++best->begin;
  }
  return count;
}

int run(const MaskrtProposalsParams& p) {
  int32_t first[MASKRT_PROPOSALS_MAX_LEVELS];
  int32_t all = 0;
  int32_t largest = 0;
  for (int32_t l = 0; l < p.levels; ++l) {
    first[l] = all;
    all += p.level[l].top_k;
    largest = std::max(largest, p.level[l].top_k);
  }
  const int64_t total = static_cast<int64_t>(p.batch) * all;
  const int64_t jobs = static_cast<int64_t>(p.batch) * p.levels;
  std::vector<uint64_t> keys(static_cast<size_t>(total));
  std::vector<Box> boxes(static_cast<size_t>(total));
  std::vector<int32_t> found(static_cast<size_t>(jobs));
  const int workers = worker_count(p.threads, jobs);
  std::vector<Scratch> scratch(static_cast<size_t>(workers), Scratch(static_cast<size_t>(largest)));
  parallel_for(jobs, workers, [&](int64_t job, int worker) {
    const int64_t frame = job / p.levels;
    const auto l = static_cast<int32_t>(job % p.levels);
    const int64_t at = frame * all + first[l];
    found[job] =
        reduce_level(p, p.level[l], first[l], p.objectness + at, p.deltas + 4 * at, p.indices + at,
                     p.content + 2 * frame, scratch[worker], keys.data() + at, boxes.data() + at);
  });
  for (int64_t frame = 0; frame < p.batch; ++frame) {
    Span spans[MASKRT_PROPOSALS_MAX_LEVELS];
    for (int32_t l = 0; l < p.levels; ++l) {
      spans[l] = {first[l], first[l] + found[frame * p.levels + l]};
    }
    float* const rois = p.rois + frame * p.num_rois * 4;
    const int32_t count = merge(spans, p.levels, keys.data() + frame * all,
                                boxes.data() + frame * all, p.num_rois, rois);
    std::fill(rois + 4 * static_cast<int64_t>(count), rois + 4 * static_cast<int64_t>(p.num_rois),
              0.0f);
    p.count[frame] = count;
  }
  return MASKRT_OK;
}

}  // namespace
}  // namespace proposals
}  // namespace maskrt

int maskrt_proposals(const MaskrtProposalsParams* params) {
  MASKRT_EXPECT(params, "proposals: found a null pointer for params");
  const int status = maskrt::proposals::check(*params);
  if (status != MASKRT_OK) return status;
  return maskrt::guarded("proposals", [&] { return maskrt::proposals::run(*params); });
}
