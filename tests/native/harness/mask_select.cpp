#include "harness/subject.h"
#include "mask_select/params.h"

namespace {

using namespace harness;

Subject mask_select() {
  Subject s;
  s.name = "MaskSelect";
  s.fields.text("masks_type", "float32");
  s.optional = {"masks_type"};
  s.inputs = {
      {"logits", expect_logit_maps()}, {"labels", expect_int32()}, {"count", expect_int32()}};
  s.outputs = {
      {"masks",
       {{DataType::kFLOAT, TensorFormat::kLINEAR}, {DataType::kHALF, TensorFormat::kLINEAR}}}};
  s.output_types = {DataType::kFLOAT};
  s.small = {{{3, 2, 4, 4}, {1, 3}, {1}}, {{1, 3, 4, 4}}};
  s.large = {{{10, 11, 7, 9}, {2, 5}, {2}}, {{2, 5, 7, 9}}};
  return s;
}

void check_run(const Subject::Sizes& sizes, Format logits_format, DataType masks_type) {
  const Subject s = mask_select();
  const Handle plugin = create(s.name, s.fields);
  auto in = describe(s.inputs, sizes.inputs, {});
  auto out = describe(s.outputs, sizes.outputs, {});
  in[0].type = logits_format.type;
  in[0].format = logits_format.layout;
  out[0].type = masks_type;
  const auto classes = static_cast<int32_t>(sizes.inputs[0][1]);
  const auto batch = static_cast<size_t>(sizes.inputs[1][0]);
  const auto slots = static_cast<int32_t>(sizes.inputs[1][1]);
  std::vector<float> values = noise(count_of(sizes.inputs[0]), -6.0f, 6.0f);
  for (float& value : values) value = rounded(logits_format.type, value);
  std::vector<int32_t> real(batch, slots);
  real[0] = slots - 1;
  const Buffer logits = packed(in[0], values);
  const Buffer labels = packed_ints(whole_noise(count_of(sizes.inputs[1]), 0, classes));
  const Buffer count = packed_ints(real);
  const auto found = enqueue(plugin, in, out, {&logits, &labels, &count});

  // the CPU operator, on the same values in float32 and linear
  const auto plain = desc_of(sizes.inputs[0], {DataType::kFLOAT, TensorFormat::kLINEAR});
  const Buffer plain_logits = packed(plain, values);
  Buffer expected(static_cast<size_t>(bytes_of(out[0])));
  MaskrtMaskSelectParams p = {};
  p.struct_size = sizeof p;
  p.logits = plain_logits.data();
  p.labels = labels.as<int32_t>();
  p.count = count.as<int32_t>();
  p.masks = expected.data();
  p.batch = static_cast<int32_t>(batch);
  p.slots = slots;
  p.classes = classes;
  p.height = static_cast<int32_t>(sizes.inputs[0][2]);
  p.width = static_cast<int32_t>(sizes.inputs[0][3]);
  p.channel_stride = classes;
  p.masks_type = static_cast<int32_t>(masks_type);
  EXPECT_EQUAL(maskrt_mask_select(&p), 0);
  const float step = masks_type == DataType::kHALF ? 5e-4f : 1e-6f;
  expect_close("masks", unpacked(out[0], found[0]), unpacked(out[0], expected), step, 0.0f);
}

}  // namespace

CASE(mask_select_interfaces) { check_interfaces(mask_select()); }
CASE(mask_select_attributes) {
  check_attributes(mask_select());
  EXPECT_REFUSED(!create("MaskSelect", FieldSet().text("masks_type", "uint8")),
                 "MaskSelect: attribute masks_type: found 'uint8', expected float32, float16");
}
CASE(mask_select_serialization) { check_serialization(mask_select()); }
CASE(mask_select_outputs) {
  check_outputs(mask_select());
  Subject half = mask_select();
  half.fields = FieldSet().text("masks_type", "float16");
  half.output_types[0] = DataType::kHALF;
  check_outputs(half);
}
CASE(mask_select_formats) { check_formats(mask_select()); }
CASE(mask_select_building) { check_building(mask_select()); }
CASE(mask_select_shape_changes) {
  check_shape_changes(mask_select());
  const Subject s = mask_select();
  const Handle plugin = create(s.name, s.fields);
  auto in = describe(s.inputs, s.small.inputs, {});
  const auto out = describe(s.outputs, s.small.outputs, {});
  in[0].dims.d[0] = 4;
  EXPECT_REFUSED(plugin.runtime->onShapeChange(in.data(), 3, out.data(), 1) != 0,
                 "MaskSelect: found logits [4, 2, 4, 4], expected [3, ?, ?, ?]");
}
CASE(mask_select_runs_linear) {
  in_each_order([] {
    for (const Format& format : expect_logit_maps()) {
      if (format.layout != TensorFormat::kLINEAR) continue;
      check_run(mask_select().small, format, DataType::kFLOAT);
      check_run(mask_select().large, format, DataType::kHALF);
    }
  });
}
CASE(mask_select_runs_channels_last) {
  in_each_order([] {
    for (const Format& format : expect_logit_maps()) {
      if (format.layout == TensorFormat::kLINEAR) continue;
      check_run(mask_select().small, format, DataType::kFLOAT);
      check_run(mask_select().large, format, DataType::kHALF);
    }
  });
}
