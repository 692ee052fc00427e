#include "common/plugin_io.h"

#include <string>

#include "common/status.h"

namespace maskrt {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;
using nvinfer1::TensorFormat;

std::string type_name(DataType type) {
  switch (type) {
    case DataType::kFLOAT:
      return "float32";
    case DataType::kHALF:
      return "float16";
    case DataType::kINT8:
      return "int8";
    case DataType::kINT32:
      return "int32";
    case DataType::kBOOL:
      return "bool";
    case DataType::kUINT8:
      return "uint8";
    case DataType::kBF16:
      return "bfloat16";
    case DataType::kINT64:
      return "int64";
    default:
      return "type " + std::to_string(static_cast<int>(type));
  }
}

std::string layout_name(TensorFormat layout) {
  switch (layout) {
    case TensorFormat::kLINEAR:
      return "linear";
    case TensorFormat::kHWC8:
      return "kHWC8";
    case TensorFormat::kHWC16:
      return "kHWC16";
    default:
      return "format " + std::to_string(static_cast<int>(layout));
  }
}

std::string type_names(const Formats& formats) {
  std::string names;
  DataType last = DataType::kBOOL;
  for (const Format& format : formats) {
    if (format.type != last) names += (names.empty() ? "" : " or ") + type_name(format.type);
    last = format.type;
  }
  return names;
}

std::string text_of(const int64_t* sides, int32_t count) {
  std::string text = "[";
  for (int32_t i = 0; i < count; ++i) {
    text += (i ? ", " : "") + (sides[i] < 0 ? "?" : std::to_string(sides[i]));
  }
  return text + "]";
}

bool has(const Formats& formats, DataType type, TensorFormat layout) {
  for (const Format& format : formats) {
    if (format.type == type && format.layout == layout) return true;
  }
  return false;
}

bool has(const Formats& formats, DataType type) {
  for (const Format& format : formats) {
    if (format.type == type) return true;
  }
  return false;
}

// The first of the tensors that are alike, or -1.
int32_t first_alike(const Signature& signature) {
  for (int32_t i = 0; i < signature.count(); ++i) {
    if (signature.tensor(i).alike) return i;
  }
  return -1;
}

}  // namespace

const Formats& only_float32() {
  static const Formats formats = {{DataType::kFLOAT, TensorFormat::kLINEAR}};
  return formats;
}

const Formats& only_int32() {
  static const Formats formats = {{DataType::kINT32, TensorFormat::kLINEAR}};
  return formats;
}

const Formats& only_uint8() {
  static const Formats formats = {{DataType::kUINT8, TensorFormat::kLINEAR}};
  return formats;
}

const Formats& float32_or_16() {
  static const Formats formats = {{DataType::kFLOAT, TensorFormat::kLINEAR},
                                  {DataType::kHALF, TensorFormat::kLINEAR}};
  return formats;
}

const Formats& int32_or_int64() {
  static const Formats formats = {{DataType::kINT32, TensorFormat::kLINEAR},
                                  {DataType::kINT64, TensorFormat::kLINEAR}};
  return formats;
}

const Formats& feature_maps() {
  static const Formats formats = {
      {DataType::kFLOAT, TensorFormat::kLINEAR}, {DataType::kHALF, TensorFormat::kLINEAR},
      {DataType::kHALF, TensorFormat::kHWC8},    {DataType::kHALF, TensorFormat::kHWC16},
      {DataType::kBF16, TensorFormat::kLINEAR},  {DataType::kBF16, TensorFormat::kHWC8},
      {DataType::kINT8, TensorFormat::kLINEAR},  {DataType::kINT8, TensorFormat::kHWC16}};
  return formats;
}

const Formats& logit_maps() {
  static const Formats formats = {{DataType::kFLOAT, TensorFormat::kLINEAR},
                                  {DataType::kHALF, TensorFormat::kLINEAR},
                                  {DataType::kHALF, TensorFormat::kHWC8},
                                  {DataType::kBF16, TensorFormat::kLINEAR},
                                  {DataType::kBF16, TensorFormat::kHWC8}};
  return formats;
}

// ---- shapes

Side Shapes::side(int32_t input, int32_t axis) const {
  return builder_ ? Side(symbolic_inputs_[input].d[axis]) : Side(inputs_[input].dims.d[axis]);
}

const nvinfer1::IDimensionExpr* Shapes::expression(const Side& side) {
  return side.expression ? side.expression : builder_->constant(side.number);
}

Side Shapes::product(Side a, Side b) {
  if (!builder_) return Side(a.number * b.number);
  const nvinfer1::IDimensionExpr* const first = expression(a);
  const nvinfer1::IDimensionExpr* const second = expression(b);
  return Side(builder_->operation(nvinfer1::DimensionOperation::kPROD, *first, *second));
}

void Shapes::output(int32_t index, const std::vector<Side>& sides) {
  const auto rank = static_cast<int32_t>(sides.size());
  if (builder_) {
    symbolic_outputs_[index].nbDims = rank;
    for (int32_t i = 0; i < rank; ++i) {
      symbolic_outputs_[index].d[i] = expression(sides[static_cast<size_t>(i)]);
    }
  } else {
    outputs_[index].nbDims = rank;
    for (int32_t i = 0; i < rank; ++i) {
      outputs_[index].d[i] = sides[static_cast<size_t>(i)].number;
    }
  }
}

// ---- tensors

int32_t Tensor::cell_stride() const {
  const int64_t channels = side(1);
  int64_t pad = 1;
  if (desc_.format == TensorFormat::kHWC8) pad = 8;
  if (desc_.format == TensorFormat::kHWC16) pad = 16;
  const int64_t padded = (channels + pad - 1) / pad * pad;
  return padded <= 0x7fffffff ? static_cast<int32_t>(padded) : -1;
}

