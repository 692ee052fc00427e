#include "detection_nms/params.h"
#include "harness/subject.h"

namespace {

using namespace harness;

Subject detection_nms() {
  Subject s;
  s.name = "DetectionNMS";
  s.fields.ints("max_detections", {7})
      .floats("min_size", {2.0f})
      .floats("delta_weights", {10.0f, 10.0f, 5.0f, 5.0f})
      .floats("delta_clip", {0.05f})
      .ints("background_first", {1});
  s.inputs = {{"logits", expect_float32()},       {"deltas", expect_float32()},
              {"rois", expect_float32()},         {"count", expect_int32()},
              {"content", expect_float32()},      {"score_threshold", expect_float32()},
              {"nms_threshold", expect_float32()}};
  s.outputs = {{"boxes", expect_float32()},
               {"scores", expect_float32()},
               {"labels", expect_int32()},
               {"count", expect_int32()}};
  s.output_types = {DataType::kFLOAT, DataType::kFLOAT, DataType::kINT32, DataType::kINT32};
  s.small = {{{1, 5, 3}, {1, 5, 12}, {1, 5, 4}, {1}, {1, 2}, {}, {}},
             {{1, 7, 4}, {1, 7}, {1, 7}, {1}}};
  s.large = {{{2, 40, 4}, {2, 40, 16}, {2, 40, 4}, {2}, {2, 2}, {}, {}},
             {{2, 7, 4}, {2, 7}, {2, 7}, {2}}};
  return s;
}

void check_run(Subject::Sizes sizes, int64_t delta_boxes) {
  const Subject s = detection_nms();
  const Handle plugin = create(s.name, s.fields);
  sizes.inputs[1][2] = 4 * delta_boxes;
  const auto in = describe(s.inputs, sizes.inputs, {}),
             out = describe(s.outputs, sizes.outputs, {});
  const auto batch = static_cast<size_t>(sizes.inputs[0][0]);
  const auto slots = static_cast<size_t>(sizes.inputs[0][1]);
  std::vector<float> boxes = noise(batch * slots * 4, 0.0f, 30.0f);
  for (size_t i = 0; i < boxes.size(); i += 4) {
    boxes[i + 2] = boxes[i] + boxes[i + 2] / 3.0f + 1.0f;
    boxes[i + 3] = boxes[i + 1] + boxes[i + 3] / 3.0f + 1.0f;
  }
  std::vector<int32_t> real(batch, static_cast<int32_t>(slots));
  real[0] -= 2;
  std::vector<float> limits(batch * 2, 29.0f);
  const Buffer logits = packed(in[0], noise(count_of(sizes.inputs[0]), -2.0f, 2.0f));
  const Buffer deltas = packed(in[1], noise(count_of(sizes.inputs[1]), -1.0f, 1.0f));
  const Buffer rois = packed(in[2], boxes);
  const Buffer count = packed_ints(real);
  const Buffer content = packed(in[4], limits);
  const Buffer score_threshold = packed(in[5], {0.2f}), nms_threshold = packed(in[6], {0.4f});
  const auto found =
      enqueue(plugin, in, out,
              {&logits, &deltas, &rois, &count, &content, &score_threshold, &nms_threshold});

  std::vector<Buffer> expected;
  for (const Buffer& result : found) expected.emplace_back(result.bytes());
  MaskrtDetectionNmsParams p = {};
  p.struct_size = sizeof p;
  p.logits = logits.as<float>();
  p.deltas = deltas.as<float>();
  p.rois = rois.as<float>();
  p.roi_count = count.as<int32_t>();
  p.content = content.as<float>();
  p.score_threshold = score_threshold.as<float>();
  p.nms_threshold = nms_threshold.as<float>();
  p.boxes = expected[0].as<float>();
  p.scores = expected[1].as<float>();
  p.labels = expected[2].as<int32_t>();
  p.count = expected[3].as<int32_t>();
  p.batch = static_cast<int32_t>(batch);
  p.slots = static_cast<int32_t>(slots);
  p.classes = static_cast<int32_t>(sizes.inputs[0][2]);
  p.delta_boxes = static_cast<int32_t>(delta_boxes);
  p.max_detections = 7;
  p.background_first = 1;
  p.min_size = 2.0f;
  p.delta_clip = 0.05f;
  p.delta_weights[0] = p.delta_weights[1] = 10.0f;
  p.delta_weights[2] = p.delta_weights[3] = 5.0f;
  EXPECT_EQUAL(maskrt_detection_nms(&p), 0);
  EXPECT(p.count[0] >= 1);
  EXPECT_EQUAL(unpacked(out[3], found[3]), unpacked(out[3], expected[3]));
  EXPECT_EQUAL(unpacked(out[2], found[2]), unpacked(out[2], expected[2]));
  for (size_t i = 0; i < 2; ++i) {
    expect_close(s.outputs[i].name, unpacked(out[i], found[i]), unpacked(out[i], expected[i]),
                 1e-5f, 1e-6f);
  }
}

}  // namespace

CASE(detection_nms_interfaces) { check_interfaces(detection_nms()); }
CASE(detection_nms_attributes) {
  check_attributes(detection_nms());
  const FieldSet good = detection_nms().fields;
  const auto refused = [&](FieldSet fields) { return !create("DetectionNMS", fields); };
  EXPECT_REFUSED(refused(good.without("max_detections").ints("max_detections", {0})),
                 "DetectionNMS: attribute max_detections: found 0, expected 1 to 4096");
  EXPECT_REFUSED(refused(good.without("background_first").ints("background_first", {-1})),
                 "DetectionNMS: attribute background_first: found -1, expected 0 to 1");
}
CASE(detection_nms_serialization) { check_serialization(detection_nms()); }
CASE(detection_nms_outputs) { check_outputs(detection_nms()); }
CASE(detection_nms_formats) { check_formats(detection_nms()); }
CASE(detection_nms_building) { check_building(detection_nms()); }
CASE(detection_nms_shape_changes) {
  check_shape_changes(detection_nms());
  const Subject s = detection_nms();
  const Handle plugin = create(s.name, s.fields);
  auto in = describe(s.inputs, s.small.inputs, {});
  const auto out = describe(s.outputs, s.small.outputs, {});
  const auto refused = [&](int64_t& side, int64_t value) {
    const int64_t good = side;
    side = value;
    const bool failed = plugin.runtime->onShapeChange(in.data(), 7, out.data(), 4) != 0;
    side = good;
    return failed;
  };
  EXPECT_REFUSED(refused(in[1].dims.d[2], 13), "DetectionNMS: found deltas of 13 numbers");
  EXPECT_REFUSED(refused(in[1].dims.d[2], 16), "detection_nms: found delta_boxes 4, expected 3");
  EXPECT_REFUSED(refused(in[2].dims.d[1], 6),
                 "DetectionNMS: found rois [1, 6, 4], expected [1, 5, 4]");
  EXPECT_REFUSED(refused(in[3].dims.d[0], 2), "DetectionNMS: found count [2], expected [1]");
}
CASE(detection_nms_runs) {
  in_each_order([] {
    check_run(detection_nms().small, 3);
    check_run(detection_nms().large, 4);
    check_run(detection_nms().large, 3);
    check_run(detection_nms().large, 1);
  });
}
