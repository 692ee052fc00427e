#include "harness/subject.h"
#include "keypoint_decode/params.h"

namespace {

using namespace harness;

Subject keypoint_decode() {
  Subject s;
  s.name = "KeypointDecode";
  s.fields.text("decode", "torchvision");
  s.optional = {"decode"};
  s.inputs = {{"heatmaps", expect_logit_maps()},
              {"boxes", expect_float32()},
              {"count", expect_int32()},
              {"scale", expect_float32()}};
  s.outputs = {{"keypoints", expect_float32()}};
  s.output_types = {DataType::kFLOAT};
  s.small = {{{2, 3, 6, 6}, {1, 2, 4}, {1}, {1, 2}}, {{1, 2, 3, 3}}};
  s.large = {{{6, 9, 14, 12}, {2, 3, 4}, {2}, {2, 2}}, {{2, 3, 9, 3}}};
  return s;
}

void check_run(const Subject::Sizes& sizes, Format format, const std::string& decode) {
  const Subject s = keypoint_decode();
  const Handle plugin = create(s.name, FieldSet().text("decode", decode));
  auto in = describe(s.inputs, sizes.inputs, {});
  const auto out = describe(s.outputs, sizes.outputs, {});
  in[0].type = format.type;
  in[0].format = format.layout;
  const auto batch = static_cast<size_t>(sizes.inputs[1][0]);
  const auto slots = static_cast<int32_t>(sizes.inputs[1][1]);
  std::vector<float> values = noise(count_of(sizes.inputs[0]), -6.0f, 6.0f);
  for (float& value : values) value = rounded(format.type, value);
  std::vector<float> corners = noise(count_of(sizes.inputs[1]), 0.0f, 20.0f);
  for (size_t i = 0; i < corners.size(); i += 4) {
    corners[i + 2] += corners[i] + 2.0f;
    corners[i + 3] += corners[i + 1] + 2.0f;
  }
  std::vector<int32_t> real(batch, slots);
  real[0] = slots - 1;
  const Buffer heatmaps = packed(in[0], values);
  const Buffer boxes = packed(in[1], corners);
  const Buffer count = packed_ints(real);
  const Buffer scale = packed(in[3], noise(2 * batch, 0.5f, 2.0f));
  const auto found = enqueue(plugin, in, out, {&heatmaps, &boxes, &count, &scale});

  // the CPU operator, on the same values in float32 and linear
  const auto plain = desc_of(sizes.inputs[0], {DataType::kFLOAT, TensorFormat::kLINEAR});
  const Buffer plain_heatmaps = packed(plain, values);
  Buffer expected(found[0].bytes());
  MaskrtKeypointDecodeParams p = {};
  p.struct_size = sizeof p;
  p.heatmaps = plain_heatmaps.data();
  p.boxes = boxes.as<float>();
  p.count = count.as<int32_t>();
  p.scale = scale.as<float>();
  p.keypoints = expected.as<float>();
  p.batch = static_cast<int32_t>(batch);
  p.slots = slots;
  p.points = static_cast<int32_t>(sizes.inputs[0][1]);
  p.height = static_cast<int32_t>(sizes.inputs[0][2]);
  p.width = static_cast<int32_t>(sizes.inputs[0][3]);
  p.channel_stride = p.points;
  p.decode = decode == "torchvision" ? MASKRT_KEYPOINT_TORCHVISION : MASKRT_KEYPOINT_DETECTRON2;
  EXPECT_EQUAL(maskrt_keypoint_decode(&p), 0);
  expect_close("keypoints", unpacked(out[0], found[0]), unpacked(out[0], expected), 1e-4f, 1e-5f);
}

}  // namespace

CASE(keypoint_decode_interfaces) { check_interfaces(keypoint_decode()); }
CASE(keypoint_decode_attributes) { check_attributes(keypoint_decode()); }
CASE(keypoint_decode_serialization) { check_serialization(keypoint_decode()); }
CASE(keypoint_decode_outputs) { check_outputs(keypoint_decode()); }
CASE(keypoint_decode_formats) { check_formats(keypoint_decode()); }
CASE(keypoint_decode_building) { check_building(keypoint_decode()); }
CASE(keypoint_decode_shape_changes) {
  check_shape_changes(keypoint_decode());
  const Subject s = keypoint_decode();
  const Handle plugin = create(s.name, s.fields);
  auto in = describe(s.inputs, s.small.inputs, {});
  const auto out = describe(s.outputs, s.small.outputs, {});
  in[3].dims.d[1] = 4;
  EXPECT_REFUSED(plugin.runtime->onShapeChange(in.data(), 4, out.data(), 1) != 0,
                 "KeypointDecode: found scale [1, 4], expected [1, 2]");
}
CASE(keypoint_decode_runs_linear) {
  in_each_order([] {
    for (const Format& format : expect_logit_maps()) {
      if (format.layout != TensorFormat::kLINEAR) continue;
      check_run(keypoint_decode().small, format, "torchvision");
      check_run(keypoint_decode().large, format, "detectron2");
    }
  });
}
CASE(keypoint_decode_runs_channels_last) {
  in_each_order([] {
    for (const Format& format : expect_logit_maps()) {
      if (format.layout == TensorFormat::kLINEAR) continue;
      check_run(keypoint_decode().small, format, "torchvision");
      check_run(keypoint_decode().large, format, "detectron2");
    }
  });
}
