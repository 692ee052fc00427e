#include "harness/subject.h"
#include "proposals/params.h"

namespace {

using namespace harness;

// Seven that overlap a lot.
const std::vector<float> kAnchors = {-6, -5, 6,  7,   -4, -9, 5,   9,  -9, -4, 8,   5,   -12, -9,
                                     12, 8,  -8, -14, 9,  13, -13, -9, 14, 7,  -20, -18, 19,  22};

Subject proposals() {
  Subject s;
  s.name = "Proposals";
  s.fields.floats("anchors", kAnchors)
      .ints("anchors_per_cell", {3, 3, 1})
      .ints("grid_widths", {8, 4, 2})
      .ints("strides", {4, 5, 8, 10, 16, 20})
      .ints("top_k", {21, 9, 4})
      .ints("num_rois", {12})
      .floats("nms_threshold", {0.4f})
      .floats("score_threshold", {0.35f})
      .floats("min_size", {5.0f})
      .floats("delta_weights", {1.0f, 1.0f, 2.0f, 2.0f})
      .floats("delta_clip", {0.15f});
  s.inputs = {{"objectness", expect_float32()},
              {"deltas", expect_float32()},
              {"indices", expect_int32()},
              {"content", expect_float32()}};
  s.outputs = {{"rois", expect_float32()}, {"count", expect_int32()}};
  s.output_types = {DataType::kFLOAT, DataType::kINT32};
  s.small = {{{1, 34}, {1, 34, 4}, {1, 34}, {1, 2}}, {{1, 12, 4}, {1}}};
  s.large = {{{3, 34}, {3, 34, 4}, {3, 34}, {3, 2}}, {{3, 12, 4}, {3}}};
  return s;
}

void check_run(const Subject::Sizes& sizes) {
  const Subject s = proposals();
  const Handle plugin = create(s.name, s.fields);
  const auto in = describe(s.inputs, sizes.inputs, {}),
             out = describe(s.outputs, sizes.outputs, {});
  const auto batch = static_cast<size_t>(sizes.inputs[0][0]);
  std::vector<int32_t> positions;
  std::vector<float> limits;
  for (size_t b = 0; b < batch; ++b) {
    const auto seed = static_cast<uint32_t>(b);
    for (const auto& [count, end] : {std::pair{21, 144}, std::pair{9, 36}, std::pair{4, 4}}) {
      const auto level = whole_noise(static_cast<size_t>(count), 0, end, seed);
      positions.insert(positions.end(), level.begin(), level.end());
    }
    limits.push_back(30.0f + static_cast<float>(b));
    limits.push_back(41.0f);
  }
  const Buffer objectness = packed(in[0], noise(count_of(sizes.inputs[0]), -4.0f, 4.0f));
  const Buffer deltas = packed(in[1], noise(count_of(sizes.inputs[1]), -0.6f, 0.6f));
  const Buffer indices = packed_ints(positions);
  const Buffer content = packed(in[3], limits);
  const auto found = enqueue(plugin, in, out, {&objectness, &deltas, &indices, &content});

  Buffer rois(found[0].bytes()), count(found[1].bytes());
  MaskrtProposalsParams p = {};
  p.struct_size = sizeof p;
  p.objectness = objectness.as<float>();
  p.deltas = deltas.as<float>();
  p.indices = indices.as<int32_t>();
  p.content = content.as<float>();
  p.rois = rois.as<float>();
  p.count = count.as<int32_t>();
  p.batch = static_cast<int32_t>(batch);
  p.levels = 3;
  p.num_rois = 12;
  p.nms_threshold = 0.4f;
  p.score_threshold = 0.35f;
  p.min_size = 5.0f;
  p.delta_clip = 0.15f;
  p.delta_weights[0] = p.delta_weights[1] = 1.0f;
  p.delta_weights[2] = p.delta_weights[3] = 2.0f;
  p.level[0] = {0, 3, 8, 4, 5, 21};
  p.level[1] = {3, 3, 4, 8, 10, 9};
  p.level[2] = {6, 1, 2, 16, 20, 4};
  for (size_t i = 0; i < kAnchors.size(); ++i) p.anchors[i / 4][i % 4] = kAnchors[i];
  EXPECT_EQUAL(maskrt_proposals(&p), 0);
  EXPECT(count.as<int32_t>()[0] > 3);
  EXPECT_EQUAL(unpacked(out[1], found[1]), unpacked(out[1], count));
  expect_close("rois", unpacked(out[0], found[0]), unpacked(out[0], rois), 1e-5f, 1e-6f);
}

}  // namespace

CASE(proposals_interfaces) { check_interfaces(proposals()); }
CASE(proposals_attributes) {
  check_attributes(proposals());
  const FieldSet good = proposals().fields;
  const auto refused = [&](FieldSet fields) { return !create("Proposals", fields); };
  EXPECT_REFUSED(refused(good.without("top_k").ints("top_k", {21, 9, 6500})),
                 "Proposals: attribute top_k[2]: found 6500, expected 1 to 6080");
  EXPECT_REFUSED(refused(good.without("top_k").ints("top_k", {21, 9})),
                 "Proposals: attribute anchors_per_cell: found 3 numbers, expected 2 for 2 levels");
  EXPECT_REFUSED(refused(good.without("grid_widths").ints("grid_widths", {8, 4})),
                 "Proposals: attribute grid_widths: found 2 numbers, expected 3");
  EXPECT_REFUSED(refused(good.without("strides").ints("strides", {4, 8, 16})),
                 "Proposals: attribute strides: found 3 numbers, expected 6");
  EXPECT_REFUSED(refused(good.without("anchors").floats("anchors", {0, 0, 1, 1})),
                 "Proposals: attribute anchors: found 4 numbers, expected 28");
  EXPECT_REFUSED(refused(good.without("top_k").ints("top_k", std::vector<int32_t>(9, 1))),
                 "Proposals: attribute top_k: found 9 numbers, expected 1 to 8");
  EXPECT_REFUSED(refused(good.without("delta_weights").floats("delta_weights", {1, 1, 0, 1})),
                 "Proposals: attribute delta_weights[2]: found 0");
}
CASE(proposals_serialization) { check_serialization(proposals()); }
CASE(proposals_outputs) { check_outputs(proposals()); }
CASE(proposals_formats) { check_formats(proposals()); }
CASE(proposals_building) { check_building(proposals()); }
CASE(proposals_shape_changes) {
  check_shape_changes(proposals());
  const Subject s = proposals();
  const Handle plugin = create(s.name, s.fields);
  auto in = describe(s.inputs, s.small.inputs, {});
  const auto out = describe(s.outputs, s.small.outputs, {});
  in[2].dims.d[1] = 33;
  EXPECT_REFUSED(plugin.runtime->onShapeChange(in.data(), 4, out.data(), 2) != 0,
                 "Proposals: found indices [1, 33], expected [1, 34]");
}
CASE(proposals_runs) {
  in_each_order([] {
    check_run(proposals().small);
    check_run(proposals().large);
  });
}
