#include <algorithm>

#include "harness/pooling.h"
#include "roi_align/params.h"

namespace {

using namespace harness;

Subject roi_align() {
  Subject s;
  s.name = "RoIAlign";
  s.fields.ints("output_height", {3})
      .ints("output_width", {5})
      .ints("sampling_ratio", {2})
      .floats("spatial_scale", {0.25f})
      .text("coordinate_transformation_mode", "half_pixel")
      .text("mode", "avg")
      .floats("feature_scales", {0.5f})
      .floats("output_scale", {0.25f});
  s.optional = {"output_height", "output_width",   "sampling_ratio", "spatial_scale",
                "mode",          "feature_scales", "output_scale"};
  s.inputs = {
      {"X", expect_feature_maps(), true},
      {"rois", expect_float32()},
      {"batch_indices",
       {{DataType::kINT32, TensorFormat::kLINEAR}, {DataType::kINT64, TensorFormat::kLINEAR}}}};
  s.outputs = {{"Y", expect_feature_maps(), true}};
  s.output_types = {DataType::kFLOAT};
  s.small = {{{1, 3, 6, 7}, {4, 4}, {4}}, {{4, 3, 3, 5}}};
  s.large = {{{3, 21, 11, 9}, {9, 4}, {9}}, {{9, 21, 3, 5}}};
  return s;
}

void check_run(const Subject::Sizes& sizes, Format format, DataType index_type,
               const FieldSet& fields, float map_scale, float output_scale) {
  const Subject s = roi_align();
  const Handle plugin = create(s.name, fields);
  EXPECT(plugin);
  auto in = describe(s.inputs, sizes.inputs, format);
  const auto out = describe(s.outputs, sizes.outputs, format);
  in[2].type = index_type;
  const auto images = static_cast<int32_t>(sizes.inputs[0][0]);
  const auto count = static_cast<size_t>(sizes.inputs[1][0]);
  const std::vector<float> values = feature_values(sizes.inputs[0], format, 3);
  std::vector<float> images_of;
  for (const int32_t image : whole_noise(count, 0, images)) {
    images_of.push_back(static_cast<float>(image));
  }
  images_of[1] = static_cast<float>(images);  // no such image: zeros
  const Buffer map = packed(in[0], values);
  const Buffer rois = packed(in[1], some_rois(count, 40.0f));
  const Buffer indices = packed(in[2], images_of);
  const auto found = enqueue(plugin, in, out, {&map, &rois, &indices});

  // the CPU operator, on the same values in float32 and linear
  const Format plain = {DataType::kFLOAT, TensorFormat::kLINEAR};
  const auto plain_map = desc_of(sizes.inputs[0], plain);
  const auto plain_out = desc_of(sizes.outputs[0], plain);
  const Buffer plain_values = packed(plain_map, values);
  Buffer expected(static_cast<size_t>(bytes_of(plain_out)));
  MaskrtRoIAlignParams p = {};
  p.struct_size = sizeof p;
  p.rois = rois.as<float>();
  p.batch_indices = indices.data();
  p.pooled = expected.data();
  p.map = {plain_values.data(), static_cast<int32_t>(sizes.inputs[0][2]),
           static_cast<int32_t>(sizes.inputs[0][3]), 0.25f, 1.0f};
  p.images = images;
  p.num_rois = static_cast<int32_t>(count);
  p.channels = static_cast<int32_t>(sizes.inputs[0][1]);
  p.cell_stride = p.channels;
  p.output_height = 3;
  p.output_width = 5;
  p.sampling_ratio = 2;
  p.aligned = 1;
  p.index_type = static_cast<int32_t>(index_type);
  EXPECT_EQUAL(maskrt_roi_align(&p), 0);
  std::vector<float> wanted = unpacked(plain_out, expected);
  EXPECT(std::any_of(wanted.begin(), wanted.end(), [](float value) { return value != 0.0f; }));
  if (format.type == DataType::kINT8) {
    for (float& value : wanted) {
      value = std::min(127.0f, std::max(-128.0f, value * map_scale / output_scale));
    }
  }
  expect_pooled(unpacked(out[0], found[0]), wanted, format.type);
}

void check_runs(TensorFormat layout, bool others) {
  const FieldSet fields = roi_align().fields;
  in_each_order([&] {
    for (const Format& format : expect_feature_maps()) {
      if ((format.layout == layout) == others) continue;
      check_run(roi_align().small, format, DataType::kINT32, fields, 0.5f, 0.25f);
      check_run(roi_align().large, format, DataType::kINT64, fields, 0.5f, 0.25f);
    }
  });
}

}  // namespace

