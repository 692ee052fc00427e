// Three passes: softmax over blocks of 64 RoIs, which notes the scores above the threshold; NMS, a
// class of a frame at a time; the best of all classes, a frame at a time.

#include "common/cpu.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/nms.h"
#include "detection_nms/check.h"
#include "detection_nms/math.h"
#include "detection_nms/params.h"
#include "nms/greedy.h"

namespace maskrt {
namespace detection_nms {
namespace {

constexpr int32_t kBlock = 64;  // RoIs, one bit each

// Softmax of a row of kLanes * parts logits (-infinity where there is none), in place. Returns
// whether any score is above the threshold.
MASKRT_CLONES
bool softmax(float* __restrict row, int32_t parts, float threshold) {
  float lane[kLanes];
  for (int32_t l = 0; l < kLanes; ++l) lane[l] = -HUGE_VALF;
  for (int32_t part = 0; part < parts; ++part) {
    const float* const values = row + part * kLanes;
    for (int32_t l = 0; l < kLanes; ++l) lane[l] = values[l] > lane[l] ? values[l] : lane[l];
  }
  float largest = -HUGE_VALF;  // of the numbers; NaN makes the sum NaN
  for (int32_t l = 0; l < kLanes; ++l) largest = lane[l] > largest ? lane[l] : largest;

  for (int32_t l = 0; l < kLanes; ++l) lane[l] = 0.0f;
  for (int32_t part = 0; part < parts; ++part) {
    float* const values = row + part * kLanes;
    for (int32_t l = 0; l < kLanes; ++l) {
      values[l] = exponential(values[l] - largest);
      lane[l] += values[l];
    }
  }
  for (int32_t half = kLanes / 2; half > 0; half /= 2) {
    for (int32_t l = 0; l < half; ++l) lane[l] += lane[l + half];
  }
  const float sum = lane[0];

  int32_t above = 0;
  for (int32_t i = 0; i < parts * kLanes; ++i) {
    row[i] = row[i] / sum;
    above |= row[i] > threshold;
  }
  return above != 0;
}

// Scores of one frame, and which of them are above the threshold.
struct Scores {
  Scores(size_t blocks_, size_t labels_)
      : blocks(blocks_),
        labels(labels_),
        value(new float[blocks * labels * kBlock]),
        above(blocks * labels) {}

  // of 64 RoIs, for one class
  size_t at(size_t block, size_t label) const { return block * labels + label; }

  size_t blocks;
  size_t labels;
  std::unique_ptr<float[]> value;  // [blocks, labels, 64]; only what is above the threshold is set
  std::vector<uint64_t> above;     // [blocks, labels]: a bit for each RoI
};

// What a thread needs.
struct Scratch {
  Scratch(size_t row_length, size_t slots)
      : row(row_length), boxes(slots), keys(slots), spare(slots), kept(slots), candidates(slots) {}

