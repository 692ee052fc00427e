// What a plugin's glue sees of its tensors: rules that say what each of them may be, shapes, and
// the tensors of one call.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "abi/tensorrt.h"
#include "common/export.h"

namespace maskrt {

// ---- rules

struct Format {
  nvinfer1::DataType type;
  nvinfer1::TensorFormat layout;
};
using Formats = std::vector<Format>;

const Formats& only_float32();  // all of these are linear
const Formats& only_int32();
const Formats& only_uint8();
const Formats& float32_or_16();  // float32, float16
const Formats& int32_or_int64();
// float32, float16, bfloat16, int8 linear; the pairs with channels last that TensorRT has: float16
// with kHWC8 and kHWC16, bfloat16 with kHWC8, int8 with kHWC16
const Formats& feature_maps();
// feature_maps() without int8 and kHWC16
const Formats& logit_maps();

struct TensorRule {
  const char* name;
  int32_t rank;
  const Formats& formats;
  // All tensors marked so have one type and one layout: that of the first of them.
  bool alike = false;
};

struct OutputRule {
  TensorRule tensor;
  nvinfer1::DataType type;  // where the tensor is not one of those that are alike
};

struct Signature {
  std::vector<TensorRule> inputs;
  std::vector<OutputRule> outputs;

  int32_t input_count() const { return static_cast<int32_t>(inputs.size()); }
  int32_t output_count() const { return static_cast<int32_t>(outputs.size()); }
  int32_t count() const { return input_count() + output_count(); }
  // Of inputs, then outputs.
  const TensorRule& tensor(int32_t position) const {
    return position < input_count() ? inputs[static_cast<size_t>(position)]
                                    : outputs[static_cast<size_t>(position - input_count())].tensor;
  }
  const char* kind(int32_t position) const { return position < input_count() ? "input" : "output"; }
};

// ---- shapes

// A side of a tensor: an expression while TensorRT builds, a number when sizes are known.
struct Side {
  Side(int64_t number_) : number(number_) {}
  explicit Side(const nvinfer1::IDimensionExpr* expression_) : expression(expression_) {}

  int64_t number = 0;
  const nvinfer1::IDimensionExpr* expression = nullptr;
};

// Output shapes from input shapes. The same glue code runs on expressions and on numbers.
class Shapes {
 public:
  Shapes(const nvinfer1::DimsExprs* inputs, nvinfer1::DimsExprs* outputs,
         nvinfer1::IExprBuilder& builder)
      : symbolic_inputs_(inputs), symbolic_outputs_(outputs), builder_(&builder) {}
  Shapes(const nvinfer1::PluginTensorDesc* inputs, nvinfer1::Dims* outputs)
      : inputs_(inputs), outputs_(outputs) {}

  Side side(int32_t input, int32_t axis) const;
  Side product(Side a, Side b);
  void output(int32_t index, const std::vector<Side>& sides);

 private:
  const nvinfer1::IDimensionExpr* expression(const Side& side);

  const nvinfer1::DimsExprs* symbolic_inputs_ = nullptr;
  nvinfer1::DimsExprs* symbolic_outputs_ = nullptr;
  nvinfer1::IExprBuilder* builder_ = nullptr;
  const nvinfer1::PluginTensorDesc* inputs_ = nullptr;
  nvinfer1::Dims* outputs_ = nullptr;
};

// ---- tensors of one call

class Tensor {
 public:
  Tensor(const nvinfer1::PluginTensorDesc& desc, void* data) : desc_(desc), data_(data) {}

  // A side; -1 where params, whose sides are int32, cannot hold it.
  int32_t side(int32_t axis) const {
    const int64_t value = desc_.dims.d[axis];
    return value >= 0 && value <= 0x7fffffff ? static_cast<int32_t>(value) : -1;
  }
  int64_t wide_side(int32_t axis) const { return desc_.dims.d[axis]; }
  // MaskrtType has the numbers of DataType.
  int32_t type() const { return static_cast<int32_t>(desc_.type); }
  int32_t layout() const {
    return desc_.format == nvinfer1::TensorFormat::kLINEAR ? MASKRT_LINEAR : MASKRT_CHANNELS_LAST;
  }
  // Elements from a cell of [N, C, H, W] to the next where channels are last: TensorRT pads them.
  int32_t cell_stride() const;
  // Of int8, as TensorRT knows it; 0: it does not.
  float scale() const { return desc_.scale > 0.0f ? desc_.scale : 0.0f; }

  template <typename T>
  T* data() const {
    return static_cast<T*>(data_);
  }

 private:
  const nvinfer1::PluginTensorDesc& desc_;
  void* data_;
};

class Tensors {
 public:
  // Without addresses: for checks and sizes, where nothing is read. Any address then stands for
  // all.
  Tensors(const nvinfer1::PluginTensorDesc* inputs, const nvinfer1::PluginTensorDesc* outputs)
      : inputs_(inputs), outputs_(outputs) {}
  Tensors(const nvinfer1::PluginTensorDesc* inputs, const nvinfer1::PluginTensorDesc* outputs,
          const void* const* input_data, void* const* output_data)
      : inputs_(inputs), outputs_(outputs), input_data_(input_data), output_data_(output_data) {}

  // Inputs must not be written to.
  Tensor input(int32_t i) const {
    return {inputs_[i], input_data_ ? const_cast<void*>(input_data_[i]) : stand_in()};
  }
  Tensor output(int32_t i) const {
    return {outputs_[i], output_data_ ? output_data_[i] : stand_in()};
  }

 private:
  static void* stand_in();

  const nvinfer1::PluginTensorDesc* inputs_;
  const nvinfer1::PluginTensorDesc* outputs_;
  const void* const* input_data_ = nullptr;
  void* const* output_data_ = nullptr;
};

// For relations between inputs: whether the tensor has these sides (-1: any), as a MaskrtStatus.
int expect_sides(const char* plugin, const char* name, const Tensor& tensor,
                 std::initializer_list<int64_t> sides);

// ---- what every plugin does with its rules; `plugin` is for messages, which go to last_error()

bool expect_counts(const char* plugin, const Signature& signature, int32_t inputs, int32_t outputs);
bool expect_rank(const char* plugin, const Signature& signature, int32_t position, int32_t rank);
// Of the tensors at positions 0 to `position`, inputs then outputs.
bool allows(const Signature& signature, int32_t position,
            const nvinfer1::DynamicPluginTensorDesc* tensors);
bool output_types(const char* plugin, const Signature& signature, const nvinfer1::DataType* inputs,
                  nvinfer1::DataType* outputs);
// Whether the tensors of a call are as the rules say and of the shapes that `expected` holds.
bool expect_tensors(const char* plugin, const Signature& signature,
                    const nvinfer1::PluginTensorDesc* inputs,
                    const nvinfer1::PluginTensorDesc* outputs, const nvinfer1::Dims* expected);
// Whether there is nothing to compute.
bool all_empty(const nvinfer1::PluginTensorDesc* outputs, int32_t count);
// The largest shapes of a profile, as descriptions of real tensors.
std::vector<nvinfer1::PluginTensorDesc> largest(const nvinfer1::DynamicPluginTensorDesc* tensors,
                                                int32_t count);

}  // namespace maskrt