CASE(roi_align_interfaces) { check_interfaces(roi_align()); }
CASE(roi_align_attributes) {
  check_attributes(roi_align());
  const FieldSet good = roi_align().fields;
  const auto refused = [&](FieldSet fields) { return !create("RoIAlign", fields); };
  EXPECT_REFUSED(refused(good.without("mode").text("mode", "max")),
                 "RoIAlign: attribute mode: found 'max', expected avg");
  EXPECT_REFUSED(refused(good.without("spatial_scale").floats("spatial_scale", {0.0f})),
                 "RoIAlign: attribute spatial_scale: found 0, expected 0 or more, not 0");
  EXPECT_REFUSED(refused(good.without("output_height").ints("output_height", {257})),
                 "RoIAlign: attribute output_height: found 257, expected 1 to 256");
}
CASE(roi_align_serialization) { check_serialization(roi_align()); }
CASE(roi_align_outputs) { check_outputs(roi_align()); }
CASE(roi_align_formats) { check_formats(roi_align()); }
CASE(roi_align_building) { check_building(roi_align()); }
CASE(roi_align_shape_changes) {
  check_shape_changes(roi_align());
  const Subject s = roi_align();
  const Handle plugin = create(s.name, s.fields);
  auto in = describe(s.inputs, s.small.inputs, {DataType::kFLOAT, TensorFormat::kLINEAR});
  auto out = describe(s.outputs, s.small.outputs, {DataType::kFLOAT, TensorFormat::kLINEAR});
  in[2].dims.d[0] = 5;
  EXPECT_REFUSED(plugin.runtime->onShapeChange(in.data(), 3, out.data(), 1) != 0,
                 "RoIAlign: found batch_indices [5], expected [4]");
  // no RoIs: nothing to do, and no memory to look at
  in[1].dims.d[0] = in[2].dims.d[0] = out[0].dims.d[0] = 0;
  EXPECT_EQUAL(plugin.runtime->onShapeChange(in.data(), 3, out.data(), 1), 0);
  const void* inputs[3] = {};
  void* outputs[1] = {};
  EXPECT_EQUAL(plugin.runtime->enqueue(in.data(), out.data(), inputs, outputs, nullptr, nullptr),
               0);
}
CASE(roi_align_enqueue_reports_what_it_cannot_do) {
  const Subject s = roi_align();
  const Handle plugin = create(s.name, s.fields);
  auto in = describe(s.inputs, s.small.inputs, {DataType::kFLOAT, TensorFormat::kLINEAR});
  const auto out = describe(s.outputs, s.small.outputs, {DataType::kFLOAT, TensorFormat::kLINEAR});
  const void* inputs[3] = {};
  void* outputs[1] = {};
  EXPECT_REFUSED(
      plugin.runtime->enqueue(in.data(), out.data(), inputs, outputs, nullptr, nullptr) != 0,
      "roi_align: found a null pointer");
}
CASE(roi_align_runs_linear) { check_runs(TensorFormat::kLINEAR, false); }
CASE(roi_align_runs_channels_last) { check_runs(TensorFormat::kLINEAR, true); }
CASE(roi_align_scales) {
  const FieldSet none = roi_align().fields.without("feature_scales").without("output_scale");
  const Format format = {DataType::kINT8, TensorFormat::kHWC16};
  // unknown on both sides: one scale for all
  check_run(roi_align().large, format, DataType::kINT32, none, 1.0f, 1.0f);
  FieldSet map_only = none;
  check_run(roi_align().large, format, DataType::kINT32, map_only.floats("feature_scales", {0.3f}),
            1.0f, 1.0f);
  FieldSet output_only = none;
  const Subject s = roi_align();
  const Handle plugin = create(s.name, output_only.floats("output_scale", {0.3f}));
  const auto in = describe(s.inputs, s.small.inputs, format);
  const auto out = describe(s.outputs, s.small.outputs, format);
  EXPECT_REFUSED(plugin.runtime->onShapeChange(in.data(), 3, out.data(), 1) != 0,
                 "RoIAlign: found the scales of 0 of 1 int8 feature maps and the scale of the");
}
