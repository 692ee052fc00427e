#include "harness/subject.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <map>

namespace harness {

using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginFieldType;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorRTPhase;

namespace {

constexpr int kTypes = 10;
constexpr int kLayouts = 13;

Format first_alike(const Subject& subject) {
  for (const auto* tensors : {&subject.inputs, &subject.outputs}) {
    for (const auto& tensor : *tensors) {
      if (tensor.alike) return tensor.formats[0];
    }
  }
  return {DataType::kFLOAT, TensorFormat::kLINEAR};
}

// Formats to run all checks of sizes with.
std::vector<Format> alike_formats(const Subject& subject) {
  for (const auto& tensor : subject.inputs) {
    if (tensor.alike) return tensor.formats;
  }
  return {first_alike(subject)};
}

Handle build(const Subject& subject) {
  Handle plugin = create(subject.name, subject.fields);
  EXPECT(plugin);
  return plugin;
}

int32_t size(const std::vector<ExpectedTensor>& tensors) {
  return static_cast<int32_t>(tensors.size());
}

std::vector<DynamicPluginTensorDesc> profile(const std::vector<ExpectedTensor>& tensors,
                                             const std::vector<Sides>& min,
                                             const std::vector<Sides>& max, Format alike) {
  const auto smallest = describe(tensors, min, alike), largest = describe(tensors, max, alike);
  std::vector<DynamicPluginTensorDesc> all;
  for (size_t i = 0; i < tensors.size(); ++i) {
    DynamicPluginTensorDesc desc = {largest[i], smallest[i].dims, largest[i].dims, largest[i].dims};
    for (int32_t axis = 0; axis < desc.min.nbDims; ++axis) {
      if (desc.min.d[axis] != desc.max.d[axis]) desc.desc.dims.d[axis] = -1;
    }
    all.push_back(desc);
  }
  return all;
}

}  // namespace

const std::vector<Format>& expect_float32() {
  static const std::vector<Format> formats = {{DataType::kFLOAT, TensorFormat::kLINEAR}};
  return formats;
}

const std::vector<Format>& expect_int32() {
  static const std::vector<Format> formats = {{DataType::kINT32, TensorFormat::kLINEAR}};
  return formats;
}

const std::vector<Format>& expect_feature_maps() {
  static const std::vector<Format> formats = {
      {DataType::kFLOAT, TensorFormat::kLINEAR}, {DataType::kHALF, TensorFormat::kLINEAR},
      {DataType::kBF16, TensorFormat::kLINEAR},  {DataType::kINT8, TensorFormat::kLINEAR},
      {DataType::kHALF, TensorFormat::kHWC8},    {DataType::kBF16, TensorFormat::kHWC8},
      {DataType::kHALF, TensorFormat::kHWC16},   {DataType::kINT8, TensorFormat::kHWC16}};
  return formats;
}

const std::vector<Format>& expect_logit_maps() {
  static const std::vector<Format> formats = {{DataType::kFLOAT, TensorFormat::kLINEAR},
                                              {DataType::kHALF, TensorFormat::kLINEAR},
                                              {DataType::kBF16, TensorFormat::kLINEAR},
                                              {DataType::kHALF, TensorFormat::kHWC8},
                                              {DataType::kBF16, TensorFormat::kHWC8}};
  return formats;
}

std::vector<PluginTensorDesc> describe(const std::vector<ExpectedTensor>& tensors,
                                       const std::vector<Sides>& sizes, Format alike) {
  EXPECT_EQUAL(sizes.size(), tensors.size());
  std::vector<PluginTensorDesc> all;
  for (size_t i = 0; i < tensors.size(); ++i) {
    all.push_back(desc_of(sizes[i], tensors[i].alike ? alike : tensors[i].formats[0]));
  }
  return all;
}

void check_interfaces(const Subject& subject) {
  using nvinfer1::PluginCapabilityType;
  auto& maker = creator(subject.name);
  EXPECT_EQUAL(std::string(maker.getPluginVersion()), "1");
  EXPECT_EQUAL(std::string(maker.getPluginNamespace()), "maskrt");
  const Handle plugin = build(subject);
  const auto expect_info = [](const nvinfer1::IVersionedInterface* interface, const char* kind) {
    const nvinfer1::InterfaceInfo info = interface->getInterfaceInfo();
    EXPECT_EQUAL(std::string(info.kind), kind);
    EXPECT_EQUAL(info.major, 1);
    EXPECT_EQUAL(info.minor, 0);
    EXPECT(interface->getAPILanguage() == nvinfer1::APILanguage::kCPP);
  };
  expect_info(&maker, "PLUGIN CREATOR_V3ONE");
  expect_info(plugin.plugin.get(), "PLUGIN");
  expect_info(plugin.core, "PLUGIN_V3ONE_CORE");
  expect_info(plugin.build, "PLUGIN_V3ONE_BUILD");
  expect_info(plugin.runtime, "PLUGIN_V3ONE_RUNTIME");
  EXPECT(!plugin.plugin->getCapabilityInterface(static_cast<PluginCapabilityType>(3)));
  EXPECT_EQUAL(std::string(plugin.core->getPluginName()), subject.name);
  EXPECT_EQUAL(std::string(plugin.core->getPluginVersion()), "1");
  EXPECT_EQUAL(std::string(plugin.core->getPluginNamespace()), "maskrt");
  EXPECT_EQUAL(plugin.build->getNbOutputs(), size(subject.outputs));
  EXPECT_EQUAL(plugin.build->getNbTactics(), 0);
  EXPECT_EQUAL(plugin.runtime->setTactic(0), 0);
  EXPECT(plugin.build->getFormatCombinationLimit() >= 8);

  // each context has its own plugin, which outlives the one that it comes from
  const Handle attached = held(plugin.runtime->attachToContext(nullptr));
  EXPECT(attached.plugin != plugin.plugin);
  Handle clone;
  {
    const Handle original = build(subject);
    clone = held(original.plugin->clone());
  }
  for (const Handle* copy : {&attached, &std::as_const(clone)}) {
    EXPECT_EQUAL(std::string(copy->core->getPluginName()), subject.name);
    EXPECT_EQUAL(copy->build->getNbOutputs(), size(subject.outputs));
    EXPECT_EQUAL(text_of(*copy->runtime->getFieldsToSerialize()),
                 text_of(subject.fields.collection()));
  }
}

void check_attributes(const Subject& subject) {
  const auto& list = subject.fields.list();
  const nvinfer1::PluginFieldCollection* const names = creator(subject.name).getFieldNames();
  EXPECT_EQUAL(names->nbFields, static_cast<int32_t>(list.size()));
  for (size_t i = 0; i < list.size(); ++i) {
    EXPECT_EQUAL(std::string(names->fields[i].name), list[i].name);
    EXPECT(names->fields[i].type == list[i].type);
  }

  const auto refused = [&](const FieldSet& fields) { return !create(subject.name, fields); };
  const auto with = [&](const nvinfer1::PluginField& changed) {
    FieldSet fields = subject.fields.without(changed.name);
    const size_t width = changed.type == PluginFieldType::kINT64     ? 8
                         : changed.type == PluginFieldType::kFLOAT64 ? 8
                         : changed.type == PluginFieldType::kCHAR    ? 1
                                                                     : 4;
    const size_t bytes = changed.length > 0 ? width * static_cast<size_t>(changed.length) : 0;
    const std::vector<char> nothing(bytes);
    return fields.raw(changed.name, changed.type, changed.data ? changed.data : nothing.data(),
                      bytes, changed.length);
  };
  for (const auto& field : list) {
    const std::string about = subject.name + ": attribute " + field.name;
    const bool optional = std::count(subject.optional.begin(), subject.optional.end(), field.name);
    if (optional) {
      EXPECT(create(subject.name, subject.fields.without(field.name)));
    } else {
      EXPECT_REFUSED(refused(subject.fields.without(field.name)), about + ": found none");
    }
    const bool text = field.type == PluginFieldType::kCHAR;
    const bool floats = field.type == PluginFieldType::kFLOAT32;
    const auto other = floats ? PluginFieldType::kINT32 : PluginFieldType::kFLOAT32;
    EXPECT_REFUSED(refused(with({field.name, nullptr, other, 1})), about + ": found type");
    EXPECT_REFUSED(refused(with({field.name, nullptr, PluginFieldType::kUNKNOWN, 1})),
                   about + ": found type");
    EXPECT_REFUSED(refused(with({field.name, nullptr, PluginFieldType::kFLOAT64, 1})),
                   about + ": found type");
    FieldSet twice = subject.fields;
    twice.raw(field.name, field.type, field.data, text ? 1 : 4, 1);
    EXPECT_REFUSED(refused(twice), about + ": found twice");
    if (text) {
      EXPECT_REFUSED(refused(with({field.name, "wrong", field.type, 5})),
                     about + ": found 'wrong'");
      EXPECT_REFUSED(refused(with({field.name, "", field.type, 0})), about + ": found ''");
      // a closing zero may be counted
      const std::string word(static_cast<const char*>(field.data),
                             static_cast<size_t>(field.length));
      EXPECT(create(subject.name, with({field.name, word.c_str(), field.type, field.length + 1})));
      continue;
    }
    if (!optional) {
      EXPECT_REFUSED(refused(with({field.name, nullptr, field.type, 0})), about + ": found");
      EXPECT_REFUSED(refused(with({field.name, nullptr, field.type, -1})), about + ": found");
      nvinfer1::PluginField without_data(field.name, nullptr, field.type, field.length);
      nvinfer1::PluginFieldCollection alone = {1, &without_data};
      EXPECT_REFUSED(!creator(subject.name).createPlugin("", &alone, TensorRTPhase::kBUILD),
                     about + ": found no data");
    }
    if (floats) {
      std::vector<float> values(static_cast<const float*>(field.data),
                                static_cast<const float*>(field.data) + field.length);
      values.back() = std::numeric_limits<float>::quiet_NaN();
      EXPECT_REFUSED(refused(with({field.name, values.data(), field.type, field.length})), about);
      continue;
    }
    std::vector<int64_t> wide(static_cast<const int32_t*>(field.data),
                              static_cast<const int32_t*>(field.data) + field.length);
    const auto plugin = create(
        subject.name, with({field.name, wide.data(), PluginFieldType::kINT64, field.length}));
    EXPECT(plugin);
    EXPECT_EQUAL(text_of(*plugin.runtime->getFieldsToSerialize()),
                 text_of(subject.fields.collection()));
    wide.back() = int64_t{1} << 32;
    EXPECT_REFUSED(refused(with({field.name, wide.data(), PluginFieldType::kINT64, field.length})),
                   about);
  }

  FieldSet unknown = subject.fields;
  EXPECT_REFUSED(refused(unknown.ints("topk", {1})),
                 subject.name + ": found the unknown attribute topk, expected");
  FieldSet nameless = subject.fields;
  EXPECT_REFUSED(refused(nameless.ints(nullptr, {1})), "unknown attribute (no name)");
  auto& maker = creator(subject.name);
  EXPECT_REFUSED(!maker.createPlugin("", nullptr, TensorRTPhase::kBUILD), "found no attributes");
  const nvinfer1::PluginFieldCollection broken = {2, nullptr};
  EXPECT_REFUSED(!maker.createPlugin("", &broken, TensorRTPhase::kRUNTIME), "found no attributes");
  FieldSet parsed = subject.fields;
  EXPECT(
      create(subject.name, parsed.text("plugin_version", "1").text("plugin_namespace", "maskrt")));
}

void check_serialization(const Subject& subject) {
  const Handle built = build(subject);
  const nvinfer1::PluginFieldCollection* const fields = built.runtime->getFieldsToSerialize();
  EXPECT_EQUAL(text_of(*fields), text_of(subject.fields.collection()));
  // a plan packs the values without any alignment
  FieldSet plan;
  Buffer bytes(size_t{1} << 16);
  size_t at = 1;
  std::vector<nvinfer1::PluginField> loaded;
  for (int32_t i = 0; i < fields->nbFields; ++i) {
    nvinfer1::PluginField field = fields->fields[i];
    const size_t length = static_cast<size_t>(field.length) *
                          (field.type == PluginFieldType::kCHAR ? size_t{1} : size_t{4});
    std::memcpy(bytes.as<char>() + at, field.data, length);
    field.data = bytes.as<char>() + at;
    at += length;
    at += at % 2 == 0;
    loaded.push_back(field);
  }
  const nvinfer1::PluginFieldCollection collection = {static_cast<int32_t>(loaded.size()),
                                                      loaded.data()};
  const Handle again =
      held(creator(subject.name).createPlugin("layer", &collection, TensorRTPhase::kRUNTIME));
  EXPECT(again);
  EXPECT_EQUAL(text_of(*again.runtime->getFieldsToSerialize()), text_of(*fields));
  // defaults are written down, so that a later version with others reads the same plugin
  FieldSet required = subject.fields;
  for (const auto& name : subject.optional) required = required.without(name);
  const Handle lean = create(subject.name, required);
  const std::string text = text_of(*lean.runtime->getFieldsToSerialize());
  for (const auto& field : required.list()) {
    EXPECT(text.find(std::string(field.name) + " =") != std::string::npos);
  }
  const Handle lean_again = held(
      creator(subject.name)
          .createPlugin("layer", lean.runtime->getFieldsToSerialize(), TensorRTPhase::kRUNTIME));
  EXPECT_EQUAL(text_of(*lean_again.runtime->getFieldsToSerialize()), text);
}

void check_outputs(const Subject& subject) {
  const Handle plugin = build(subject);
  Expressions builder;
  std::vector<nvinfer1::DimsExprs> in, out(subject.outputs.size());
  for (size_t i = 0; i < subject.inputs.size(); ++i) {
    nvinfer1::DimsExprs dims = {};
    dims.nbDims = static_cast<int32_t>(subject.small.inputs[i].size());
    for (int32_t axis = 0; axis < dims.nbDims; ++axis) {
      dims.d[axis] = builder.symbol(subject.inputs[i].name + std::to_string(axis));
    }
    in.push_back(dims);
  }
  const int32_t n = size(subject.inputs), m = size(subject.outputs);
  const auto shapes = [&](int32_t inputs, int32_t outputs) {
    return plugin.build->getOutputShapes(in.data(), inputs, nullptr, 0, out.data(), outputs,
                                         builder);
  };
  EXPECT_EQUAL(shapes(n, m), 0);
  for (const auto* sizes : {&subject.small, &subject.large}) {
    std::map<std::string, int64_t> symbols;
    for (size_t i = 0; i < subject.inputs.size(); ++i) {
      for (size_t axis = 0; axis < sizes->inputs[i].size(); ++axis) {
        symbols[subject.inputs[i].name + std::to_string(axis)] = sizes->inputs[i][axis];
      }
    }
    for (size_t i = 0; i < subject.outputs.size(); ++i) {
      Sides found;
      for (int32_t axis = 0; axis < out[i].nbDims; ++axis) {
        found.push_back(builder.value(out[i].d[axis], symbols));
      }
      EXPECT_EQUAL(found, sizes->outputs[i]);
    }
  }
  EXPECT_REFUSED(shapes(n - 1, m) != 0, "inputs and");
  EXPECT_REFUSED(shapes(n, m + 1) != 0, "outputs, expected");
  for (auto& dims : in) {
    --dims.nbDims;
    EXPECT_REFUSED(shapes(n, m) != 0, "dimensions, expected");
    ++dims.nbDims;
  }

  std::vector<DataType> types(subject.outputs.size()), inputs;
  for (const auto& tensor : subject.inputs) inputs.push_back(tensor.formats[0].type);
  const auto output_types = [&](int32_t count) {
    return plugin.build->getOutputDataTypes(types.data(), m, inputs.data(), count);
  };
  for (const Format& alike : alike_formats(subject)) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (subject.inputs[i].alike) inputs[i] = alike.type;
    }
    EXPECT_EQUAL(output_types(n), 0);
    for (size_t i = 0; i < types.size(); ++i) {
      EXPECT(types[i] == (subject.outputs[i].alike ? alike.type : subject.output_types[i]));
    }
  }
  EXPECT_REFUSED(output_types(n + 1) != 0, "inputs and");
  for (size_t i = 0; i < inputs.size(); ++i) {
    const DataType good = inputs[i];
    for (int type = 0; type < kTypes; ++type) {
      inputs[i] = static_cast<DataType>(type);
      const auto& formats = subject.inputs[i].formats;
      const bool known = std::any_of(formats.begin(), formats.end(), [&](const Format& format) {
        return format.type == inputs[i];
      });
      if (known) {
        EXPECT_EQUAL(output_types(n), 0);
      } else {
        EXPECT_REFUSED(output_types(n) != 0, "found input " + subject.inputs[i].name + " of type");
      }
    }
    inputs[i] = good;
  }
}

