#include "harness/tensorrt.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <stdexcept>

#include "common/half.h"
#include "harness/harness.h"

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& nbCreators);

namespace harness {

// ---- memory

Buffer::Buffer(size_t bytes) : memory_(nullptr, std::free), bytes_(bytes) {
  void* memory = nullptr;
  if (posix_memalign(&memory, 256, bytes ? bytes : 1)) throw std::bad_alloc();
  memory_.reset(memory);
  std::memset(memory, 0xff, bytes);
}

// ---- fields

FieldSet& FieldSet::raw(const char* name, nvinfer1::PluginFieldType type, const void* data,
                        size_t bytes, int32_t length) {
  memory_.push_back(std::make_shared<Buffer>(bytes));
  if (bytes) std::memcpy(memory_.back()->data(), data, bytes);
  fields_.emplace_back(name, memory_.back()->data(), type, length);
  return *this;
}

FieldSet& FieldSet::ints(const char* name, const std::vector<int32_t>& values) {
  return raw(name, nvinfer1::PluginFieldType::kINT32, values.data(), 4 * values.size(),
             static_cast<int32_t>(values.size()));
}

FieldSet& FieldSet::floats(const char* name, const std::vector<float>& values) {
  return raw(name, nvinfer1::PluginFieldType::kFLOAT32, values.data(), 4 * values.size(),
             static_cast<int32_t>(values.size()));
}

FieldSet& FieldSet::text(const char* name, const std::string& value) {
  return raw(name, nvinfer1::PluginFieldType::kCHAR, value.data(), value.size(),
             static_cast<int32_t>(value.size()));
}

FieldSet FieldSet::without(const std::string& name) const {
  FieldSet rest = *this;
  auto& fields = rest.fields_;
  fields.erase(std::remove_if(fields.begin(), fields.end(),
                              [&](const auto& field) { return field.name == name; }),
               fields.end());
  return rest;
}

nvinfer1::PluginFieldCollection FieldSet::collection() const {
  return {static_cast<int32_t>(fields_.size()), fields_.data()};
}

std::string text_of(const nvinfer1::PluginFieldCollection& fields) {
  std::ostringstream text;
  for (int32_t i = 0; i < fields.nbFields; ++i) {
    const auto& field = fields.fields[i];
    text << field.name << " =";
    for (int32_t j = 0; j < field.length; ++j) {
      if (field.type == nvinfer1::PluginFieldType::kINT32) {
        text << " " << static_cast<const int32_t*>(field.data)[j];
      } else if (field.type == nvinfer1::PluginFieldType::kFLOAT32) {
        text << " " << std::hexfloat << static_cast<const float*>(field.data)[j];
      } else {
        text << static_cast<const char*>(field.data)[j];
      }
    }
    text << "\n";
  }
  return text.str();
}

// ---- expressions

class Expressions::Node final : public nvinfer1::IDimensionExpr,
                                private nvinfer1::apiv::VDimensionExpr {
 public:
  Node(std::string symbol, int64_t number) : symbol(std::move(symbol)), number(number) {
    mImpl = this;
  }
  Node(nvinfer1::DimensionOperation op, const Node* first, const Node* second)
      : op(op), first(first), second(second) {
    mImpl = this;
  }
  ~Node() noexcept override = default;

  std::string symbol;
  int64_t number = 0;
  nvinfer1::DimensionOperation op = nvinfer1::DimensionOperation::kSUM;
  const Node* first = nullptr;
  const Node* second = nullptr;

 private:
  bool isConstant() const override { return symbol.empty() && !first; }
  int64_t getConstantValue() const override { return number; }
  bool isSizeTensor() const override { return false; }
};

Expressions::Expressions() { mImpl = this; }
Expressions::~Expressions() noexcept = default;

const nvinfer1::IDimensionExpr* Expressions::symbol(const std::string& name) {
  nodes_.push_back(std::make_unique<Node>(name, 0));
  return nodes_.back().get();
}

const nvinfer1::IDimensionExpr* Expressions::constant(int64_t value) {
  nodes_.push_back(std::make_unique<Node>("", value));
  return nodes_.back().get();
}

const nvinfer1::IDimensionExpr* Expressions::operation(nvinfer1::DimensionOperation op,
                                                       const nvinfer1::IDimensionExpr& first,
                                                       const nvinfer1::IDimensionExpr& second) {
  nodes_.push_back(std::make_unique<Node>(op, find(&first), find(&second)));
  return nodes_.back().get();
}

const nvinfer1::IDimensionExpr* Expressions::declareSizeTensor(int32_t,
                                                               const nvinfer1::IDimensionExpr&,
                                                               const nvinfer1::IDimensionExpr&) {
  throw std::logic_error("no plugin of ours has outputs whose size depends on data");
}

const Expressions::Node* Expressions::find(const nvinfer1::IDimensionExpr* expression) const {
  for (const auto& node : nodes_) {
    if (node.get() == expression) return node.get();
  }
  throw std::logic_error("an expression that the builder did not make");
}

int64_t Expressions::value(const nvinfer1::IDimensionExpr* expression,
                           const std::map<std::string, int64_t>& symbols) const {
  const Node* const node = find(expression);
  if (!node->symbol.empty()) return symbols.at(node->symbol);
  if (!node->first) return node->number;
  const int64_t a = value(node->first, symbols), b = value(node->second, symbols);
  switch (node->op) {
    case nvinfer1::DimensionOperation::kSUM:
      return a + b;
    case nvinfer1::DimensionOperation::kPROD:
      return a * b;
    default:
      throw std::logic_error("an operation that the fake builder does not know");
  }
}

// ---- tensors

nvinfer1::Dims dims_of(const Sides& sides) {
  nvinfer1::Dims dims = {};
  dims.nbDims = static_cast<int32_t>(sides.size());
  std::copy(sides.begin(), sides.end(), dims.d);
  return dims;
}

nvinfer1::PluginTensorDesc desc_of(const Sides& sides, Format format, float scale) {
  return {dims_of(sides), format.type, format.layout, scale};
}

int64_t element_bytes(DataType type) {
  switch (type) {
    case DataType::kINT8:
    case DataType::kUINT8:
    case DataType::kBOOL:
      return 1;
    case DataType::kHALF:
    case DataType::kBF16:
      return 2;
    case DataType::kINT64:
      return 8;
    default:
      return 4;
  }
}

namespace {

int64_t channel_pad(TensorFormat layout) {
  return layout == TensorFormat::kHWC8 ? 8 : layout == TensorFormat::kHWC16 ? 16 : 1;
}

int64_t padded(int64_t channels, TensorFormat layout) {
  const int64_t pad = channel_pad(layout);
  return (channels + pad - 1) / pad * pad;
}

int64_t elements(const nvinfer1::Dims& dims) {
  int64_t count = 1;
  for (int32_t i = 0; i < dims.nbDims; ++i) count *= dims.d[i];
  return count;
}

}  // namespace

int64_t bytes_of(const nvinfer1::PluginTensorDesc& desc) {
  if (desc.format == TensorFormat::kLINEAR) return elements(desc.dims) * element_bytes(desc.type);
  return desc.dims.d[0] * desc.dims.d[2] * desc.dims.d[3] * padded(desc.dims.d[1], desc.format) *
         element_bytes(desc.type);
}

int64_t offset_of(const nvinfer1::PluginTensorDesc& desc, int64_t n, int64_t c, int64_t y,
                  int64_t x) {
  const auto* const d = desc.dims.d;
  if (desc.format == TensorFormat::kLINEAR) return ((n * d[1] + c) * d[2] + y) * d[3] + x;
  return ((n * d[2] + y) * d[3] + x) * padded(d[1], desc.format) + c;
}

float rounded(DataType type, float value) {
  switch (type) {
    case DataType::kHALF:
      return maskrt::to_float(maskrt::from_float<maskrt::Half>(value));
    case DataType::kBF16:
      return maskrt::to_float(maskrt::from_float<maskrt::BFloat16>(value));
    case DataType::kINT8:
      return maskrt::to_float(maskrt::from_float<int8_t>(value));
    default:
      return value;
  }
}

namespace {

void put(DataType type, void* memory, int64_t at, float value) {
  switch (type) {
    case DataType::kFLOAT:
      static_cast<float*>(memory)[at] = value;
      break;
    case DataType::kHALF:
      static_cast<maskrt::Half*>(memory)[at] = maskrt::from_float<maskrt::Half>(value);
      break;
    case DataType::kBF16:
      static_cast<maskrt::BFloat16*>(memory)[at] = maskrt::from_float<maskrt::BFloat16>(value);
      break;
    case DataType::kINT8:
      static_cast<int8_t*>(memory)[at] = maskrt::from_float<int8_t>(value);
      break;
    case DataType::kUINT8:
      static_cast<uint8_t*>(memory)[at] = static_cast<uint8_t>(value);
      break;
    case DataType::kINT32:
      static_cast<int32_t*>(memory)[at] = static_cast<int32_t>(value);
      break;
    case DataType::kINT64:
      static_cast<int64_t*>(memory)[at] = static_cast<int64_t>(value);
      break;
    default:
      throw std::logic_error("a type that the harness does not write");
  }
}

float get(DataType type, const void* memory, int64_t at) {
  switch (type) {
    case DataType::kFLOAT:
      return static_cast<const float*>(memory)[at];
    case DataType::kHALF:
      return maskrt::to_float(static_cast<const maskrt::Half*>(memory)[at]);
    case DataType::kBF16:
      return maskrt::to_float(static_cast<const maskrt::BFloat16*>(memory)[at]);
    case DataType::kINT8:
      return static_cast<const int8_t*>(memory)[at];
    case DataType::kINT32:
      return static_cast<float>(static_cast<const int32_t*>(memory)[at]);
    default:
      throw std::logic_error("a type that the harness does not read");
  }
}

// Calls visit(index in [N, C, H, W], offset in memory) for each element.
template <typename Visit>
void each_element(const nvinfer1::PluginTensorDesc& desc, const Visit& visit) {
  if (desc.format == TensorFormat::kLINEAR) {
    for (int64_t i = 0; i < elements(desc.dims); ++i) visit(i, i);
    return;
  }
  int64_t i = 0;
  for (int64_t n = 0; n < desc.dims.d[0]; ++n) {
    for (int64_t c = 0; c < desc.dims.d[1]; ++c) {
      for (int64_t y = 0; y < desc.dims.d[2]; ++y) {
        for (int64_t x = 0; x < desc.dims.d[3]; ++x) visit(i++, offset_of(desc, n, c, y, x));
      }
    }
  }
}

}  // namespace

Buffer packed(const nvinfer1::PluginTensorDesc& desc, const std::vector<float>& values) {
  EXPECT_EQUAL(static_cast<int64_t>(values.size()), elements(desc.dims));
  Buffer buffer(static_cast<size_t>(bytes_of(desc)));
  each_element(desc, [&](int64_t i, int64_t at) {
    put(desc.type, buffer.data(), at, values[static_cast<size_t>(i)]);
  });
  return buffer;
}

Buffer packed_ints(const std::vector<int32_t>& values) {
  Buffer buffer(4 * values.size());
  std::memcpy(buffer.data(), values.data(), buffer.bytes());
  return buffer;
}

std::vector<float> unpacked(const nvinfer1::PluginTensorDesc& desc, const Buffer& buffer) {
  EXPECT_EQUAL(static_cast<int64_t>(buffer.bytes()), bytes_of(desc));
  std::vector<float> values(static_cast<size_t>(elements(desc.dims)));
  each_element(desc, [&](int64_t i, int64_t at) {
    values[static_cast<size_t>(i)] = get(desc.type, buffer.data(), at);
  });
  return values;
}

// ---- plugins

Handle held(nvinfer1::IPluginV3* plugin) {
  using nvinfer1::PluginCapabilityType;
  Handle handle;
  if (!plugin) return handle;
  handle.plugin.reset(plugin);
  const auto interface = [&](PluginCapabilityType type) {
    nvinfer1::IPluginCapability* const found = plugin->getCapabilityInterface(type);
    EXPECT(found);
    return found;
  };
  handle.core = static_cast<nvinfer1::IPluginV3OneCore*>(interface(PluginCapabilityType::kCORE));
  handle.build = static_cast<nvinfer1::IPluginV3OneBuild*>(interface(PluginCapabilityType::kBUILD));
  handle.runtime =
      static_cast<nvinfer1::IPluginV3OneRuntime*>(interface(PluginCapabilityType::kRUNTIME));
  return handle;
}

std::vector<std::string> creator_names() {
  int32_t count = -1;
  nvinfer1::IPluginCreatorInterface* const* const all = getCreators(count);
  std::vector<std::string> names;
  for (int32_t i = 0; i < count; ++i) {
    EXPECT_EQUAL(std::string(all[i]->getInterfaceInfo().kind), "PLUGIN CREATOR_V3ONE");
    names.push_back(static_cast<nvinfer1::IPluginCreatorV3One*>(all[i])->getPluginName());
  }
  return names;
}

nvinfer1::IPluginCreatorV3One& creator(const std::string& name) {
  int32_t count = -1;
  nvinfer1::IPluginCreatorInterface* const* const all = getCreators(count);
  for (int32_t i = 0; i < count; ++i) {
    auto* const one = static_cast<nvinfer1::IPluginCreatorV3One*>(all[i]);
    if (one->getPluginName() == name) return *one;
  }
  throw Failure("no creator of the name " + name);
}

Handle create(const std::string& name, const FieldSet& fields, nvinfer1::TensorRTPhase phase) {
  const auto collection = fields.collection();
  return held(creator(name).createPlugin("layer", &collection, phase));
}

std::vector<Buffer> enqueue(const Handle& plugin,
                            const std::vector<nvinfer1::PluginTensorDesc>& inputs,
                            const std::vector<nvinfer1::PluginTensorDesc>& outputs,
                            const std::vector<const Buffer*>& data) {
  const auto dynamic = [](const std::vector<nvinfer1::PluginTensorDesc>& descs) {
    std::vector<nvinfer1::DynamicPluginTensorDesc> all;
    for (const auto& desc : descs) all.push_back({desc, desc.dims, desc.dims, desc.dims});
    return all;
  };
  const auto in = dynamic(inputs), out = dynamic(outputs);
  const auto n = static_cast<int32_t>(in.size()), m = static_cast<int32_t>(out.size());
  const size_t bytes = plugin.build->getWorkspaceSize(in.data(), n, out.data(), m);
  EXPECT(bytes < size_t{1} << 40);
  EXPECT_EQUAL(plugin.runtime->onShapeChange(inputs.data(), n, outputs.data(), m), 0);

  Buffer workspace(bytes);
  std::vector<Buffer> results;
  std::vector<void*> addresses;
  for (const auto& desc : outputs) results.emplace_back(static_cast<size_t>(bytes_of(desc)));
  for (const auto& result : results) addresses.push_back(result.data());
  std::vector<const void*> sources;
  EXPECT_EQUAL(data.size(), inputs.size());
  for (size_t i = 0; i < data.size(); ++i) {
    EXPECT_EQUAL(static_cast<int64_t>(data[i]->bytes()), bytes_of(inputs[i]));
    sources.push_back(data[i]->data());
  }
  EXPECT_EQUAL(
      plugin.runtime->enqueue(inputs.data(), outputs.data(), sources.data(), addresses.data(),
                              bytes ? workspace.data() : nullptr, nullptr),
      0);
  return results;
}

}  // namespace harness
