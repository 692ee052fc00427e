#include "common/plugin.h"

#include "mask_select/check.h"
#include "mask_select/kernel.h"

namespace maskrt {
namespace mask_select {
namespace {

struct Description {
  static constexpr char kName[] = "MaskSelect";
  using Params = MaskrtMaskSelectParams;

  struct Attributes {
    // no uint8: TensorRT's plugins cannot put it out
    std::string masks_type = "float32";

    void visit(Fields& fields) {
      fields.optional("masks_type", masks_type, {"float32", "float16"});
    }
  };

  static Signature signature(const Attributes& a) {
    const bool half = a.masks_type == "float16";
    const auto type = half ? nvinfer1::DataType::kHALF : nvinfer1::DataType::kFLOAT;
    return {{{"logits", 4, logit_maps()}, {"labels", 2, only_int32()}, {"count", 1, only_int32()}},
            {{{"masks", 4, float32_or_16()}, type}}};
  }

  static void shapes(const Attributes&, Shapes& shapes) {
    shapes.output(0, {shapes.side(1, 0), shapes.side(1, 1), shapes.side(0, 2), shapes.side(0, 3)});
  }

  static int fill(const Attributes&, const Tensors& tensors, Params& p) {
    const Tensor logits = tensors.input(0), labels = tensors.input(1), count = tensors.input(2);
    const int64_t batch = labels.wide_side(0), slots = labels.wide_side(1);
    int status = expect_sides(kName, "logits", logits, {batch * slots, -1, -1, -1});
    if (!status) status = expect_sides(kName, "count", count, {batch});
    if (status) return status;
    p.logits = logits.data<const void>();
    p.labels = labels.data<const int32_t>();
    p.count = count.data<const int32_t>();
    p.masks = tensors.output(0).data<void>();
    p.batch = labels.side(0);
    p.slots = labels.side(1);
    p.classes = logits.side(1);
    p.height = logits.side(2);
    p.width = logits.side(3);
    p.logits_type = logits.type();
    p.layout = logits.layout();
    p.channel_stride = logits.cell_stride();
    p.masks_type = tensors.output(0).type();
    return MASKRT_OK;
  }

  static int check(const Params& p) { return mask_select::check(p); }
  static size_t workspace_bytes(const Params& p) { return mask_select::workspace_bytes(p); }
  static cudaError_t launch(const Params& p, void* workspace, cudaStream_t stream) {
    return mask_select::launch(p, workspace, stream);
  }
};

const Registered<Description> registered;

}  // namespace
}  // namespace mask_select
}  // namespace maskrt