void check_formats(const Subject& subject) {
  const Handle plugin = build(subject);
  std::vector<ExpectedTensor> all = subject.inputs;
  all.insert(all.end(), subject.outputs.begin(), subject.outputs.end());
  std::vector<Sides> sizes = subject.small.inputs;
  sizes.insert(sizes.end(), subject.small.outputs.begin(), subject.small.outputs.end());
  const int32_t n = size(subject.inputs), m = size(subject.outputs);
  for (const Format& alike : alike_formats(subject)) {
    bool first_alike_passed = false;
    for (int32_t position = 0; position < n + m; ++position) {
      const auto& tensor = all[static_cast<size_t>(position)];
      auto descs = profile(all, sizes, sizes, alike);
      // what comes after the position is not chosen yet
      for (size_t later = static_cast<size_t>(position) + 1; later < descs.size(); ++later) {
        descs[later].desc.type = DataType::kBOOL;
        descs[later].desc.format = TensorFormat::kDLA_LINEAR;
      }
      for (int type = 0; type < kTypes; ++type) {
        for (int layout = 0; layout < kLayouts; ++layout) {
          const Format format = {static_cast<DataType>(type), static_cast<TensorFormat>(layout)};
          bool expected = std::count(tensor.formats.begin(), tensor.formats.end(), format) > 0;
          if (tensor.alike && first_alike_passed) expected = expected && format == alike;
          descs[static_cast<size_t>(position)].desc.type = format.type;
          descs[static_cast<size_t>(position)].desc.format = format.layout;
          const bool found = plugin.build->supportsFormatCombination(position, descs.data(), n, m);
          if (found != expected) {
            fail(__FILE__, __LINE__,
                 tensor.name + ": found " + (found ? "support" : "no support") + " of type " +
                     std::to_string(type) + " with format " + std::to_string(layout));
          }
        }
      }
      first_alike_passed = first_alike_passed || tensor.alike;
    }
  }
  auto descs = profile(all, sizes, sizes, first_alike(subject));
  EXPECT(!plugin.build->supportsFormatCombination(-1, descs.data(), n, m));
  EXPECT(!plugin.build->supportsFormatCombination(n + m, descs.data(), n, m));
  EXPECT_REFUSED(!plugin.build->supportsFormatCombination(0, descs.data(), n + 1, m), "inputs and");
}

