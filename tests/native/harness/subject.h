// What is expected of an operator's plugin, written down a second time, and the checks that hold
// every plugin to it.
#pragma once

#include <string>
#include <vector>

#include "harness/harness.h"
#include "harness/tensorrt.h"

namespace harness {

struct ExpectedTensor {
  std::string name;
  std::vector<Format> formats;
  bool alike = false;  // those marked share type and layout
};

struct Subject {
  std::string name;
  FieldSet fields;                    // all of them, also the optional ones
  std::vector<std::string> optional;  // names of those that may be left out
  std::vector<ExpectedTensor> inputs;
  std::vector<ExpectedTensor> outputs;
  std::vector<DataType> output_types;  // for inputs of the first type of each
  // Sizes that fit together, each a list of all inputs' sides and one of all outputs'.
  struct Sizes {
    std::vector<Sides> inputs;
    std::vector<Sides> outputs;
  };
  Sizes small;
  Sizes large;  // no side smaller than in `small`
};

const std::vector<Format>& expect_float32();
const std::vector<Format>& expect_int32();
const std::vector<Format>& expect_feature_maps();
const std::vector<Format>& expect_logit_maps();

// Name, version, interfaces; copies that are plugins of their own.
void check_interfaces(const Subject& subject);
// What is refused at creation, and with what reason.
void check_attributes(const Subject& subject);
// A plan's fields make the same plugin again.
void check_serialization(const Subject& subject);
// Expressions for the outputs, and their types.
void check_outputs(const Subject& subject);
// Every pair of type and layout at every position.
void check_formats(const Subject& subject);
// configurePlugin with profiles, and that smaller tensors never need more workspace.
void check_building(const Subject& subject);
// onShapeChange with good and bad tensors.
void check_shape_changes(const Subject& subject);

// Descriptions for these sizes: the first format of each tensor, but `alike` for those marked.
std::vector<nvinfer1::PluginTensorDesc> describe(const std::vector<ExpectedTensor>& tensors,
                                                 const std::vector<Sides>& sizes, Format alike);

// The same numbers in each run, spread over low to high.
std::vector<float> noise(size_t count, float low, float high, uint32_t seed = 1);
std::vector<int32_t> whole_noise(size_t count, int32_t low, int32_t high, uint32_t seed = 1);
// Elements of a shape.
size_t count_of(const Sides& sides);
// Each pair differs by no more than absolute + relative * |expected|.
void expect_close(const std::string& what, const std::vector<float>& found,
                  const std::vector<float>& expected, float absolute, float relative);
// Runs the body with each order of the threads of a block that the emulation knows.
void in_each_order(const std::function<void()>& body);

}  // namespace harness