void* Tensors::stand_in() {
  alignas(256) static unsigned char nothing[256];
  return nothing;
}

int expect_sides(const char* plugin, const char* name, const Tensor& tensor,
                 std::initializer_list<int64_t> sides) {
  int32_t axis = 0;
  bool good = true;
  for (const int64_t side : sides) {
    good = good && (side < 0 || tensor.wide_side(axis) == side);
    ++axis;
  }
  if (good) return MASKRT_OK;
  std::vector<int64_t> found;
  for (int32_t i = 0; i < static_cast<int32_t>(sides.size()); ++i) {
    found.push_back(tensor.wide_side(i));
  }
  const auto rank = static_cast<int32_t>(sides.size());
  return fail(MASKRT_INVALID_ARGUMENT, "%s: found %s %s, expected %s", plugin, name,
              text_of(found.data(), rank).c_str(), text_of(sides.begin(), rank).c_str());
}

// ---- rules

bool expect_counts(const char* plugin, const Signature& signature, int32_t inputs,
                   int32_t outputs) {
  if (inputs == signature.input_count() && outputs == signature.output_count()) return true;
  fail(MASKRT_INVALID_ARGUMENT, "%s: found %d inputs and %d outputs, expected %d and %d", plugin,
       inputs, outputs, signature.input_count(), signature.output_count());
  return false;
}

bool expect_rank(const char* plugin, const Signature& signature, int32_t position, int32_t rank) {
  const TensorRule& rule = signature.tensor(position);
  if (rank == rule.rank) return true;
  fail(MASKRT_INVALID_ARGUMENT, "%s: found %s %s of %d dimensions, expected %d", plugin,
       signature.kind(position), rule.name, rank, rule.rank);
  return false;
}

bool allows(const Signature& signature, int32_t position, const DynamicPluginTensorDesc* tensors) {
  const TensorRule& rule = signature.tensor(position);
  const PluginTensorDesc& desc = tensors[position].desc;
  if (!has(rule.formats, desc.type, desc.format)) return false;
  const int32_t first = rule.alike ? first_alike(signature) : position;
  if (first >= position) return true;
  return desc.type == tensors[first].desc.type && desc.format == tensors[first].desc.format;
}

bool output_types(const char* plugin, const Signature& signature, const DataType* inputs,
                  DataType* outputs) {
  for (int32_t i = 0; i < signature.input_count(); ++i) {
    const TensorRule& rule = signature.tensor(i);
    if (has(rule.formats, inputs[i])) continue;
    fail(MASKRT_INVALID_ARGUMENT, "%s: found input %s of type %s, expected %s", plugin, rule.name,
         type_name(inputs[i]).c_str(), type_names(rule.formats).c_str());
    return false;
  }
  const int32_t first = first_alike(signature);
  for (int32_t i = 0; i < signature.output_count(); ++i) {
    const OutputRule& rule = signature.outputs[static_cast<size_t>(i)];
    outputs[i] = rule.tensor.alike ? inputs[first] : rule.type;
  }
  return true;
}

bool expect_tensors(const char* plugin, const Signature& signature, const PluginTensorDesc* inputs,
                    const PluginTensorDesc* outputs, const Dims* expected) {
  const int32_t first = first_alike(signature);
  for (int32_t i = 0; i < signature.count(); ++i) {
    const bool is_input = i < signature.input_count();
    const int32_t output = i - signature.input_count();
    const PluginTensorDesc& desc = is_input ? inputs[i] : outputs[output];
    const TensorRule& rule = signature.tensor(i);
    if (!expect_rank(plugin, signature, i, desc.dims.nbDims)) return false;
    const bool differs = rule.alike && first < i &&
                         (desc.type != inputs[first].type || desc.format != inputs[first].format);
    if (!has(rule.formats, desc.type, desc.format) || differs) {
      const std::string wanted =
          differs ? std::string("as ") + signature.tensor(first).name : "one of its formats";
      fail(MASKRT_INVALID_ARGUMENT, "%s: found %s %s %s %s, expected %s", plugin, signature.kind(i),
           rule.name, type_name(desc.type).c_str(), layout_name(desc.format).c_str(),
           wanted.c_str());
      return false;
    }
    bool good = true;
    for (int32_t axis = 0; axis < rule.rank; ++axis) {
      const int64_t side = desc.dims.d[axis];
      good = good && side >= 0 && side <= 0x7fffffff;
      good = good && (is_input || side == expected[output].d[axis]);
    }
    if (good) continue;
    const std::string wanted =
        is_input ? "sides of 0 to 2147483647" : text_of(expected[output].d, rule.rank);
    fail(MASKRT_INVALID_ARGUMENT, "%s: found %s %s %s, expected %s", plugin, signature.kind(i),
         rule.name, text_of(desc.dims.d, rule.rank).c_str(), wanted.c_str());
    return false;
  }
  return true;
}

bool all_empty(const PluginTensorDesc* outputs, int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    bool empty = false;
    for (int32_t axis = 0; axis < outputs[i].dims.nbDims; ++axis) {
      empty = empty || outputs[i].dims.d[axis] == 0;
    }
    if (!empty) return false;
  }
  return true;
}

std::vector<PluginTensorDesc> largest(const DynamicPluginTensorDesc* tensors, int32_t count) {
  std::vector<PluginTensorDesc> all;
  for (int32_t i = 0; i < count; ++i) {
    all.push_back(tensors[i].desc);
    all.back().dims = tensors[i].max;
  }
  return all;
}

}  // namespace maskrt
