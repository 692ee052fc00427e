// What the compiled library relies on. Holds for TensorRT 10.3 to 11, so these checks run on
// NVIDIA's headers as well as on ours. Included by tensorrt.h, after either.
#pragma once

#include <cstddef>
#include <type_traits>

namespace maskrt {
namespace layout {

static_assert(sizeof(void*) == 8, "written for 64-bit systems");
static_assert(sizeof(nvinfer1::Dims) == 72 && offsetof(nvinfer1::Dims, d) == 8, "");
static_assert(std::is_same<std::decay_t<decltype(nvinfer1::Dims::d[0])>, int64_t>::value, "");
static_assert(sizeof(nvinfer1::PluginField) == 24 && offsetof(nvinfer1::PluginField, data) == 8 &&
                  offsetof(nvinfer1::PluginField, type) == 16 &&
                  offsetof(nvinfer1::PluginField, length) == 20,
              "");
static_assert(sizeof(nvinfer1::PluginFieldCollection) == 16 &&
                  offsetof(nvinfer1::PluginFieldCollection, fields) == 8,
              "");
static_assert(sizeof(nvinfer1::PluginTensorDesc) == 88 &&
                  offsetof(nvinfer1::PluginTensorDesc, type) == 72 &&
                  offsetof(nvinfer1::PluginTensorDesc, format) == 76 &&
                  offsetof(nvinfer1::PluginTensorDesc, scale) == 80,
              "");
static_assert(sizeof(nvinfer1::DynamicPluginTensorDesc) == 304 &&
                  offsetof(nvinfer1::DynamicPluginTensorDesc, min) == 88 &&
                  offsetof(nvinfer1::DynamicPluginTensorDesc, max) == 160 &&
                  offsetof(nvinfer1::DynamicPluginTensorDesc, opt) == 232,
              "");
static_assert(sizeof(nvinfer1::DimsExprs) == 72 && offsetof(nvinfer1::DimsExprs, d) == 8, "");
static_assert(sizeof(nvinfer1::InterfaceInfo) == 16, "");
static_assert(sizeof(nvinfer1::IDimensionExpr) == 16 && sizeof(nvinfer1::IExprBuilder) == 16,
              "a table of virtual functions and the implementation");
static_assert(sizeof(nvinfer1::IPluginV3OneBuild) == 8 &&
                  sizeof(nvinfer1::IPluginV3OneRuntime) == 8,
              "interfaces have no state");

template <typename T>
constexpr int number(T value) {
  static_assert(sizeof(T) == 4, "enums are int32");
  return static_cast<int>(value);
}

using nvinfer1::DataType;
static_assert(number(DataType::kFLOAT) == 0 && number(DataType::kHALF) == 1 &&
                  number(DataType::kINT8) == 2 && number(DataType::kINT32) == 3 &&
                  number(DataType::kBOOL) == 4 && number(DataType::kUINT8) == 5 &&
                  number(DataType::kFP8) == 6 && number(DataType::kBF16) == 7 &&
                  number(DataType::kINT64) == 8,
              "");
using nvinfer1::TensorFormat;
static_assert(number(TensorFormat::kLINEAR) == 0 && number(TensorFormat::kHWC8) == 2 &&
                  number(TensorFormat::kHWC16) == 11,
              "");
using nvinfer1::PluginFieldType;
static_assert(number(PluginFieldType::kFLOAT32) == 1 && number(PluginFieldType::kINT32) == 5 &&
                  number(PluginFieldType::kCHAR) == 6 && number(PluginFieldType::kINT64) == 10,
              "");
using nvinfer1::PluginCapabilityType;
static_assert(number(PluginCapabilityType::kCORE) == 0 &&
                  number(PluginCapabilityType::kBUILD) == 1 &&
                  number(PluginCapabilityType::kRUNTIME) == 2,
              "");
static_assert(number(nvinfer1::TensorRTPhase::kBUILD) == 0 &&
                  number(nvinfer1::TensorRTPhase::kRUNTIME) == 1,
              "");
static_assert(number(nvinfer1::DimensionOperation::kPROD) == 1, "");

}  // namespace layout
}  // namespace maskrt