void check_building(const Subject& subject) {
  const Handle plugin = build(subject);
  const int32_t n = size(subject.inputs), m = size(subject.outputs);
  for (const Format& alike : alike_formats(subject)) {
    const auto bytes = [&](const Subject::Sizes& min, const Subject::Sizes& max) {
      const auto in = profile(subject.inputs, min.inputs, max.inputs, alike);
      const auto out = profile(subject.outputs, min.outputs, max.outputs, alike);
      EXPECT_EQUAL(plugin.build->configurePlugin(in.data(), n, out.data(), m), 0);
      const size_t needed = plugin.build->getWorkspaceSize(in.data(), n, out.data(), m);
      EXPECT(needed < size_t{1} << 40);
      return needed;
    };
    // TensorRT gives what the largest sizes of the profile ask for
    const size_t granted = bytes(subject.small, subject.large);
    EXPECT_EQUAL(granted, bytes(subject.large, subject.large));
    EXPECT(bytes(subject.small, subject.small) <= granted);
  }
  auto in =
      profile(subject.inputs, subject.small.inputs, subject.large.inputs, first_alike(subject));
  auto out =
      profile(subject.outputs, subject.small.outputs, subject.large.outputs, first_alike(subject));
  const auto configure = [&](int32_t inputs, int32_t outputs) {
    return plugin.build->configurePlugin(in.data(), inputs, out.data(), outputs);
  };
  EXPECT_REFUSED(configure(n - 1, m) != 0, "inputs and");
  EXPECT_REFUSED(configure(n, m - 1) != 0, "outputs, expected");
  ++in[0].desc.dims.nbDims;
  EXPECT_REFUSED(configure(n, m) != 0, "found input " + subject.inputs[0].name + " of");
  --in[0].desc.dims.nbDims;
  --out[0].desc.dims.nbDims;
  EXPECT_REFUSED(configure(n, m) != 0, "found output " + subject.outputs[0].name + " of");
  ++out[0].desc.dims.nbDims;
  in[0].max.d[0] = 0;
  EXPECT_REFUSED(plugin.build->getWorkspaceSize(in.data(), n, out.data(), m) >= size_t{1} << 40,
                 "");
}

