#include "common/plugin.h"

#include "multilevel_roi_align/check.h"
#include "multilevel_roi_align/kernel.h"
#include "roi_align/plugin_scales.h"

namespace maskrt {
namespace multilevel_roi_align {
namespace {

constexpr int32_t kFirstMap = 2;  // among the inputs

struct Description {
  static constexpr char kName[] = "MultilevelRoIAlign";
  using Params = MaskrtMultilevelRoIAlignParams;

  struct Attributes {
    int32_t output_height = 0;
    int32_t output_width = 0;
    std::vector<float> spatial_scales;
    int32_t sampling_ratio = 0;
    std::string mode;
    int32_t min_level = 0;
    float canonical_size = 0.0f;
    int32_t canonical_level = 0;
    float epsilon = 0.0f;
    float log_epsilon = 0.0f;
    std::vector<float> feature_scales;  // of int8
    float output_scale = 0.0f;          // of int8; 0: not given

    void visit(Fields& fields) {
      constexpr int32_t kLevels = MASKRT_ROI_ALIGN_MAX_LEVELS;
      const Limits bins = between(1, MASKRT_ROI_ALIGN_MAX_BINS);
      const Limits positive = at_least(0).without_zero();
      fields.required("output_height", output_height, bins);
      fields.required("output_width", output_width, bins);
      fields.required("spatial_scales", spatial_scales, positive.length(1, kLevels));
      fields.required("sampling_ratio", sampling_ratio, between(0, MASKRT_ROI_ALIGN_MAX_SAMPLES));
      fields.required("coordinate_transformation_mode", mode, {"half_pixel", "output_half_pixel"});
      fields.required("min_level", min_level, between(-64, 64));
      fields.required("canonical_size", canonical_size, positive);
      fields.required("canonical_level", canonical_level, between(-64, 64));
      fields.required("epsilon", epsilon, any_number());
      fields.required("log_epsilon", log_epsilon, any_number());
      fields.optional("feature_scales", feature_scales, positive.length(1, kLevels));
      fields.optional("output_scale", output_scale, at_least(0));
    }

    int check() const {
      MASKRT_EXPECT(feature_scales.empty() || feature_scales.size() == spatial_scales.size(),
                    "%s: attribute feature_scales: found %zu numbers, expected %zu, as many as "
                    "spatial_scales",
                    kName, feature_scales.size(), spatial_scales.size());
      return MASKRT_OK;
    }
  };

  static Signature signature(const Attributes& a) {
    static constexpr const char* kMaps[MASKRT_ROI_ALIGN_MAX_LEVELS] = {
        "features[0]", "features[1]", "features[2]", "features[3]",
        "features[4]", "features[5]", "features[6]", "features[7]"};
    Signature all = {{{"rois", 3, only_float32()}, {"count", 1, only_int32()}},
                     {{{"pooled", 4, feature_maps(), true}, nvinfer1::DataType::kFLOAT}}};
    for (size_t i = 0; i < a.spatial_scales.size(); ++i) {
      all.inputs.push_back({kMaps[i], 4, feature_maps(), true});
    }
    return all;
  }

  static void shapes(const Attributes& a, Shapes& shapes) {
    const Side rois = shapes.product(shapes.side(0, 0), shapes.side(0, 1));
    shapes.output(0, {rois, shapes.side(kFirstMap, 1), a.output_height, a.output_width});
  }

  static int fill(const Attributes& a, const Tensors& tensors, Params& p) {
    const Tensor rois = tensors.input(0), count = tensors.input(1),
                 first = tensors.input(kFirstMap);
    const int64_t batch = rois.wide_side(0);
    int status = expect_sides(kName, "rois", rois, {-1, -1, 4});
    if (!status) status = expect_sides(kName, "count", count, {batch});
    if (status) return status;
    p.num_levels = static_cast<int32_t>(a.spatial_scales.size());
    for (int32_t i = 0; i < p.num_levels; ++i) {
      const Tensor map = tensors.input(kFirstMap + i);
      status = expect_sides(kName, "features", map, {batch, first.wide_side(1), -1, -1});
      if (status) return status;
      p.maps[i] = {map.data<const void>(), map.side(2), map.side(3),
                   a.spatial_scales[static_cast<size_t>(i)], 1.0f};
    }
    p.type = first.type();
    if (p.type == MASKRT_INT8) {
      status = roi_align::set_scales(kName, a.feature_scales, a.output_scale, tensors, kFirstMap,
                                     p.maps, p.num_levels, p.output_scale);
      if (status) return status;
    }
    p.rois = rois.data<const float>();
    p.count = count.data<const int32_t>();
    p.pooled = tensors.output(0).data<void>();
    p.canonical_size = a.canonical_size;
    p.epsilon = a.epsilon;
    p.log_epsilon = a.log_epsilon;
    p.min_level = a.min_level;
    p.canonical_level = a.canonical_level;
    p.batch = rois.side(0);
    p.slots = rois.side(1);
    p.channels = first.side(1);
    p.cell_stride = first.cell_stride();
    p.output_height = a.output_height;
    p.output_width = a.output_width;
    p.sampling_ratio = a.sampling_ratio;
    p.aligned = a.mode == "half_pixel";
    p.layout = first.layout();
    return MASKRT_OK;
  }

  static int check(const Params& p) { return multilevel_roi_align::check(p); }
  static size_t workspace_bytes(const Params& p) {
    return multilevel_roi_align::workspace_bytes(p);
  }
  static cudaError_t launch(const Params& p, void* workspace, cudaStream_t stream) {
    return multilevel_roi_align::launch(p, workspace, stream);
  }
};

const Registered<Description> registered;

}  // namespace
}  // namespace multilevel_roi_align
}  // namespace maskrt
