// Attributes, inputs and their order are those of ONNX's RoiAlign, so that a node can be swapped.

#include "common/plugin.h"

#include "roi_align/check.h"
#include "roi_align/kernel.h"
#include "roi_align/plugin_scales.h"

namespace maskrt {
namespace roi_align {
namespace {

struct Description {
  static constexpr char kName[] = "RoIAlign";
  using Params = MaskrtRoIAlignParams;

  struct Attributes {
    int32_t output_height = 1;
    int32_t output_width = 1;
    int32_t sampling_ratio = 0;
    float spatial_scale = 1.0f;
    std::string coordinates;
    std::string mode = "avg";
    std::vector<float> feature_scales;  // of int8: one
    float output_scale = 0.0f;          // of int8; 0: not given

    void visit(Fields& fields) {
      const Limits bins = between(1, MASKRT_ROI_ALIGN_MAX_BINS);
      const Limits positive = at_least(0).without_zero();
      fields.optional("output_height", output_height, bins);
      fields.optional("output_width", output_width, bins);
      fields.optional("sampling_ratio", sampling_ratio, between(0, MASKRT_ROI_ALIGN_MAX_SAMPLES));
      fields.optional("spatial_scale", spatial_scale, positive);
      // no default: ONNX changed it from opset 10 to 16
      fields.required("coordinate_transformation_mode", coordinates,
                      {"half_pixel", "output_half_pixel"});
      fields.optional("mode", mode, {"avg"});
      fields.optional("feature_scales", feature_scales, positive.length(1, 1));
      fields.optional("output_scale", output_scale, at_least(0));
    }
  };

  static Signature signature(const Attributes&) {
    return {{{"X", 4, feature_maps(), true},
             {"rois", 2, only_float32()},
             {"batch_indices", 1, int32_or_int64()}},
            {{{"Y", 4, feature_maps(), true}, nvinfer1::DataType::kFLOAT}}};
  }

  static void shapes(const Attributes& a, Shapes& shapes) {
    shapes.output(0, {shapes.side(1, 0), shapes.side(0, 1), a.output_height, a.output_width});
  }

  static int fill(const Attributes& a, const Tensors& tensors, Params& p) {
    const Tensor map = tensors.input(0), rois = tensors.input(1), indices = tensors.input(2);
    int status = expect_sides(kName, "rois", rois, {-1, 4});
    if (!status) status = expect_sides(kName, "batch_indices", indices, {rois.wide_side(0)});
    if (status) return status;
    p.map = {map.data<const void>(), map.side(2), map.side(3), a.spatial_scale, 1.0f};
    p.type = map.type();
    if (p.type == MASKRT_INT8) {
      status = set_scales(kName, a.feature_scales, a.output_scale, tensors, 0, &p.map, 1,
                          p.output_scale);
      if (status) return status;
    }
    p.rois = rois.data<const float>();
    p.batch_indices = indices.data<const void>();
    p.pooled = tensors.output(0).data<void>();
    p.images = map.side(0);
    p.num_rois = rois.side(0);
    p.channels = map.side(1);
    p.cell_stride = map.cell_stride();
    p.output_height = a.output_height;
    p.output_width = a.output_width;
    p.sampling_ratio = a.sampling_ratio;
    p.aligned = a.coordinates == "half_pixel";
    p.index_type = indices.type();
    p.layout = map.layout();
    return MASKRT_OK;
  }

  static int check(const Params& p) { return roi_align::check(p); }
  static size_t workspace_bytes(const Params& p) { return roi_align::workspace_bytes(p); }
  static cudaError_t launch(const Params& p, void* workspace, cudaStream_t stream) {
    return roi_align::launch(p, workspace, stream);
  }
};

const Registered<Description> registered;

}  // namespace
}  // namespace roi_align
}  // namespace maskrt
