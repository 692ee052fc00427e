#include <algorithm>

#include "harness/pooling.h"
#include "multilevel_roi_align/params.h"

namespace {

using namespace harness;

Subject multilevel_roi_align() {
  Subject s;
  s.name = "MultilevelRoIAlign";
  s.fields.ints("output_height", {3})
      .ints("output_width", {2})
      .floats("spatial_scales", {0.25f, 0.125f, 0.0625f})
      .ints("sampling_ratio", {0})
      .text("coordinate_transformation_mode", "output_half_pixel")
      .ints("min_level", {2})
      .floats("canonical_size", {32.0f})
      .ints("canonical_level", {4})
      .floats("epsilon", {1e-6f})
      .floats("log_epsilon", {0.0f});
  s.inputs = {{"rois", expect_float32()},
              {"count", expect_int32()},
              {"features[0]", expect_feature_maps(), true},
              {"features[1]", expect_feature_maps(), true},
              {"features[2]", expect_feature_maps(), true}};
  s.outputs = {{"pooled", expect_feature_maps(), true}};
  s.output_types = {DataType::kFLOAT};
  s.small = {{{1, 4, 4}, {1}, {1, 5, 8, 12}, {1, 5, 4, 6}, {1, 5, 2, 3}}, {{4, 5, 3, 2}}};
  s.large = {{{2, 9, 4}, {2}, {2, 24, 16, 12}, {2, 24, 8, 6}, {2, 24, 4, 3}}, {{18, 24, 3, 2}}};
  return s;
}

// With the optional fields of int8, for the checks of attributes.
Subject with_scales() {
  Subject s = multilevel_roi_align();
  s.fields.floats("feature_scales", {0.5f, 0.25f, 0.125f}).floats("output_scale", {0.25f});
  s.optional = {"feature_scales", "output_scale"};
  return s;
}

using Scales = std::array<float, 4>;  // of the maps and the output

// Scales of 0 are not given to the plugin.
void check_run(const Subject::Sizes& sizes, Format format, const FieldSet& fields,
               const Scales& from_tensorrt, const Scales& effective) {
  const Subject s = multilevel_roi_align();
  const Handle plugin = create(s.name, fields);
  EXPECT(plugin);
  auto in = describe(s.inputs, sizes.inputs, format);
  auto out = describe(s.outputs, sizes.outputs, format);
  const bool int8 = format.type == DataType::kINT8;
  if (int8) {
    for (size_t i = 0; i < 3; ++i)
      in[i + 2].scale = from_tensorrt[i] > 0 ? from_tensorrt[i] : -1.0f;
    out[0].scale = from_tensorrt[3] > 0 ? from_tensorrt[3] : -1.0f;
  }
  const auto batch = static_cast<int32_t>(sizes.inputs[0][0]);
  const auto slots = static_cast<int32_t>(sizes.inputs[0][1]);
  std::vector<int32_t> real(static_cast<size_t>(batch), slots);
  real[0] = slots - 1;
  const Buffer rois = packed(in[0], some_rois(static_cast<size_t>(batch * slots), 60.0f));
  const Buffer count = packed_ints(real);
  std::vector<Buffer> maps, plain_maps;
  MaskrtMultilevelRoIAlignParams p = {};
  const Format plain = {DataType::kFLOAT, TensorFormat::kLINEAR};
  const float spatial_scales[] = {0.25f, 0.125f, 0.0625f};
  for (size_t i = 0; i < 3; ++i) {
    const Sides& sides = sizes.inputs[i + 2];
    std::vector<float> values = feature_values(sides, format, static_cast<uint32_t>(i));
    maps.push_back(packed(in[i + 2], values));
    if (int8) {
      for (float& value : values) value *= effective[i] / effective[3];
    }
    plain_maps.push_back(packed(desc_of(sides, plain), values));
    p.maps[i] = {plain_maps[i].data(), static_cast<int32_t>(sides[2]),
                 static_cast<int32_t>(sides[3]), spatial_scales[i], 1.0f};
  }
  const auto found = enqueue(plugin, in, out, {&rois, &count, &maps[0], &maps[1], &maps[2]});

  // the CPU operator, on the same values in float32 and linear
  const auto plain_out = desc_of(sizes.outputs[0], plain);
  Buffer expected(static_cast<size_t>(bytes_of(plain_out)));
  p.struct_size = sizeof p;
  p.rois = rois.as<float>();
  p.count = count.as<int32_t>();
  p.pooled = expected.data();
  p.canonical_size = 32.0f;
  p.epsilon = 1e-6f;
  p.num_levels = 3;
  p.min_level = 2;
  p.canonical_level = 4;
  p.batch = batch;
  p.slots = slots;
  p.channels = static_cast<int32_t>(sizes.inputs[2][1]);
  p.cell_stride = p.channels;
  p.output_height = 3;
  p.output_width = 2;
  EXPECT_EQUAL(maskrt_multilevel_roi_align(&p), 0);
  std::vector<float> wanted = unpacked(plain_out, expected);
  EXPECT(std::any_of(wanted.begin(), wanted.end(), [](float value) { return value != 0.0f; }));
  if (int8) {
    for (float& value : wanted) value = std::min(127.0f, std::max(-128.0f, value));
  }
  expect_pooled(unpacked(out[0], found[0]), wanted, format.type);
}

void check_runs(bool linear) {
  const Subject s = multilevel_roi_align();
  const Scales unknown = {}, shared = {1.0f, 1.0f, 1.0f, 1.0f};
  in_each_order([&] {
    for (const Format& format : expect_feature_maps()) {
      if ((format.layout == TensorFormat::kLINEAR) != linear) continue;
      check_run(s.small, format, s.fields, unknown, shared);
      check_run(s.large, format, s.fields, unknown, shared);
    }
  });
}

}  // namespace

