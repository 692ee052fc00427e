// Each mask goes through a buffer of floats, piece by piece: read, mapped, written.

#include "common/cpu.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "common/half.h"
#include "mask_select/check.h"
#include "mask_select/math.h"
#include "mask_select/params.h"

namespace maskrt {
namespace mask_select {
namespace {

constexpr int64_t kPiece = 1024;  // cells

template <typename T>
MASKRT_INLINE void read_as(const T* __restrict logits, int64_t stride, int64_t count,
                           float* __restrict out) {
  if (stride == 1) {
    for (int64_t i = 0; i < count; ++i) out[i] = to_float(logits[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) out[i] = to_float(logits[i * stride]);
  }
}

template <typename T>
MASKRT_INLINE void write_as(const float* __restrict values, int64_t count, T* __restrict out) {
  for (int64_t i = 0; i < count; ++i) out[i] = written<T>(values[i]);
}

MASKRT_CLONES
void read(const float* logits, int64_t stride, int64_t count, float* out) {
  read_as(logits, stride, count, out);
}

MASKRT_CLONES
void read(const Half* logits, int64_t stride, int64_t count, float* out) {
  read_as(logits, stride, count, out);
}

MASKRT_CLONES
void read(const BFloat16* logits, int64_t stride, int64_t count, float* out) {
  read_as(logits, stride, count, out);
}

MASKRT_CLONES
void map(float* values, int64_t count) {
  for (int64_t i = 0; i < count; ++i) values[i] = probability(values[i]);
}

MASKRT_CLONES
void write(const float* values, int64_t count, float* out) { write_as(values, count, out); }

MASKRT_CLONES
void write(const float* values, int64_t count, Half* out) { write_as(values, count, out); }

MASKRT_CLONES
void write(const float* values, int64_t count, uint8_t* out) { write_as(values, count, out); }

template <typename In, typename Out>
void select(const MaskrtMaskSelectParams& p, int64_t instance) {
  const int64_t area = static_cast<int64_t>(p.height) * p.width;
  Out* const masks = static_cast<Out*>(p.masks) + instance * area;
  if (instance % p.slots >= p.count[instance / p.slots]) {
    std::memset(masks, 0, static_cast<size_t>(area) * sizeof(Out));
    return;
  }
  const int32_t channel = channel_of(p.labels[instance], p.classes);
  const Cells cells = cells_of(instance, channel, p.classes, area, p.channel_stride,
                               p.layout == MASKRT_CHANNELS_LAST);
  const In* const logits = static_cast<const In*>(p.logits) + cells.first;
  float values[kPiece];
  for (int64_t begin = 0; begin < area; begin += kPiece) {
    const int64_t count = std::min(kPiece, area - begin);
    read(logits + begin * cells.stride, cells.stride, count, values);
    map(values, count);
    write(values, count, masks + begin);
  }
}

template <typename In>
auto operation(const MaskrtMaskSelectParams& p) {
  if (p.masks_type == MASKRT_FLOAT16) return select<In, Half>;
  return p.masks_type == MASKRT_UINT8 ? select<In, uint8_t> : select<In, float>;
}

int run(const MaskrtMaskSelectParams& p) {
  const auto select_one = p.logits_type == MASKRT_FLOAT16    ? operation<Half>(p)
                          : p.logits_type == MASKRT_BFLOAT16 ? operation<BFloat16>(p)
                                                             : operation<float>(p);
  const int64_t instances = static_cast<int64_t>(p.batch) * p.slots;
  parallel_for(instances, worker_count(p.threads, instances),
               [&](int64_t instance, int) { select_one(p, instance); });
  return MASKRT_OK;
}

}  // namespace
}  // namespace mask_select
}  // namespace maskrt

int maskrt_mask_select(const MaskrtMaskSelectParams* params) {
  MASKRT_EXPECT(params, "mask_select: found a null pointer for params");
  const int status = maskrt::mask_select::check(*params);
  if (status != MASKRT_OK) return status;
  return maskrt::guarded("mask_select", [&] { return maskrt::mask_select::run(*params); });
}
