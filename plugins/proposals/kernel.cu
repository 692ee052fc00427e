// Four kernels, each with a grid that the params alone decide:
//   select   a block per level: decodes, drops what is not valid, sorts
//   compare  a block per 64 x 64 candidates: bits of the pairs that overlap too much
//   reduce   a block per level: greedy NMS over those bits, 64 candidates at a time
//   merge    a thread per candidate: its rank over all levels is its place among the RoIs

#include "common/box.h"
#include "common/nms.h"
#include "common/nms_cuda.h"
#include "proposals/check.h"
#include "proposals/kernel.h"
#include "proposals/math.h"

namespace maskrt {
namespace proposals {
namespace {

constexpr int kSelectThreads = 512;
constexpr int kReduceThreads = 256;
constexpr int kMergeThreads = 256;
constexpr int32_t kMaxChunks = MASKRT_PROPOSALS_MAX_TOP_K / kNmsChunk;

// Where a level lies in what all levels of a frame share.
struct Place {
  int32_t candidate;  // its first one
  int32_t tile;       // its first block of compare()
  int64_t bits;       // its first word
};

// A frame's candidates are [K], its levels one after the other.
struct Job {
  MaskrtProposalsParams p;
  int32_t candidates;  // K
  int32_t tiles;       // of a frame
  int64_t words;       // of a frame's bits
  Place place[MASKRT_PROPOSALS_MAX_LEVELS];
  Box* boxes;           // [batch, K], in the order of the input
  uint64_t* keys;       // [batch, K], each level's first `valid` are sorted
  int32_t* valid;       // [batch, levels]
  uint64_t* bits;       // [batch, words]: see bits_of()
  uint64_t* kept;       // [batch, K]: keys, each level's first `kept_count` are what NMS leaves
  int32_t* kept_count;  // [batch, levels]
};
static_assert(sizeof(Job) <= 4096, "kernels take at most 4096 bytes of parameters");

// Shared memory of select().
constexpr size_t select_bytes(int32_t top_k) {
  return static_cast<size_t>(top_k) * sizeof(uint64_t) + 32 * sizeof(int32_t);
}
static_assert(select_bytes(MASKRT_PROPOSALS_MAX_TOP_K) <= kMaxSharedBytes,
              "it has to sort a level");
static_assert(MASKRT_PROPOSALS_MAX_TOP_K % kNmsChunk == 0, "chunks have to be whole");

MASKRT_HOST_DEVICE inline int32_t chunks(const MaskrtProposalsLevel& level) {
  return ceil_div(level.top_k, kNmsChunk);
}

// Of a level: [chunks, chunks * 64]. Word w of candidate j says which of the candidates from 64 * w
// on are better than j and overlap it; words beyond the diagonal, w > j / 64, are never written.
__device__ inline uint64_t* bits_of(const Job& job, int64_t frame, int32_t level, int32_t word) {
  return job.bits + frame * job.words + job.place[level].bits +
         static_cast<int64_t>(word) * chunks(job.p.level[level]) * kNmsChunk;
}

__global__ void __launch_bounds__(kSelectThreads) select_kernel(const __grid_constant__ Job job) {
  const MaskrtProposalsParams& p = job.p;
  const auto l = static_cast<int32_t>(blockIdx.x);
  const int64_t frame = blockIdx.y;
  const MaskrtProposalsLevel& level = p.level[l];
  const int32_t first = job.place[l].candidate;
  const int64_t begin = frame * job.candidates + first;
  auto* const keys = shared_memory<uint64_t>();  // [top_k]
  auto* const warp_counts = reinterpret_cast<int32_t*>(keys + level.top_k);
  const float height = p.content[2 * frame];
  const float width = p.content[2 * frame + 1];
  int32_t count = 0;
  for (int32_t tile = 0; tile < level.top_k; tile += kSelectThreads) {
    const int32_t i = tile + static_cast<int32_t>(threadIdx.x);
    bool valid = false;
    uint64_t key = 0;
    if (i < level.top_k) {
      const int32_t index = p.indices[begin + i];
      const Position at = position_of(index < 0 ? 0 : index, level);
      const Box anchor = anchor_box(at, level, p.anchors);
      const Box box = clip_box(
          decode(anchor, p.deltas + 4 * (begin + i), p.delta_weights, p.delta_clip), height, width);
      const float score = sigmoid(p.objectness[begin + i]);
      valid = index >= 0 && is_valid(box, score, p.score_threshold, p.min_size);
      key = score_key(score, static_cast<uint32_t>(first + i));
      job.boxes[begin + i] = box;
    }
    const int32_t place = append_place(valid, warp_counts, &count);
    if (valid) keys[place] = key;
  }
  __syncthreads();
  sort_keys(keys, count);
  for (int32_t i = static_cast<int32_t>(threadIdx.x); i < count; i += kSelectThreads) {
    job.keys[begin + i] = keys[i];
  }
  if (threadIdx.x == 0) job.valid[frame * p.levels + l] = count;
}

struct Shape {
  Box box[kNmsChunk];
  float area[kNmsChunk];
};

__global__ void __launch_bounds__(kNmsChunk) compare_kernel(const __grid_constant__ Job job) {
  const MaskrtProposalsParams& p = job.p;
  const int64_t frame = blockIdx.y;
  int32_t l = 0;
  while (l + 1 < p.levels && static_cast<int32_t>(blockIdx.x) >= job.place[l + 1].tile) ++l;
  // the level's tiles are its lower triangle, row after row
  int32_t word = static_cast<int32_t>(blockIdx.x) - job.place[l].tile;
  int32_t chunk = 0;
  while (word > chunk) word -= ++chunk;

  const int32_t valid = job.valid[frame * p.levels + l];
  if (chunk * kNmsChunk >= valid) return;
  const Box* const boxes = job.boxes + frame * job.candidates;
  const uint64_t* const keys = job.keys + frame * job.candidates + job.place[l].candidate;
  Shape& others = *shared_memory<Shape>();
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t other = word * kNmsChunk + thread;
  if (other < valid) {
    const Box box = boxes[key_index(keys[other])];
    others.box[thread] = box;
    others.area[thread] = box_area(box);
  }
  __syncthreads();
  const int32_t own = chunk * kNmsChunk + thread;
  if (own >= valid) return;
  const Box box = boxes[key_index(keys[own])];
  const float area = box_area(box);
  const Glance glance(p.nms_threshold);
  uint64_t above = 0;
  uint64_t unsure = 0;
#pragma unroll 8
  for (int32_t i = 0; i < kNmsChunk; ++i) {
    const Glance::Answer answer = glance.look(others.box[i], others.area[i], box, area);
    above = above >> 1 | static_cast<uint64_t>(answer.above) << 63;
    unsure = unsure >> 1 | static_cast<uint64_t>(!answer.sure) << 63;
  }
  // the candidates before this one; on the diagonal the others are not even there
  const uint64_t better = chunk_bits(own - word * kNmsChunk);
  for (unsure &= better; unsure; unsure &= unsure - 1) {
    const int32_t i = __ffsll(static_cast<long long>(unsure)) - 1;
    const bool is_above = overlap(others.box[i], others.area[i], box, area, p.nms_threshold);
    above |= static_cast<uint64_t>(is_above) << i;
  }
  bits_of(job, frame, l, word)[own] = above & better;
}

struct Reduction {
  uint64_t kept[kMaxChunks];                   // bits
  uint32_t overlapped[kReduceThreads / 32];    // bits of half a chunk, from each warp
  uint16_t order[MASKRT_PROPOSALS_MAX_TOP_K];  // positions of the kept candidates
};

__global__ void __launch_bounds__(kReduceThreads) reduce_kernel(const __grid_constant__ Job job) {
  const MaskrtProposalsParams& p = job.p;
  const auto l = static_cast<int32_t>(blockIdx.x);
  const int64_t frame = blockIdx.y;
  const int32_t valid = job.valid[frame * p.levels + l];
  Reduction& shared = *shared_memory<Reduction>();
  const auto thread = static_cast<int32_t>(threadIdx.x);
  const int32_t lane = thread % 32;
  const int32_t warp = thread / 32;
  // a candidate has a thread in every second warp; these share its words
  const int32_t slices = kReduceThreads / kNmsChunk;
  const int32_t slice = thread / kNmsChunk;

  int32_t count = 0;
  for (int32_t chunk = 0; chunk * kNmsChunk < valid && count < p.num_rois; ++chunk) {
    const int32_t begin = chunk * kNmsChunk;
    uint64_t first = 0;
    uint64_t second = 0;
    if (warp == 0) {
      const uint64_t* const bits = bits_of(job, frame, l, chunk) + begin + lane;
      if (begin + lane < valid) first = bits[0];
      if (begin + lane + 32 < valid) second = bits[32];
    }
    const int32_t own = begin + thread % kNmsChunk;
    uint64_t overlapped = 0;
    if (own < valid) {
#pragma unroll 4
      for (int32_t word = slice; word < chunk; word += slices) {
        overlapped |= bits_of(job, frame, l, word)[own] & shared.kept[word];
      }
    }
    const uint32_t ballot = __ballot_sync(kAllLanes, overlapped != 0);
    if (lane == 0) shared.overlapped[warp] = ballot;
    __syncthreads();
    if (warp == 0) {
      uint32_t low = 0;
      uint32_t high = 0;
      for (int32_t s = 0; s < slices; ++s) {
        low |= shared.overlapped[2 * s];
        high |= shared.overlapped[2 * s + 1];
      }
      const uint64_t gone = static_cast<uint64_t>(high) << 32 | low;
      const uint64_t kept = greedy_chunk(chunk_bits(valid - begin) & ~gone, first, second);
      if (lane == 0) shared.kept[chunk] = kept;
      for (int32_t bit = lane; bit < kNmsChunk; bit += 32) {
        if (!(kept >> bit & 1)) continue;
        const int32_t place = count + __popcll(kept & ((uint64_t{1} << bit) - 1));
        shared.order[place] = static_cast<uint16_t>(begin + bit);
      }
    }
    __syncthreads();
    count += __popcll(shared.kept[chunk]);
  }
  const int64_t at = frame * job.candidates + job.place[l].candidate;
  for (int32_t k = thread; k < count; k += kReduceThreads) {
    job.kept[at + k] = job.keys[at + shared.order[k]];
  }
  if (thread == 0) job.kept_count[frame * p.levels + l] = count;
}

// How many of the sorted keys are below the key.
__device__ inline int32_t keys_below(const uint64_t* keys, int32_t count, uint64_t key) {
  int32_t low = 0;
  while (low < count) {
    const int32_t middle = (low + count) / 2;
    if (keys[middle] < key) {
      low = middle + 1;
    } else {
      count = middle;
    }
  }
  return low;
}

__global__ void __launch_bounds__(kMergeThreads) merge_kernel(const __grid_constant__ Job job) {
  const MaskrtProposalsParams& p = job.p;
  const int64_t frame = blockIdx.y;
  const auto thread = static_cast<int32_t>(blockIdx.x * kMergeThreads + threadIdx.x);
  const int32_t* const kept_count = job.kept_count + frame * p.levels;
  const uint64_t* const kept = job.kept + frame * job.candidates;
  float* const rois = p.rois + frame * p.num_rois * 4;

  int32_t total = 0;
  int32_t own = 0;
  for (int32_t l = 0; l < p.levels; ++l) {
    total += kept_count[l];
    if (thread >= job.place[l].candidate) own = l;
  }
  total = total < p.num_rois ? total : p.num_rois;
  if (thread == 0) p.count[frame] = total;
  if (thread >= total && thread < p.num_rois)
    store_box(rois + 4 * static_cast<int64_t>(thread), {});

  int32_t rank = thread - job.place[own].candidate;
  if (rank >= kept_count[own]) return;
  const uint64_t key = kept[thread];
  for (int32_t l = 0; l < p.levels; ++l) {
    if (l != own) rank += keys_below(kept + job.place[l].candidate, kept_count[l], key);
  }
  if (rank >= p.num_rois) return;
  const Box box = job.boxes[frame * job.candidates + key_index(key)];
  store_box(rois + 4 * static_cast<int64_t>(rank), box);
}

Job plan(const MaskrtProposalsParams& p, Workspace& workspace) {
  Job job = {};
  job.p = p;
  for (int32_t l = 0; l < p.levels; ++l) {
    const int32_t side = chunks(p.level[l]);
    job.place[l] = {job.candidates, job.tiles, job.words};
    job.candidates += p.level[l].top_k;
    job.tiles += side * (side + 1) / 2;
    job.words += static_cast<int64_t>(side) * side * kNmsChunk;
  }
  const int64_t all = static_cast<int64_t>(p.batch) * job.candidates;
  const int64_t levels = static_cast<int64_t>(p.batch) * p.levels;
  job.boxes = workspace.take<Box>(all);
  job.keys = workspace.take<uint64_t>(all);
  job.valid = workspace.take<int32_t>(levels);
  job.bits = workspace.take<uint64_t>(p.batch * job.words);
  job.kept = workspace.take<uint64_t>(all);
  job.kept_count = workspace.take<int32_t>(levels);
  return job;
}

}  // namespace

size_t workspace_bytes(const MaskrtProposalsParams& p) {
  Workspace workspace(nullptr);
  plan(p, workspace);
  return workspace.bytes();
}

cudaError_t launch(const MaskrtProposalsParams& p, void* memory, cudaStream_t stream) {
  Workspace workspace(memory);
  const Job job = plan(p, workspace);
  int32_t longest = 0;
  for (int32_t l = 0; l < p.levels; ++l) {
    longest = p.level[l].top_k > longest ? p.level[l].top_k : longest;
  }
  const int32_t slots = job.candidates > p.num_rois ? job.candidates : p.num_rois;
  MASKRT_RETURN_IF_ERROR(maskrt::launch(select_kernel, dim3(p.levels, p.batch),
                                        dim3(kSelectThreads), select_bytes(longest), stream, job));
  MASKRT_RETURN_IF_ERROR(maskrt::launch(compare_kernel, dim3(job.tiles, p.batch), dim3(kNmsChunk),
                                        sizeof(Shape), stream, job));
  MASKRT_RETURN_IF_ERROR(maskrt::launch(reduce_kernel, dim3(p.levels, p.batch),
                                        dim3(kReduceThreads), sizeof(Reduction), stream, job));
  return maskrt::launch(merge_kernel, dim3(ceil_div(slots, kMergeThreads), p.batch),
                        dim3(kMergeThreads), 0, stream, job);
}

}  // namespace proposals
}  // namespace maskrt

MASKRT_CUDA_INTERFACE(proposals, MaskrtProposalsParams)