  std::vector<float> row;
  std::vector<Box> boxes;
  std::vector<uint64_t> keys;
  std::vector<uint64_t> spare;
  std::vector<int32_t> kept;
  nms::Candidates candidates;
};

void score_block(const MaskrtDetectionNmsParams& p, int64_t frame, int32_t block, float threshold,
                 Scratch& scratch, Scores& scores) {
  const auto labels = static_cast<int32_t>(scores.labels);
  const int32_t first = first_class(p);
  const int32_t begin = block * kBlock;
  const int32_t end = std::min(begin + kBlock, live_rois(p, frame));
  const size_t base = scores.at(block, 0);
  float* const row = scratch.row.data();
  const auto length = static_cast<int32_t>(scratch.row.size());
  for (int32_t roi = begin; roi < end; ++roi) {
    const float* const logits = p.logits + (frame * p.slots + roi) * p.classes;
    std::copy(logits, logits + p.classes, row);
    std::fill(row + p.classes, row + length, -HUGE_VALF);
    if (!softmax(row, length / kLanes, threshold)) continue;
    const uint64_t bit = uint64_t{1} << (roi - begin);
    for (int32_t label = 0; label < labels; ++label) {
      const float score = row[first + label];
      if (!(score > threshold)) continue;
      scores.above[base + label] |= bit;
      scores.value[(base + label) * kBlock + (roi - begin)] = score;
    }
  }
}

// Keys of what NMS leaves of a class, best first; returns how many.
int32_t reduce_class(const MaskrtDetectionNmsParams& p, int64_t frame, int32_t label,
                     float threshold, const Scores& scores, Scratch& scratch, uint64_t* kept) {
  int32_t count = 0;
  for (size_t block = 0; block < scores.blocks; ++block) {
    const size_t at = scores.at(block, label);
    for (uint64_t bits = scores.above[at]; bits; bits &= bits - 1) {
      const int bit = __builtin_ctzll(bits);
      const auto roi = static_cast<int32_t>(block) * kBlock + bit;
      const Box box = class_box(p, frame, roi, label);
      if (!is_large(box, p.min_size)) continue;
      scratch.boxes[roi] = box;
      scratch.keys[count++] =
          score_key(scores.value[at * kBlock + bit], static_cast<uint32_t>(roi));
    }
  }
  if (count == 0) return 0;
  nms::sort_keys(scratch.keys.data(), static_cast<size_t>(count), scratch.spare.data());
  for (int32_t i = 0; i < count; ++i) {
    scratch.candidates.set(i, scratch.boxes[key_index(scratch.keys[i])]);
  }
  const int32_t found =
      scratch.candidates.reduce(count, threshold, class_limit(p), scratch.kept.data());
  const auto labels = static_cast<uint32_t>(scores.labels);
  for (int32_t k = 0; k < found; ++k) {
    const uint64_t key = scratch.keys[scratch.kept[k]];
    // the roi's number becomes the position in [slots, labels]
    kept[k] = (key & ~uint64_t{0xffffffff}) | (key_index(key) * labels + label);
  }
  return found;
}

// Writes the best of the keys, which it spoils.
void write_frame(const MaskrtDetectionNmsParams& p, int64_t frame, std::vector<uint64_t>& keys) {
  const auto limit = static_cast<size_t>(p.max_detections);
  const size_t count = std::min(keys.size(), limit);
  std::partial_sort(keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(count), keys.end());
  const auto labels = static_cast<uint32_t>(p.classes - 1);
  const int32_t first = first_class(p);
  float* const boxes = p.boxes + frame * p.max_detections * 4;
  float* const scores = p.scores + frame * p.max_detections;
  int32_t* const out_labels = p.labels + frame * p.max_detections;
  for (size_t d = 0; d < count; ++d) {
    const auto roi = static_cast<int32_t>(key_index(keys[d]) / labels);
    const auto label = static_cast<int32_t>(key_index(keys[d]) % labels);
    store_box(boxes + 4 * d, class_box(p, frame, roi, label));
    scores[d] = key_score(keys[d]);
    out_labels[d] = first + label;
  }
  std::fill(boxes + 4 * count, boxes + 4 * limit, 0.0f);
  std::fill(scores + count, scores + limit, 0.0f);
  std::fill(out_labels + count, out_labels + limit, 0);
  p.count[frame] = static_cast<int32_t>(count);
}

int run(const MaskrtDetectionNmsParams& p) {
  const int32_t labels = p.classes - 1;
  const int32_t blocks = (p.slots + kBlock - 1) / kBlock;
  const int32_t limit = class_limit(p);
  const float score_threshold = *p.score_threshold;
  const float nms_threshold = *p.nms_threshold;
  const int workers = worker_count(p.threads, std::max(labels, blocks));
  const auto row_length = static_cast<size_t>((p.classes + kLanes - 1) / kLanes * kLanes);
  std::vector<Scratch> scratch(static_cast<size_t>(workers),
                               Scratch(row_length, static_cast<size_t>(p.slots)));
  Scores scores(static_cast<size_t>(blocks), static_cast<size_t>(labels));
  const std::unique_ptr<uint64_t[]> kept(
      new uint64_t[static_cast<size_t>(labels) * static_cast<size_t>(limit)]);
  std::vector<int32_t> found(static_cast<size_t>(labels));
  std::vector<uint64_t> best;
  for (int64_t frame = 0; frame < p.batch; ++frame) {
    std::fill(scores.above.begin(), scores.above.end(), 0);
    parallel_for(blocks, workers, [&](int64_t block, int worker) {
      score_block(p, frame, static_cast<int32_t>(block), score_threshold, scratch[worker], scores);
    });
    parallel_for(labels, workers, [&](int64_t label, int worker) {
      found[label] = reduce_class(p, frame, static_cast<int32_t>(label), nms_threshold, scores,
                                  scratch[worker], kept.get() + label * limit);
    });
    best.clear();
    for (int32_t label = 0; label < labels; ++label) {
      const uint64_t* const own = kept.get() + static_cast<int64_t>(label) * limit;
      best.insert(best.end(), own, own + found[label]);
    }
    write_frame(p, frame, best);
  }
  return MASKRT_OK;
}

}  // namespace
}  // namespace detection_nms
}  // namespace maskrt

int maskrt_detection_nms(const MaskrtDetectionNmsParams* params) {
  MASKRT_EXPECT(params, "detection_nms: found a null pointer for params");
  const int status = maskrt::detection_nms::check(*params);
  if (status != MASKRT_OK) return status;
  return maskrt::guarded("detection_nms", [&] { return maskrt::detection_nms::run(*params); });
}
