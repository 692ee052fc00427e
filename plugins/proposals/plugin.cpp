#include "common/plugin.h"

#include <numeric>

#include "proposals/check.h"
#include "proposals/kernel.h"

namespace maskrt {
namespace proposals {
namespace {

struct Description {
  static constexpr char kName[] = "Proposals";
  using Params = MaskrtProposalsParams;

  struct Attributes {
    std::vector<float> anchors;
    std::vector<int32_t> anchors_per_cell;
    std::vector<int32_t> grid_widths;
    std::vector<int32_t> strides;
    std::vector<int32_t> top_k;
    int32_t num_rois = 0;
    float nms_threshold = 0.0f;
    float score_threshold = 0.0f;
    float min_size = 0.0f;
    std::array<float, 4> delta_weights = {};
    float delta_clip = 0.0f;

    void visit(Fields& fields) {
      constexpr int32_t kLevels = MASKRT_PROPOSALS_MAX_LEVELS;
      constexpr int32_t kAnchors = MASKRT_PROPOSALS_MAX_ANCHORS;
      constexpr int32_t kSide = 1 << 22;
      fields.required("anchors", anchors, any_number().length(4, 4 * kAnchors));
      fields.required("anchors_per_cell", anchors_per_cell,
                      between(1, kAnchors).length(1, kLevels));
      fields.required("grid_widths", grid_widths, between(1, kSide).length(1, kLevels));
      fields.required("strides", strides, between(1, kSide).length(2, 2 * kLevels));
      fields.required("top_k", top_k, between(1, MASKRT_PROPOSALS_MAX_TOP_K).length(1, kLevels));
      fields.required("num_rois", num_rois, between(1, MASKRT_PROPOSALS_MAX_ROIS));
      fields.required("nms_threshold", nms_threshold, any_number());
      fields.required("score_threshold", score_threshold, any_number());
      fields.required("min_size", min_size, any_number());
      fields.required("delta_weights", delta_weights, any_number().without_zero());
      fields.required("delta_clip", delta_clip, any_number());
    }

    int64_t candidates() const { return std::accumulate(top_k.begin(), top_k.end(), int64_t{0}); }

    // The lists are about the same levels.
    int check() const {
      const size_t levels = top_k.size();
      const size_t cells =
          static_cast<size_t>(std::accumulate(anchors_per_cell.begin(), anchors_per_cell.end(), 0));
      const struct {
        const char* name;
        size_t found;
        size_t expected;
      } lists[] = {{"anchors_per_cell", anchors_per_cell.size(), levels},
                   {"grid_widths", grid_widths.size(), levels},
                   {"strides", strides.size(), 2 * levels},
                   {"anchors", anchors.size(), 4 * cells}};
      for (const auto& list : lists) {
        MASKRT_EXPECT(list.found == list.expected,
                      "%s: attribute %s: found %zu numbers, expected %zu for %zu levels with %zu "
                      "anchors per cell in all",
                      kName, list.name, list.found, list.expected, levels, cells);
      }
      return MASKRT_OK;
    }
  };

  static Signature signature(const Attributes&) {
    return {{{"objectness", 2, only_float32()},
             {"deltas", 3, only_float32()},
             {"indices", 2, only_int32()},
             {"content", 2, only_float32()}},
            {{{"rois", 3, only_float32()}, nvinfer1::DataType::kFLOAT},
             {{"count", 1, only_int32()}, nvinfer1::DataType::kINT32}}};
  }

  static void shapes(const Attributes& a, Shapes& shapes) {
    const Side batch = shapes.side(0, 0);
    shapes.output(0, {batch, a.num_rois, 4});
    shapes.output(1, {batch});
  }

  static int fill(const Attributes& a, const Tensors& tensors, Params& p) {
    const Tensor objectness = tensors.input(0), deltas = tensors.input(1);
    const Tensor indices = tensors.input(2), content = tensors.input(3);
    const int64_t batch = objectness.wide_side(0), candidates = a.candidates();
    int status = expect_sides(kName, "objectness", objectness, {-1, candidates});
    if (!status) status = expect_sides(kName, "deltas", deltas, {batch, candidates, 4});
    if (!status) status = expect_sides(kName, "indices", indices, {batch, candidates});
    if (!status) status = expect_sides(kName, "content", content, {batch, 2});
    if (status) return status;
    p.objectness = objectness.data<const float>();
    p.deltas = deltas.data<const float>();
    p.indices = indices.data<const int32_t>();
    p.content = content.data<const float>();
    p.rois = tensors.output(0).data<float>();
    p.count = tensors.output(1).data<int32_t>();
    p.batch = objectness.side(0);
    p.levels = static_cast<int32_t>(a.top_k.size());
    p.num_rois = a.num_rois;
    p.nms_threshold = a.nms_threshold;
    p.score_threshold = a.score_threshold;
    p.min_size = a.min_size;
    p.delta_clip = a.delta_clip;
    for (size_t i = 0; i < 4; ++i) p.delta_weights[i] = a.delta_weights[i];
    int32_t first_anchor = 0;
    for (size_t l = 0; l < a.top_k.size(); ++l) {
      p.level[l] = {first_anchor,     a.anchors_per_cell[l], a.grid_widths[l],
                    a.strides[2 * l], a.strides[2 * l + 1],  a.top_k[l]};
      first_anchor += a.anchors_per_cell[l];
    }
    for (size_t i = 0; i < a.anchors.size(); ++i) p.anchors[i / 4][i % 4] = a.anchors[i];
    return MASKRT_OK;
  }

  static int check(const Params& p) { return proposals::check(p); }
  static size_t workspace_bytes(const Params& p) { return proposals::workspace_bytes(p); }
  static cudaError_t launch(const Params& p, void* workspace, cudaStream_t stream) {
    return proposals::launch(p, workspace, stream);
  }
};

const Registered<Description> registered;

}  // namespace
}  // namespace proposals
}  // namespace maskrt
