#include "common/plugin.h"

#include "letterbox/check.h"
#include "letterbox/kernel.h"

namespace maskrt {
namespace letterbox {
namespace {

struct Description {
  static constexpr char kName[] = "Letterbox";
  using Params = MaskrtLetterboxParams;

  struct Attributes {
    std::array<int32_t, 2> canvas = {};
    int32_t min_size = 0;
    int32_t max_size = 0;
    std::array<float, 3> mean = {};
    std::array<float, 3> std = {};
    int32_t swap_channels = 0;
    std::string resize = "torchvision";
    std::string image_type = "float32";

    void visit(Fields& fields) {
      constexpr int32_t kMaxSide = MASKRT_LETTERBOX_MAX_SIDE;
      fields.required("canvas", canvas, between(1, kMaxSide));
      fields.required("min_size", min_size, between(0, kMaxSide));
      fields.required("max_size", max_size, between(0, kMaxSide));
      fields.required("mean", mean, any_number());
      fields.required("std", std, any_number().without_zero());
      fields.required("swap_channels", swap_channels, between(0, 1));
      fields.optional("resize", resize, {"torchvision", "detectron2"});
      fields.optional("image_type", image_type, {"float32", "float16"});
    }
  };

  static Signature signature(const Attributes& a) {
    const bool half = a.image_type == "float16";
    const auto type = half ? nvinfer1::DataType::kHALF : nvinfer1::DataType::kFLOAT;
    return {{{"frames", 4, only_uint8()}},
            {{{"image", 4, float32_or_16()}, type},
             {{"scale", 2, only_float32()}, nvinfer1::DataType::kFLOAT},
             {{"content", 2, only_float32()}, nvinfer1::DataType::kFLOAT}}};
  }

  static void shapes(const Attributes& a, Shapes& shapes) {
    const Side batch = shapes.side(0, 0);
    shapes.output(0, {batch, 3, a.canvas[0], a.canvas[1]});
    shapes.output(1, {batch, 2});
    shapes.output(2, {batch, 2});
  }

  static int fill(const Attributes& a, const Tensors& tensors, Params& p) {
    const Tensor frames = tensors.input(0), image = tensors.output(0);
    const int status = expect_sides(kName, "frames", frames, {-1, -1, -1, 3});
    if (status != MASKRT_OK) return status;
    p.frames = frames.data<const uint8_t>();
    p.image = image.data<void>();
    p.scale = tensors.output(1).data<float>();
    p.content = tensors.output(2).data<float>();
    p.batch = frames.side(0);
    p.height = frames.side(1);
    p.width = frames.side(2);
    p.pixel_stride = 3;
    p.row_stride = 3 * static_cast<int64_t>(p.width);
    p.frame_stride = p.row_stride * p.height;
    p.canvas_height = a.canvas[0];
    p.canvas_width = a.canvas[1];
    p.min_size = a.min_size;
    p.max_size = a.max_size;
    p.swap_channels = a.swap_channels;
    p.image_type = image.type();
    const bool torchvision = a.resize == "torchvision";
    p.resize = torchvision ? MASKRT_LETTERBOX_TORCHVISION : MASKRT_LETTERBOX_DETECTRON2;
    for (size_t c = 0; c < 3; ++c) {
      p.mean[c] = a.mean[c];
      p.std[c] = a.std[c];
    }
    return MASKRT_OK;
  }

  static int check(const Params& p) { return letterbox::check(p); }
  static size_t workspace_bytes(const Params& p) { return letterbox::workspace_bytes(p); }
  static cudaError_t launch(const Params& p, void* workspace, cudaStream_t stream) {
    return letterbox::launch(p, workspace, stream);
  }
};

const Registered<Description> registered;

}  // namespace
}  // namespace letterbox
}  // namespace maskrt
