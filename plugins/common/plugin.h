// A TensorRT plugin (IPluginV3) from the description of an operator. The description is a struct in
// the operator's plugin.cpp, with
//
//   kName                                  of the plugin
//   Params                                 the operator's params
//   Attributes                             see attributes.h; may have int check() const for
//   relations
//                                          between attributes, a MaskrtStatus
//   Signature signature(attributes)        what the tensors are
//   void shapes(attributes, Shapes&)       of the outputs
//   int fill(attributes, Tensors, Params&) params of one call; a MaskrtStatus
//   check, workspace_bytes, launch         the operator's functions
//
// and it is announced by  const maskrt::Registered<Description> registered;
//
// Nothing here calls CUDA before enqueue(), and no exception leaves.
#pragma once

#include <cstdint>
#include <exception>
#include <new>
#include <vector>

#include "abi/tensorrt.h"
#include "common/attributes.h"
#include "common/cuda.h"
#include "common/plugin_io.h"
#include "common/plugin_log.h"
#include "common/status.h"

namespace maskrt {

constexpr char kPluginVersion[] = "1";
constexpr char kPluginNamespace[] = "maskrt";

// Runs the body, a MaskrtStatus; what it complains about is logged.
template <typename Body>
int logged(const char* plugin, const Body& body) noexcept {
  int status = MASKRT_OK;
  try {
    status = body();
  } catch (const std::bad_alloc&) {
    status = fail(MASKRT_OUT_OF_MEMORY, "%s: out of memory", plugin);
  } catch (const std::exception& error) {
    status = fail(MASKRT_INTERNAL_ERROR, "%s: %s", plugin, error.what());
  }
  if (status != MASKRT_OK) log_error("%s", last_error());
  return status;
}

template <typename Description>
class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
 public:
  using Attributes = typename Description::Attributes;
  using Params = typename Description::Params;

  explicit Plugin(const Attributes& attributes) : attributes_(attributes) {}

  // ---- IPluginV3

  nvinfer1::IPluginCapability* getCapabilityInterface(
      nvinfer1::PluginCapabilityType type) noexcept override {
    switch (type) {
      case nvinfer1::PluginCapabilityType::kCORE:
        return static_cast<nvinfer1::IPluginV3OneCore*>(this);
      case nvinfer1::PluginCapabilityType::kBUILD:
        return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
      case nvinfer1::PluginCapabilityType::kRUNTIME:
        return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
    }
    return nullptr;
  }

  nvinfer1::IPluginV3* clone() noexcept override {
    Plugin* copy = nullptr;
    logged(Description::kName, [&] {
      copy = new Plugin(attributes_);
      return MASKRT_OK;
    });
    return copy;
  }

  // ---- IPluginV3OneCore