void check_shape_changes(const Subject& subject) {
  const Handle plugin = build(subject);
  const int32_t n = size(subject.inputs), m = size(subject.outputs);
  std::vector<PluginTensorDesc> in, out;
  const auto change = [&](int32_t inputs, int32_t outputs) {
    return plugin.runtime->onShapeChange(in.data(), inputs, out.data(), outputs);
  };
  for (const Format& alike : alike_formats(subject)) {
    for (const auto* sizes : {&subject.small, &subject.large}) {
      in = describe(subject.inputs, sizes->inputs, alike);
      out = describe(subject.outputs, sizes->outputs, alike);
      EXPECT_EQUAL(change(n, m), 0);
    }
  }
  EXPECT_REFUSED(change(n + 1, m) != 0, "inputs and");
  for (int32_t i = 0; i < n + m; ++i) {
    const bool is_input = i < n;
    const auto& tensor = is_input ? subject.inputs[static_cast<size_t>(i)]
                                  : subject.outputs[static_cast<size_t>(i - n)];
    PluginTensorDesc& desc =
        is_input ? in[static_cast<size_t>(i)] : out[static_cast<size_t>(i - n)];
    const PluginTensorDesc good = desc;
    const std::string about =
        std::string("found ") + (is_input ? "input " : "output ") + tensor.name;
    desc.dims.nbDims = good.dims.nbDims + 1;
    EXPECT_REFUSED(change(n, m) != 0, about + " of");
    desc = good;
    desc.type = DataType::kBOOL;
    EXPECT_REFUSED(change(n, m) != 0, about + " bool");
    desc = good;
    desc.format = TensorFormat::kCHW4;
    EXPECT_REFUSED(change(n, m) != 0, about);
    desc = good;
    for (int32_t axis = 0; axis < good.dims.nbDims; ++axis) {
      if (is_input) {
        // sides that fit nothing
        desc.dims.d[axis] = -1;
        EXPECT_REFUSED(change(n, m) != 0, subject.name);
        desc.dims.d[axis] = int64_t{1} << 31;
        EXPECT_REFUSED(change(n, m) != 0, subject.name);
      } else {
        desc.dims.d[axis] = good.dims.d[axis] + 1;
        EXPECT_REFUSED(change(n, m) != 0, about + " [");
      }
      desc = good;
    }
    if (tensor.alike) {
      for (const Format& format : tensor.formats) {
        if (format.type == good.type && format.layout == good.format) continue;
        desc.type = format.type;
        desc.format = format.layout;
        EXPECT_REFUSED(change(n, m) != 0, "expected as");
      }
      desc = good;
    }
  }
  EXPECT_EQUAL(change(n, m), 0);
}