CASE(multilevel_roi_align_interfaces) { check_interfaces(with_scales()); }
CASE(multilevel_roi_align_attributes) {
  check_attributes(with_scales());
  const FieldSet good = with_scales().fields;
  const auto refused = [&](FieldSet fields) { return !create("MultilevelRoIAlign", fields); };
  EXPECT_REFUSED(refused(good.without("feature_scales").floats("feature_scales", {0.5f, 0.5f})),
                 "MultilevelRoIAlign: attribute feature_scales: found 2 numbers, expected 3");
  EXPECT_REFUSED(
      refused(good.without("spatial_scales").floats("spatial_scales", std::vector<float>(9, 1.0f))),
      "MultilevelRoIAlign: attribute spatial_scales: found 9 numbers, expected 1 to 8");
  EXPECT_REFUSED(refused(good.without("sampling_ratio").ints("sampling_ratio", {65})),
                 "MultilevelRoIAlign: attribute sampling_ratio: found 65, expected 0 to 64");
  EXPECT_REFUSED(refused(good.without("coordinate_transformation_mode")
                             .text("coordinate_transformation_mode", "half")),
                 "found 'half', expected half_pixel, output_half_pixel");
}
CASE(multilevel_roi_align_serialization) { check_serialization(with_scales()); }
CASE(multilevel_roi_align_outputs) { check_outputs(multilevel_roi_align()); }
CASE(multilevel_roi_align_formats) { check_formats(multilevel_roi_align()); }
CASE(multilevel_roi_align_building) { check_building(multilevel_roi_align()); }
CASE(multilevel_roi_align_shape_changes) {
  check_shape_changes(multilevel_roi_align());
  const Subject s = multilevel_roi_align();
  const Handle plugin = create(s.name, s.fields);
  const Format format = {DataType::kHALF, TensorFormat::kHWC8};
  auto in = describe(s.inputs, s.small.inputs, format);
  const auto out = describe(s.outputs, s.small.outputs, format);
  const auto refused = [&](int64_t& side, int64_t value) {
    const int64_t good = side;
    side = value;
    const bool failed = plugin.runtime->onShapeChange(in.data(), 5, out.data(), 1) != 0;
    side = good;
    return failed;
  };
  EXPECT_REFUSED(refused(in[0].dims.d[2], 5),
                 "MultilevelRoIAlign: found rois [1, 4, 5], expected [?, ?, 4]");
  EXPECT_REFUSED(refused(in[1].dims.d[0], 2), "MultilevelRoIAlign: found count [2], expected [1]");
  EXPECT_REFUSED(refused(in[3].dims.d[1], 6),
                 "MultilevelRoIAlign: found features [1, 6, 4, 6], expected [1, 5, ?, ?]");
  EXPECT_REFUSED(refused(in[4].dims.d[0], 2),
                 "MultilevelRoIAlign: found features [2, 5, 2, 3], expected [1, 5, ?, ?]");
}
CASE(multilevel_roi_align_of_one_level) {
  FieldSet fields = multilevel_roi_align().fields.without("spatial_scales");
  const Handle plugin = create("MultilevelRoIAlign", fields.floats("spatial_scales", {0.0625f}));
  const Format format = {DataType::kFLOAT, TensorFormat::kLINEAR};
  const std::vector<nvinfer1::PluginTensorDesc> in = {
      desc_of({1, 4, 4}, format), desc_of({1}, {DataType::kINT32, format.layout}),
      desc_of({1, 3, 5, 5}, format)};
  const std::vector<nvinfer1::PluginTensorDesc> out = {desc_of({4, 3, 3, 2}, format)};
  EXPECT_EQUAL(plugin.runtime->onShapeChange(in.data(), 3, out.data(), 1), 0);
  EXPECT_REFUSED(plugin.runtime->onShapeChange(in.data(), 5, out.data(), 1) != 0,
                 "MultilevelRoIAlign: found 5 inputs and 1 outputs, expected 3 and 1");
}
CASE(multilevel_roi_align_runs_linear) { check_runs(true); }
CASE(multilevel_roi_align_runs_channels_last) { check_runs(false); }
CASE(multilevel_roi_align_scales) {
  const Subject s = multilevel_roi_align();
  for (const Format& format : {Format{DataType::kINT8, TensorFormat::kLINEAR},
                               Format{DataType::kINT8, TensorFormat::kHWC16}}) {
    const Scales known = {0.5f, 0.25f, 0.125f, 0.3f};
    check_run(s.large, format, s.fields, known, known);
    // attributes come first
    check_run(s.large, format, with_scales().fields, known, {0.5f, 0.25f, 0.125f, 0.25f});
    check_run(s.large, format, with_scales().fields, {}, {0.5f, 0.25f, 0.125f, 0.25f});
    // the output takes the scale that the maps share
    check_run(s.large, format, s.fields, {0.5f, 0.5f, 0.5f, 0.0f}, {1.0f, 1.0f, 1.0f, 1.0f});
  }
  const Handle plugin = create(s.name, s.fields);
  const Format format = {DataType::kINT8, TensorFormat::kHWC16};
  auto in = describe(s.inputs, s.small.inputs, format);
  const auto out = describe(s.outputs, s.small.outputs, format);
  in[2].scale = 0.5f;
  in[3].scale = 0.25f;
  EXPECT_REFUSED(plugin.runtime->onShapeChange(in.data(), 5, out.data(), 1) != 0,
                 "found the scales of 2 of 3 int8 feature maps and no scale of the output");
}