  const char* getPluginName() const noexcept override { return Description::kName; }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }

  // ---- IPluginV3OneBuild

  int32_t getNbOutputs() const noexcept override {
    int32_t count = 0;
    const int status = logged(Description::kName, [&] {
      count = signature().output_count();
      return MASKRT_OK;
    });
    return status == MASKRT_OK ? count : -1;
  }

  int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, int32_t inputs,
                          const nvinfer1::DynamicPluginTensorDesc* out,
                          int32_t outputs) noexcept override {
    return logged(Description::kName, [&]() -> int {
      const Signature rules = signature();
      if (!expect_counts(Description::kName, rules, inputs, outputs))
        return MASKRT_INVALID_ARGUMENT;
      for (int32_t i = 0; i < rules.count(); ++i) {
        const auto& desc = i < inputs ? in[i].desc : out[i - inputs].desc;
        if (!expect_rank(Description::kName, rules, i, desc.dims.nbDims)) {
          return MASKRT_INVALID_ARGUMENT;
        }
      }
      return MASKRT_OK;
    });
  }

  int32_t getOutputDataTypes(nvinfer1::DataType* types, int32_t outputs,
                             const nvinfer1::DataType* input_types,
                             int32_t inputs) const noexcept override {
    return logged(Description::kName, [&]() -> int {
      const Signature rules = signature();
      const bool good = expect_counts(Description::kName, rules, inputs, outputs) &&
                        output_types(Description::kName, rules, input_types, types);
      return good ? MASKRT_OK : MASKRT_INVALID_ARGUMENT;
    });
  }

  int32_t getOutputShapes(const nvinfer1::DimsExprs* in, int32_t inputs, const nvinfer1::DimsExprs*,
                          int32_t, nvinfer1::DimsExprs* out, int32_t outputs,
                          nvinfer1::IExprBuilder& builder) noexcept override {
    return logged(Description::kName, [&]() -> int {
      const Signature rules = signature();
      if (!expect_counts(Description::kName, rules, inputs, outputs))
        return MASKRT_INVALID_ARGUMENT;
      for (int32_t i = 0; i < inputs; ++i) {
        if (!expect_rank(Description::kName, rules, i, in[i].nbDims)) {
          return MASKRT_INVALID_ARGUMENT;
        }
      }
      Shapes shapes(in, out, builder);
      Description::shapes(attributes_, shapes);
      return MASKRT_OK;
    });
  }

  bool supportsFormatCombination(int32_t position, const nvinfer1::DynamicPluginTensorDesc* tensors,
                                 int32_t inputs, int32_t outputs) noexcept override {
    bool good = false;
    logged(Description::kName, [&]() -> int {
      const Signature rules = signature();
      if (!expect_counts(Description::kName, rules, inputs, outputs))
        return MASKRT_INVALID_ARGUMENT;
      good = position >= 0 && position < rules.count() && allows(rules, position, tensors);
      return MASKRT_OK;
    });
    return good;
  }

  size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* in, int32_t inputs,
                          const nvinfer1::DynamicPluginTensorDesc* out,
                          int32_t outputs) const noexcept override {
    size_t bytes = 0;
    const int status = logged(Description::kName, [&]() -> int {
      if (!expect_counts(Description::kName, signature(), inputs, outputs)) {
        return MASKRT_INVALID_ARGUMENT;
      }
      const auto largest_inputs = largest(in, inputs);
      const auto largest_outputs = largest(out, outputs);
      Params params = {};
      const int filled = prepared({largest_inputs.data(), largest_outputs.data()}, params);
      if (filled != MASKRT_OK) return filled;
      bytes = Description::workspace_bytes(params);
      return MASKRT_OK;
    });
    // there is no other way to refuse: no device has as much, so the builder gives up
    return status == MASKRT_OK ? bytes : kNobodyHasAsMuch;
  }

  // ---- IPluginV3OneRuntime

  int32_t onShapeChange(const nvinfer1::PluginTensorDesc* in, int32_t inputs,
                        const nvinfer1::PluginTensorDesc* out, int32_t outputs) noexcept override {
    return logged(Description::kName, [&]() -> int {
      const Signature rules = signature();
      if (!expect_counts(Description::kName, rules, inputs, outputs))
        return MASKRT_INVALID_ARGUMENT;
      for (int32_t i = 0; i < inputs; ++i) {
        if (!expect_rank(Description::kName, rules, i, in[i].dims.nbDims)) {
          return MASKRT_INVALID_ARGUMENT;
        }
      }
      std::vector<nvinfer1::Dims> expected(rules.outputs.size());
      Shapes shapes(in, expected.data());
      Description::shapes(attributes_, shapes);
      if (!expect_tensors(Description::kName, rules, in, out, expected.data())) {
        return MASKRT_INVALID_ARGUMENT;
      }
      if (all_empty(out, outputs)) return MASKRT_OK;
      Params params = {};
      return prepared({in, out}, params);
    });
  }

  int32_t enqueue(const nvinfer1::PluginTensorDesc* in, const nvinfer1::PluginTensorDesc* out,
                  const void* const* inputs, void* const* outputs, void* workspace,
                  cudaStream_t stream) noexcept override {
    return logged(Description::kName, [&]() -> int {
      if (all_empty(out, outputs_)) return MASKRT_OK;
      Params params = {};
      const int status = prepared({in, out, inputs, outputs}, params);
      if (status != MASKRT_OK) return status;
      MASKRT_EXPECT(workspace || Description::workspace_bytes(params) == 0,
                    "%s: found no workspace, expected %zu bytes", Description::kName,
                    Description::workspace_bytes(params));
      return cuda_status(Description::kName, Description::launch(params, workspace, stream));
    });
  }

  // Contexts share nothing: each has its own copy.
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext*) noexcept override {
    return clone();
  }

  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override {
    const int status = logged(Description::kName, [&] {
      values_ = field_values(fields_of(attributes_));
      collection_ = {static_cast<int32_t>(values_.size()), values_.data()};
      return MASKRT_OK;
    });
    return status == MASKRT_OK ? &collection_ : nullptr;
  }

 private:
  static constexpr size_t kNobodyHasAsMuch = size_t{1} << 50;

  Signature signature() const { return Description::signature(attributes_); }

  int prepared(const Tensors& tensors, Params& params) const {
    params.struct_size = sizeof params;
    const int status = Description::fill(attributes_, tensors, params);
    return status == MASKRT_OK ? Description::check(params) : status;
  }

  Attributes attributes_;
  const int32_t outputs_ = signature().output_count();
  std::vector<nvinfer1::PluginField> values_;
  nvinfer1::PluginFieldCollection collection_ = {0, nullptr};
};

// Whether attributes fit each other, where their struct has a check for it.
template <typename Attributes>
auto check_together(const Attributes& attributes, int) -> decltype(attributes.check()) {
  return attributes.check();
}
template <typename Attributes>
int check_together(const Attributes&, long) {
  return MASKRT_OK;
}

template <typename Description>
class Creator final : public nvinfer1::IPluginCreatorV3One {
 public:
  nvinfer1::IPluginV3* createPlugin(const char*, const nvinfer1::PluginFieldCollection* from,
                                    nvinfer1::TensorRTPhase) noexcept override {
    nvinfer1::IPluginV3* plugin = nullptr;
    logged(Description::kName, [&]() -> int {
      typename Description::Attributes attributes = {};
      if (!read_fields(Description::kName, fields_of(attributes), from)) {
        return MASKRT_INVALID_ARGUMENT;
      }
      const int status = check_together(attributes, 0);
      if (status == MASKRT_OK) plugin = new Plugin<Description>(attributes);
      return status;
    });
    return plugin;
  }

  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }
  const char* getPluginName() const noexcept override { return Description::kName; }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }

 private:
  static std::vector<nvinfer1::PluginField> names() {
    typename Description::Attributes attributes = {};
    return field_names(fields_of(attributes));
  }

  const std::vector<nvinfer1::PluginField> names_ = names();
  const nvinfer1::PluginFieldCollection collection_ = {static_cast<int32_t>(names_.size()),
                                                       names_.data()};
};

// Adds to what getCreators() gives; called while the library is loaded.
void add_creator(nvinfer1::IPluginCreatorV3One* creator);

template <typename Description>
struct Registered {
  // never destroyed: TensorRT may hold it until the process ends
  Registered() { add_creator(new Creator<Description>); }
};

}  // namespace maskrt
