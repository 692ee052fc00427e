#include "common/plugin.h"

#include "keypoint_decode/check.h"
#include "keypoint_decode/kernel.h"

namespace maskrt {
namespace keypoint_decode {
namespace {

struct Description {
  static constexpr char kName[] = "KeypointDecode";
  using Params = MaskrtKeypointDecodeParams;

  struct Attributes {
    std::string decode = "torchvision";

    void visit(Fields& fields) { fields.optional("decode", decode, {"torchvision", "detectron2"}); }
  };

  static Signature signature(const Attributes&) {
    return {{{"heatmaps", 4, logit_maps()},
             {"boxes", 3, only_float32()},
             {"count", 1, only_int32()},
             {"scale", 2, only_float32()}},
            {{{"keypoints", 4, only_float32()}, nvinfer1::DataType::kFLOAT}}};
  }

  static void shapes(const Attributes&, Shapes& shapes) {
    shapes.output(0, {shapes.side(1, 0), shapes.side(1, 1), shapes.side(0, 1), 3});
  }

  static int fill(const Attributes& a, const Tensors& tensors, Params& p) {
    const Tensor heatmaps = tensors.input(0), boxes = tensors.input(1);
    const Tensor count = tensors.input(2), scale = tensors.input(3);
    const int64_t batch = boxes.wide_side(0), slots = boxes.wide_side(1);
    int status = expect_sides(kName, "boxes", boxes, {-1, -1, 4});
    if (!status) status = expect_sides(kName, "heatmaps", heatmaps, {batch * slots, -1, -1, -1});
    if (!status) status = expect_sides(kName, "count", count, {batch});
    if (!status) status = expect_sides(kName, "scale", scale, {batch, 2});
    if (status) return status;
    p.heatmaps = heatmaps.data<const void>();
    p.boxes = boxes.data<const float>();
    p.count = count.data<const int32_t>();
    p.scale = scale.data<const float>();
    p.keypoints = tensors.output(0).data<float>();
    p.batch = boxes.side(0);
    p.slots = boxes.side(1);
    p.points = heatmaps.side(1);
    p.height = heatmaps.side(2);
    p.width = heatmaps.side(3);
    p.heatmaps_type = heatmaps.type();
    p.layout = heatmaps.layout();
    p.channel_stride = heatmaps.cell_stride();
    const bool torchvision = a.decode == "torchvision";
    p.decode = torchvision ? MASKRT_KEYPOINT_TORCHVISION : MASKRT_KEYPOINT_DETECTRON2;
    return MASKRT_OK;
  }

  static int check(const Params& p) { return keypoint_decode::check(p); }
  static size_t workspace_bytes(const Params& p) { return keypoint_decode::workspace_bytes(p); }
  static cudaError_t launch(const Params& p, void* workspace, cudaStream_t stream) {
    return keypoint_decode::launch(p, workspace, stream);
  }
};

const Registered<Description> registered;

}  // namespace
}  // namespace keypoint_decode
}  // namespace maskrt
