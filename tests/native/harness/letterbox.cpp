#include "harness/subject.h"
#include "letterbox/params.h"

namespace {

using namespace harness;

Subject letterbox(const char* resize = "torchvision") {
  Subject s;
  s.name = "Letterbox";
  s.fields.ints("canvas", {24, 40})
      .ints("min_size", {18})
      .ints("max_size", {33})
      .floats("mean", {123.675f, 116.28f, 103.53f})
      .floats("std", {58.395f, -57.12f, 57.375f})
      .ints("swap_channels", {1})
      .text("resize", resize)
      .text("image_type", "float32");
  s.optional = {"resize", "image_type"};
  s.inputs = {{"frames", {{DataType::kUINT8, TensorFormat::kLINEAR}}}};
  s.outputs = {
      {"image",
       {{DataType::kFLOAT, TensorFormat::kLINEAR}, {DataType::kHALF, TensorFormat::kLINEAR}}},
      {"scale", expect_float32()},
      {"content", expect_float32()}};
  s.output_types = {DataType::kFLOAT, DataType::kFLOAT, DataType::kFLOAT};
  s.small = {{{1, 10, 30, 3}}, {{1, 3, 24, 40}, {1, 2}, {1, 2}}};
  s.large = {{{3, 61, 47, 3}}, {{3, 3, 24, 40}, {3, 2}, {3, 2}}};
  return s;
}

// The plugin's result against the CPU operator's, bit by bit.
void check_run(MaskrtLetterboxResize resize, const Subject::Sizes& sizes, DataType type) {
  const bool torchvision = resize == MASKRT_LETTERBOX_TORCHVISION;
  const Subject subject = letterbox(torchvision ? "torchvision" : "detectron2");
  const Handle plugin = create(subject.name, subject.fields);
  const auto in = describe(subject.inputs, sizes.inputs, {});
  auto out = describe(subject.outputs, sizes.outputs, {});
  out[0].type = type;
  Buffer frames(static_cast<size_t>(bytes_of(in[0])));
  for (size_t i = 0; i < frames.bytes(); ++i) {
    frames.as<uint8_t>()[i] = static_cast<uint8_t>(i * 2654435761u >> 13);
  }
  const auto found = enqueue(plugin, in, out, {&frames});

  const auto* const d = in[0].dims.d;
  std::vector<Buffer> expected;
  for (const auto& desc : out) expected.emplace_back(static_cast<size_t>(bytes_of(desc)));
  MaskrtLetterboxParams p = {};
  p.struct_size = sizeof p;
  p.frames = frames.as<uint8_t>();
  p.image = expected[0].data();
  p.scale = expected[1].as<float>();
  p.content = expected[2].as<float>();
  p.frame_stride = d[1] * d[2] * 3;
  p.row_stride = d[2] * 3;
  p.pixel_stride = 3;
  p.batch = static_cast<int32_t>(d[0]);
  p.height = static_cast<int32_t>(d[1]);
  p.width = static_cast<int32_t>(d[2]);
  p.canvas_height = 24;
  p.canvas_width = 40;
  p.min_size = 18;
  p.max_size = 33;
  p.swap_channels = 1;
  p.image_type = static_cast<int32_t>(type);
  p.resize = resize;
  const float mean[] = {123.675f, 116.28f, 103.53f}, std[] = {58.395f, -57.12f, 57.375f};
  std::copy(mean, mean + 3, p.mean);
  std::copy(std, std + 3, p.std);
  EXPECT_EQUAL(maskrt_letterbox(&p), 0);
  for (size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQUAL(unpacked(out[i], found[i]), unpacked(out[i], expected[i]));
  }
}

}  // namespace

CASE(letterbox_interfaces) { check_interfaces(letterbox()); }
CASE(letterbox_attributes) {
  check_attributes(letterbox());
  const FieldSet good = letterbox().fields;
  const auto refused = [&](FieldSet fields) { return !create("Letterbox", fields); };
  EXPECT_REFUSED(refused(good.without("canvas").ints("canvas", {1})),
                 "Letterbox: attribute canvas: found 1 numbers, expected 2");
  EXPECT_REFUSED(refused(good.without("canvas").ints("canvas", {8, 0})),
                 "Letterbox: attribute canvas[1]: found 0, expected 1 to 4194304");
  EXPECT_REFUSED(refused(good.without("std").floats("std", {1, 0, 1})),
                 "Letterbox: attribute std[1]: found 0, expected a finite number, not 0");
  EXPECT_REFUSED(refused(good.without("min_size").ints("min_size", {-1})),
                 "Letterbox: attribute min_size: found -1, expected 0 to 4194304");
  EXPECT_REFUSED(refused(good.without("swap_channels").ints("swap_channels", {2})),
                 "Letterbox: attribute swap_channels: found 2, expected 0 to 1");
  EXPECT_REFUSED(refused(good.without("resize").text("resize", "pillow")),
                 "Letterbox: attribute resize: found 'pillow', expected torchvision, detectron2");
}
CASE(letterbox_serialization) { check_serialization(letterbox()); }
CASE(letterbox_outputs) {
  check_outputs(letterbox());
  Subject half = letterbox();
  half.fields = half.fields.without("image_type").text("image_type", "float16");
  half.output_types[0] = DataType::kHALF;
  check_outputs(half);
}
CASE(letterbox_formats) { check_formats(letterbox()); }
CASE(letterbox_building) {
  check_building(letterbox());
  check_building(letterbox("detectron2"));
}
CASE(letterbox_shape_changes) {
  check_shape_changes(letterbox());
  const Subject s = letterbox();
  const Handle plugin = create(s.name, s.fields);
  auto in = describe(s.inputs, s.small.inputs, {});
  const auto out = describe(s.outputs, s.small.outputs, {});
  in[0].dims.d[3] = 4;
  EXPECT_REFUSED(plugin.runtime->onShapeChange(in.data(), 1, out.data(), 3) != 0,
                 "Letterbox: found frames [1, 10, 30, 4], expected [?, ?, ?, 3]");
  in[0].dims.d[3] = 3;
  in[0].dims.d[1] = 0;
  EXPECT_REFUSED(plugin.runtime->onShapeChange(in.data(), 1, out.data(), 3) != 0,
                 "letterbox: found frame height 0");
}
CASE(letterbox_runs) {
  in_each_order([] {
    for (const auto resize : {MASKRT_LETTERBOX_TORCHVISION, MASKRT_LETTERBOX_DETECTRON2}) {
      check_run(resize, letterbox().small, DataType::kFLOAT);
      check_run(resize, letterbox().large, DataType::kFLOAT);
      check_run(resize, letterbox().large, DataType::kHALF);
    }
  });
}
