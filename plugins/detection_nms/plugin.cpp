#include "common/plugin.h"

#include "detection_nms/check.h"
#include "detection_nms/kernel.h"

namespace maskrt {
namespace detection_nms {
namespace {

struct Description {
  static constexpr char kName[] = "DetectionNMS";
  using Params = MaskrtDetectionNmsParams;

  struct Attributes {
    int32_t max_detections = 0;
    float min_size = 0.0f;
    std::array<float, 4> delta_weights = {};
    float delta_clip = 0.0f;
    int32_t background_first = 0;

    void visit(Fields& fields) {
      fields.required("max_detections", max_detections,
                      between(1, MASKRT_DETECTION_NMS_MAX_DETECTIONS));
      fields.required("min_size", min_size, any_number());
      fields.required("delta_weights", delta_weights, any_number().without_zero());
      fields.required("delta_clip", delta_clip, any_number());
      fields.required("background_first", background_first, between(0, 1));
    }
  };

  static Signature signature(const Attributes&) {
    return {{{"logits", 3, only_float32()},
             {"deltas", 3, only_float32()},
             {"rois", 3, only_float32()},
             {"count", 1, only_int32()},
             {"content", 2, only_float32()},
             {"score_threshold", 0, only_float32()},
             {"nms_threshold", 0, only_float32()}},
            {{{"boxes", 3, only_float32()}, nvinfer1::DataType::kFLOAT},
             {{"scores", 2, only_float32()}, nvinfer1::DataType::kFLOAT},
             {{"labels", 2, only_int32()}, nvinfer1::DataType::kINT32},
             {{"count", 1, only_int32()}, nvinfer1::DataType::kINT32}}};
  }

  static void shapes(const Attributes& a, Shapes& shapes) {
    const Side batch = shapes.side(0, 0);
    shapes.output(0, {batch, a.max_detections, 4});
    shapes.output(1, {batch, a.max_detections});
    shapes.output(2, {batch, a.max_detections});
    shapes.output(3, {batch});
  }

  static int fill(const Attributes& a, const Tensors& tensors, Params& p) {
    const Tensor logits = tensors.input(0), deltas = tensors.input(1), rois = tensors.input(2);
    const Tensor count = tensors.input(3), content = tensors.input(4);
    const int64_t batch = logits.wide_side(0), slots = logits.wide_side(1);
    int status = expect_sides(kName, "deltas", deltas, {batch, slots, -1});
    if (!status) status = expect_sides(kName, "rois", rois, {batch, slots, 4});
    if (!status) status = expect_sides(kName, "count", count, {batch});
    if (!status) status = expect_sides(kName, "content", content, {batch, 2});
    if (status) return status;
    MASKRT_EXPECT(deltas.side(2) % 4 == 0, "%s: found deltas of %d numbers, expected 4 for a box",
                  kName, deltas.side(2));
    p.logits = logits.data<const float>();
    p.deltas = deltas.data<const float>();
    p.rois = rois.data<const float>();
    p.roi_count = count.data<const int32_t>();
    p.content = content.data<const float>();
    p.score_threshold = tensors.input(5).data<const float>();
    p.nms_threshold = tensors.input(6).data<const float>();
    p.boxes = tensors.output(0).data<float>();
    p.scores = tensors.output(1).data<float>();
    p.labels = tensors.output(2).data<int32_t>();
    p.count = tensors.output(3).data<int32_t>();
    p.batch = logits.side(0);
    p.slots = logits.side(1);
    p.classes = logits.side(2);
    p.delta_boxes = deltas.side(2) / 4;
    p.max_detections = a.max_detections;
    p.background_first = a.background_first;
    p.min_size = a.min_size;
    p.delta_clip = a.delta_clip;
    for (size_t i = 0; i < 4; ++i) p.delta_weights[i] = a.delta_weights[i];
    return MASKRT_OK;
  }

  static int check(const Params& p) { return detection_nms::check(p); }
  static size_t workspace_bytes(const Params& p) { return detection_nms::workspace_bytes(p); }
  static cudaError_t launch(const Params& p, void* workspace, cudaStream_t stream) {
    return detection_nms::launch(p, workspace, stream);
  }
};

const Registered<Description> registered;

}  // namespace
}  // namespace detection_nms
}  // namespace maskrt
