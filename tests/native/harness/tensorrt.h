// What TensorRT would bring when it drives a plugin: fields, expressions, descriptions and memory.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "abi/tensorrt.h"

namespace harness {

using nvinfer1::DataType;
using nvinfer1::TensorFormat;
using Sides = std::vector<int64_t>;

// Memory of exactly so many bytes, aligned as the device's is, so that AddressSanitizer sees each
// byte beyond; filled with bytes that are NaN as floats and negative as integers.
class Buffer {
 public:
  explicit Buffer(size_t bytes);

  void* data() const { return memory_.get(); }
  size_t bytes() const { return bytes_; }
  template <typename T>
  T* as() const {
    return static_cast<T*>(data());
  }

 private:
  std::unique_ptr<void, void (*)(void*)> memory_;
  size_t bytes_;
};

// Attributes as a parser or a plan brings them.
class FieldSet {
 public:
  FieldSet& ints(const char* name, const std::vector<int32_t>& values);
  FieldSet& floats(const char* name, const std::vector<float>& values);
  FieldSet& text(const char* name, const std::string& value);
  FieldSet& raw(const char* name, nvinfer1::PluginFieldType type, const void* data, size_t bytes,
                int32_t length);
  FieldSet without(const std::string& name) const;
  // Valid as long as the set lives.
  nvinfer1::PluginFieldCollection collection() const;
  const std::vector<nvinfer1::PluginField>& list() const { return fields_; }

 private:
  std::vector<std::shared_ptr<Buffer>> memory_;
  std::vector<nvinfer1::PluginField> fields_;
};

std::string text_of(const nvinfer1::PluginFieldCollection& fields);

// Symbolic sides that can be given values afterwards.
class Expressions final : public nvinfer1::IExprBuilder, private nvinfer1::apiv::VExprBuilder {
 public:
  Expressions();
  ~Expressions() noexcept override;

  const nvinfer1::IDimensionExpr* symbol(const std::string& name);
  // Throws if the expression is none of ours.
  int64_t value(const nvinfer1::IDimensionExpr* expression,
                const std::map<std::string, int64_t>& symbols) const;

 private:
  class Node;

  const nvinfer1::IDimensionExpr* constant(int64_t value) override;
  const nvinfer1::IDimensionExpr* operation(nvinfer1::DimensionOperation op,
                                            const nvinfer1::IDimensionExpr& first,
                                            const nvinfer1::IDimensionExpr& second) override;
  const nvinfer1::IDimensionExpr* declareSizeTensor(int32_t, const nvinfer1::IDimensionExpr&,
                                                    const nvinfer1::IDimensionExpr&) override;
  const Node* find(const nvinfer1::IDimensionExpr* expression) const;

  std::vector<std::unique_ptr<Node>> nodes_;
};

struct Format {
  DataType type;
  TensorFormat layout;

  bool operator==(const Format& other) const {
    return type == other.type && layout == other.layout;
  }
};

nvinfer1::Dims dims_of(const Sides& sides);
nvinfer1::PluginTensorDesc desc_of(const Sides& sides, Format format, float scale = -1.0f);

int64_t element_bytes(DataType type);
// In memory, with the padding of the layout.
int64_t bytes_of(const nvinfer1::PluginTensorDesc& desc);
// Where element (n, c, y, x) of a tensor of rank 4 lies.
int64_t offset_of(const nvinfer1::PluginTensorDesc& desc, int64_t n, int64_t c, int64_t y,
                  int64_t x);

// Writes float values given as [N, C, H, W] (or any shape, linear) in the tensor's type and layout;
// padding is left as Buffer makes it.
Buffer packed(const nvinfer1::PluginTensorDesc& desc, const std::vector<float>& values);
Buffer packed_ints(const std::vector<int32_t>& values);
// The way back.
std::vector<float> unpacked(const nvinfer1::PluginTensorDesc& desc, const Buffer& buffer);
// The value as the type holds it.
float rounded(DataType type, float value);

// ---- a plugin, held by its interfaces

struct Handle {
  std::shared_ptr<nvinfer1::IPluginV3> plugin;
  nvinfer1::IPluginV3OneCore* core = nullptr;
  nvinfer1::IPluginV3OneBuild* build = nullptr;
  nvinfer1::IPluginV3OneRuntime* runtime = nullptr;

  explicit operator bool() const { return plugin != nullptr; }
};

Handle held(nvinfer1::IPluginV3* plugin);
nvinfer1::IPluginCreatorV3One& creator(const std::string& name);
std::vector<std::string> creator_names();
Handle create(const std::string& name, const FieldSet& fields,
              nvinfer1::TensorRTPhase phase = nvinfer1::TensorRTPhase::kBUILD);

// Runs enqueue() with buffers for the outputs, each of the exact size, and the workspace that the
// plugin asked for at these shapes.
std::vector<Buffer> enqueue(const Handle& plugin,
                            const std::vector<nvinfer1::PluginTensorDesc>& inputs,
                            const std::vector<nvinfer1::PluginTensorDesc>& outputs,
                            const std::vector<const Buffer*>& data);

}  // namespace harness
