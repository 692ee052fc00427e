// Three kernels, each with a grid that the params alone decide:
//   score   a warp per RoI: softmax; the scores, class by class, with -1 for what does not count
//   reduce  a block per class: decodes, sorts and reduces its candidates, 64 at a time, until it
//   has
//           as many as there can be detections
//   merge   a block per frame: the best of what the classes kept

#include "common/box.h"
#include "common/nms.h"
#include "common/nms_cuda.h"
#include "detection_nms/check.h"
#include "detection_nms/kernel.h"
#include "detection_nms/math.h"

namespace maskrt {
namespace detection_nms {
namespace {

constexpr int kScoreRois = 8;  // of a block: their scores for a class are one memory transaction
constexpr int kScoreThreads = 32 * kScoreRois;
constexpr int kScorePitch = 36;  // floats; no bank conflicts
constexpr int kReduceThreads = 256;
constexpr int kMergeThreads = 512;
constexpr int32_t kMergeKeys = 4096;  // that are sorted at once; max_detections is no more
constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;
static_assert(kLanes == 32, "a lane adds up a part of the softmax");
static_assert(MASKRT_DETECTION_NMS_MAX_DETECTIONS <= kMergeKeys, "the best must fit");

struct Job {
  MaskrtDetectionNmsParams p;
  int32_t labels;  // classes without the background
  int32_t pitch;   // of scores: slots, rounded up
  int32_t limit;   // boxes that a class keeps
  float* scores;   // [batch, labels, pitch]
  Box* boxes;      // [batch, labels, limit], of the kept
  uint64_t* kept;  // [batch, labels * limit]: keys, in any order
  int32_t* count;  // [batch], of kept
};

__global__ void __launch_bounds__(kScoreThreads) score_kernel(const __grid_constant__ Job job) {
  const MaskrtDetectionNmsParams& p = job.p;
  const int64_t frame = blockIdx.y;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t lane = thread % 32;
  const int32_t warp = thread / 32;
  const int32_t begin = static_cast<int32_t>(blockIdx.x) * kScoreRois;
  if (blockIdx.x == 0 && thread == 0) job.count[frame] = 0;

  const bool live = begin + warp < live_rois(p, frame);
  const float* const logits = p.logits + (frame * p.slots + begin + warp) * p.classes;
  float largest = -HUGE_VALF;
  float sum = 0.0f;
  if (live) {
    for (int32_t c = lane; c < p.classes; c += 32) {
      largest = logits[c] > largest ? logits[c] : largest;  // of the numbers; NaN makes the sum NaN
    }
#pragma unroll
    for (int32_t half = 16; half > 0; half /= 2) {
      const float other = __shfl_xor_sync(kAllLanes, largest, half);
      largest = other > largest ? other : largest;
    }
    for (int32_t c = lane; c < p.classes; c += 32) sum += exponential(logits[c] - largest);
#pragma unroll
    for (int32_t half = 16; half > 0; half /= 2) sum += __shfl_xor_sync(kAllLanes, sum, half);
  }

  // turned around in shared memory, so that the RoIs of a class are written together
  auto* const tile = shared_memory<float>();  // [kScoreRois, kScorePitch]
  const float threshold = *p.score_threshold;
  const int32_t first = first_class(p);
  for (int32_t base = 0; base < job.labels; base += 32) {
    float value = -1.0f;
    if (live && base + lane < job.labels) {
      const float score = exponential(logits[first + base + lane] - largest) / sum;
      value = score > threshold ? score : -1.0f;
    }
    tile[warp * kScorePitch + lane] = value;
    __syncthreads();
    const int32_t label = base + thread / kScoreRois;
    const int32_t roi = thread % kScoreRois;
    if (label < job.labels && begin + roi < p.slots) {
      job.scores[(frame * job.labels + label) * job.pitch + begin + roi] =
          tile[roi * kScorePitch + label - base];
    }
    __syncthreads();
  }
}

struct Reduction {
  int32_t warp_counts[32];
  Box box[kNmsChunk];
  float area[kNmsChunk];
  uint32_t overlapped[kReduceThreads / 32];                // by boxes kept before, from each warp
  uint16_t better[kReduceThreads / kNmsChunk][kNmsChunk];  // bits of a quarter of the chunk
  uint64_t kept;                                           // bits of the chunk
  int32_t place;                                           // in the frame's list
};

__device__ inline bool overlap_at_a_glance(const Box& a, float area_a, const Box& b, float area_b,
                                           const Glance& glance, float threshold) {
  const Glance::Answer answer = glance.look(a, area_a, b, area_b);
  return answer.sure ? answer.above : overlap(a, area_a, b, area_b, threshold);
}

__global__ void __launch_bounds__(kReduceThreads) reduce_kernel(const __grid_constant__ Job job) {
  const MaskrtDetectionNmsParams& p = job.p;
  const auto label = static_cast<int32_t>(blockIdx.x);
  const int64_t frame = blockIdx.y;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t lane = thread % 32;
  const int32_t warp = thread / 32;
  Reduction& shared = *shared_memory<Reduction>();
  auto* const keys = reinterpret_cast<uint64_t*>(&shared + 1);  // [slots]

  const float* const scores = job.scores + (frame * job.labels + label) * job.pitch;
  int32_t candidates = 0;
  for (int32_t tile = 0; tile < p.slots; tile += kReduceThreads) {
    const int32_t roi = tile + thread;
    const float score = roi < p.slots ? scores[roi] : -1.0f;
    const bool valid = score >= 0.0f && is_large(class_box(p, frame, roi, label), p.min_size);
    const int32_t place = append_place(valid, shared.warp_counts, &candidates);
    if (valid) keys[place] = score_key(score, static_cast<uint32_t>(roi));
  }
  if (candidates == 0) return;
  __syncthreads();
  sort_keys(keys, candidates);

  // Every chunk is held against the boxes kept so far, and then against itself. Kept keys move to
  // the front of the list.
  constexpr int32_t kSlices = kReduceThreads / kNmsChunk;
  constexpr int32_t kWidth = kNmsChunk / kSlices;
  const int32_t member = thread % kNmsChunk;
  const int32_t slice = thread / kNmsChunk;
  const float threshold = *p.nms_threshold;
  const Glance glance(threshold);
  Box* const boxes = job.boxes + (frame * job.labels + label) * job.limit;
  int32_t count = 0;
  for (int32_t begin = 0; begin < candidates && count < job.limit; begin += kNmsChunk) {
    uint64_t key = 0;
    if (begin + member < candidates) {
      key = keys[begin + member];
      if (slice == 0) {
        const Box box = class_box(p, frame, static_cast<int32_t>(key_index(key)), label);
        shared.box[member] = box;
        shared.area[member] = box_area(box);
      }
    }
    __syncthreads();
    bool overlapped = false;
    uint32_t better = 0;
    if (begin + member < candidates) {
      const Box box = shared.box[member];
      const float area = shared.area[member];
      for (int32_t k = slice; k < count && !overlapped; k += kSlices) {
        const Box other = boxes[k];
        overlapped = overlap_at_a_glance(other, box_area(other), box, area, glance, threshold);
      }
      for (int32_t i = 0; i < kWidth; ++i) {
        const int32_t other = slice * kWidth + i;
        if (other >= member) break;
        const bool above = overlap_at_a_glance(shared.box[other], shared.area[other], box, area,
                                               glance, threshold);
        better |= static_cast<uint32_t>(above) << i;
      }
    }
    shared.better[slice][member] = static_cast<uint16_t>(better);
    const uint32_t ballot = __ballot_sync(kAllLanes, overlapped);
    if (lane == 0) shared.overlapped[warp] = ballot;
    __syncthreads();
    if (warp == 0) {
      uint32_t low = 0;
      uint32_t high = 0;
      uint64_t first = 0;
      uint64_t second = 0;
      for (int32_t s = 0; s < kSlices; ++s) {
        low |= shared.overlapped[2 * s];
        high |= shared.overlapped[2 * s + 1];
        first |= static_cast<uint64_t>(shared.better[s][lane]) << (s * kWidth);
        second |= static_cast<uint64_t>(shared.better[s][lane + 32]) << (s * kWidth);
      }
      const uint64_t gone = static_cast<uint64_t>(high) << 32 | low;
      const uint64_t kept = greedy_chunk(chunk_bits(candidates - begin) & ~gone, first, second);
      if (lane == 0) shared.kept = kept;
    }
    __syncthreads();
    const uint64_t kept = shared.kept;
    if (slice == 0 && (kept >> member & 1)) {
      const int32_t place = count + __popcll(kept & ((uint64_t{1} << member) - 1));
      if (place < job.limit) {
        keys[place] = key;
        boxes[place] = shared.box[member];
      }
    }
    count += __popcll(kept);
    __syncthreads();
  }
  count = count < job.limit ? count : job.limit;

  if (thread == 0) shared.place = atomicAdd(job.count + frame, count);
  __syncthreads();
  uint64_t* const kept = job.kept + frame * job.labels * job.limit + shared.place;
  for (int32_t k = thread; k < count; k += kReduceThreads) {
    // the RoI's number becomes the position in [slots, labels]
    const uint64_t key = keys[k];
    const uint32_t position =
        key_index(key) * static_cast<uint32_t>(job.labels) + static_cast<uint32_t>(label);
    kept[k] = (key & ~uint64_t{0xffffffff}) | position;
  }
}

struct Merging {
  uint64_t keys[kMergeKeys];
  int32_t histogram[kDigits];
  int32_t digit;
  int32_t below;   // keys of lower digits
  int32_t length;  // of keys
};

// Keys whose upper bits are at most `prefix`; all bits but the lowest `shift` are upper ones.
struct Cut {
  uint64_t prefix;
  int32_t shift;
};

__device__ inline uint64_t upper_bits(uint64_t key, int32_t shift) {
  return shift < 64 ? key >> shift : 0;
}

// A cut that takes at least the lowest `wanted` keys and at most kMergeKeys. Digit after digit,
// from the highest on, it finds the one in which the last wanted key lies.
__device__ inline Cut find_cut(const uint64_t* keys, int32_t count, int32_t wanted,
                               Merging& shared) {
  const auto thread = static_cast<int32_t>(threadIdx.x);
  Cut cut = {0, 64};
  int32_t below = 0;       // keys that are taken whatever the next digits are
  int32_t inside = count;  // keys that have the prefix
  while (below + inside > kMergeKeys && cut.shift > 0) {
    const int32_t shift = cut.shift - kDigitBits;
    for (int32_t i = thread; i < kDigits; i += kMergeThreads) shared.histogram[i] = 0;
    __syncthreads();
    for (int32_t i = thread; i < count; i += kMergeThreads) {
      if (upper_bits(keys[i], cut.shift) != cut.prefix) continue;
      atomicAdd(&shared.histogram[keys[i] >> shift & (kDigits - 1)], 1);
    }
    __syncthreads();
    if (thread < kDigits) {
      int32_t before = below;
      for (int32_t i = 0; i < thread; ++i) before += shared.histogram[i];
      if (before < wanted && wanted <= before + shared.histogram[thread]) {
        shared.digit = thread;
        shared.below = before;
      }
    }
    __syncthreads();
    below = shared.below;
    inside = shared.histogram[shared.digit];
    cut = {cut.prefix << kDigitBits | static_cast<uint64_t>(shared.digit), shift};
    __syncthreads();
  }
  return cut;
}

__global__ void __launch_bounds__(kMergeThreads) merge_kernel(const __grid_constant__ Job job) {
  const MaskrtDetectionNmsParams& p = job.p;
  const int64_t frame = blockIdx.x;
  const auto thread = static_cast<int32_t>(threadIdx.x);
  Merging& shared = *shared_memory<Merging>();
  const uint64_t* const kept = job.kept + frame * job.labels * job.limit;
  const int32_t count = job.count[frame];
  const int32_t found = count < p.max_detections ? count : p.max_detections;

  if (thread == 0) shared.length = 0;
  __syncthreads();
  const Cut cut = find_cut(kept, count, found, shared);
  for (int32_t i = thread; i < count; i += kMergeThreads) {
    if (upper_bits(kept[i], cut.shift) > cut.prefix) continue;
    shared.keys[atomicAdd(&shared.length, 1)] = kept[i];
  }
  __syncthreads();
  sort_keys(shared.keys, shared.length);

  const int32_t first = first_class(p);
  for (int32_t d = thread; d < p.max_detections; d += kMergeThreads) {
    Box box = {};
    float score = 0.0f;
    int32_t label = 0;
    if (d < found) {
      const uint64_t key = shared.keys[d];
      const auto labels = static_cast<uint32_t>(job.labels);
      const uint32_t roi = key_index(key) / labels;
      const uint32_t own = key_index(key) - roi * labels;
      box = class_box(p, frame, static_cast<int32_t>(roi), static_cast<int32_t>(own));
      score = key_score(key);
      label = first + static_cast<int32_t>(own);
    }
    const int64_t at = frame * p.max_detections + d;
    store_box(p.boxes + 4 * at, box);
    p.scores[at] = score;
    p.labels[at] = label;
  }
  if (thread == 0) p.count[frame] = found;
}

Job plan(const MaskrtDetectionNmsParams& p, Workspace& workspace) {
  Job job = {};
  job.p = p;
  job.labels = p.classes - 1;
  job.pitch = ceil_div(p.slots, kScoreRois) * kScoreRois;
  job.limit = class_limit(p);
  const int64_t rows = static_cast<int64_t>(p.batch) * job.labels;
  job.scores = workspace.take<float>(rows * job.pitch);
  job.boxes = workspace.take<Box>(rows * job.limit);
  job.kept = workspace.take<uint64_t>(rows * job.limit);
  job.count = workspace.take<int32_t>(p.batch);
  return job;
}

}  // namespace

size_t workspace_bytes(const MaskrtDetectionNmsParams& p) {
  Workspace workspace(nullptr);
  plan(p, workspace);
  return workspace.bytes();
}

cudaError_t launch(const MaskrtDetectionNmsParams& p, void* memory, cudaStream_t stream) {
  Workspace workspace(memory);
  const Job job = plan(p, workspace);
  const size_t score_bytes = kScoreRois * kScorePitch * sizeof(float);
  const size_t reduce_bytes = sizeof(Reduction) + static_cast<size_t>(p.slots) * sizeof(uint64_t);
  MASKRT_RETURN_IF_ERROR(maskrt::launch(score_kernel, dim3(ceil_div(p.slots, kScoreRois), p.batch),
                                        dim3(kScoreThreads), score_bytes, stream, job));
  MASKRT_RETURN_IF_ERROR(maskrt::launch(reduce_kernel, dim3(job.labels, p.batch),
                                        dim3(kReduceThreads), reduce_bytes, stream, job));
  return maskrt::launch(merge_kernel, dim3(p.batch), dim3(kMergeThreads), sizeof(Merging), stream,
                        job);
}

}  // namespace detection_nms
}  // namespace maskrt

MASKRT_CUDA_INTERFACE(detection_nms, MaskrtDetectionNmsParams)