std::vector<float> noise(size_t count, float low, float high, uint32_t seed) {
  std::vector<float> values(count);
  uint32_t state = seed * 2654435761u + 12345u;
  for (float& value : values) {
    state = state * 1664525u + 1013904223u;
    value = low + (high - low) * static_cast<float>(state >> 8) / 16777216.0f;
  }
  return values;
}

std::vector<int32_t> whole_noise(size_t count, int32_t low, int32_t high, uint32_t seed) {
  std::vector<int32_t> values;
  for (const float value : noise(count, 0.0f, 1.0f, seed)) {
    values.push_back(low + static_cast<int32_t>(value * static_cast<float>(high - low)));
  }
  return values;
}

size_t count_of(const Sides& sides) {
  size_t count = 1;
  for (const int64_t side : sides) count *= static_cast<size_t>(side);
  return count;
}

void expect_close(const std::string& what, const std::vector<float>& found,
                  const std::vector<float>& expected, float absolute, float relative) {
  EXPECT_EQUAL(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    const float limit = absolute + relative * std::fabs(expected[i]);
    if (std::fabs(found[i] - expected[i]) <= limit) continue;
    fail(__FILE__, __LINE__,
         what + "[" + std::to_string(i) + "]: found " + std::to_string(found[i]) + ", expected " +
             std::to_string(expected[i]) + " within " + std::to_string(limit));
  }
}

void in_each_order(const std::function<void()>& body) {
  for (const char* order : {"forward", "reverse", "shuffled"}) {
    setenv("MASKRT_EMULATION_ORDER", order, 1);
    body();
  }
  unsetenv("MASKRT_EMULATION_ORDER");
}

}  // namespace harness
