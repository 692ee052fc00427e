// The attributes of a plugin, listed once for each operator:
//
//   struct Attributes {
//     std::array<int32_t, 2> canvas;
//     std::string mode = "avg";
//
//     void visit(Fields& fields) {
//       fields.required("canvas", canvas, between(1, 4096));
//       fields.optional("mode", mode, {"avg"});
//     }
//   };
//
// From the list come the creator's field names, the reading and checking of what a parser or a plan
// brings, and what goes into a plan.
#pragma once

#include <array>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "abi/tensorrt.h"

namespace maskrt {

// What an attribute's numbers may be; bounds are inclusive, floats must be finite.
struct Limits {
  double low;
  double high;
  bool zero;           // whether 0 is allowed
  int32_t min_length;  // of lists
  int32_t max_length;

  constexpr Limits length(int32_t min, int32_t max) const { return {low, high, zero, min, max}; }
  constexpr Limits without_zero() const { return {low, high, false, min_length, max_length}; }
};

constexpr int32_t kMaxLength = 1 << 20;

constexpr Limits between(double low, double high) { return {low, high, true, 1, kMaxLength}; }
constexpr Limits at_least(double low) {
  return between(low, std::numeric_limits<double>::infinity());
}
constexpr Limits any_number() {
  return between(-std::numeric_limits<double>::infinity(), std::numeric_limits<double>::infinity());
}

// One attribute, and where its value lies.
struct Field {
  const char* name;
  nvinfer1::PluginFieldType type;  // kINT32, kFLOAT32 or kCHAR
  bool required;
  Limits limits;                   // of numbers
  std::vector<const char*> words;  // that a text may be
  void* data;                      // of numbers that cannot change their length
  int32_t length;                  // their count
  std::vector<int32_t>* ints;      // those that can, or null
  std::vector<float>* floats;
  std::string* text;
};

class Fields {
 public:
  template <typename T>
  void required(const char* name, T& value, Limits limits) {
    list_.push_back(field(name, true, value, limits));
  }
  template <typename T>
  void optional(const char* name, T& value, Limits limits) {
    list_.push_back(field(name, false, value, limits));
  }
  void required(const char* name, std::string& value, std::vector<const char*> words) {
    list_.push_back(text(name, true, value, std::move(words)));
  }
  void optional(const char* name, std::string& value, std::vector<const char*> words) {
    list_.push_back(text(name, false, value, std::move(words)));
  }

  const std::vector<Field>& list() const { return list_; }

 private:
  using Type = nvinfer1::PluginFieldType;

  static Field numbers(const char* name, Type type, bool required, Limits limits, void* data,
                       size_t length) {
    return {name,    type,    required, limits, {}, data, static_cast<int32_t>(length),
            nullptr, nullptr, nullptr};
  }
  static Field field(const char* name, bool required, int32_t& value, Limits limits) {
    return numbers(name, Type::kINT32, required, limits, &value, 1);
  }
  static Field field(const char* name, bool required, float& value, Limits limits) {
    return numbers(name, Type::kFLOAT32, required, limits, &value, 1);
  }
  template <size_t N>
  static Field field(const char* name, bool required, std::array<int32_t, N>& value,
                     Limits limits) {
    return numbers(name, Type::kINT32, required, limits, value.data(), N);
  }
  template <size_t N>
  static Field field(const char* name, bool required, std::array<float, N>& value, Limits limits) {
    return numbers(name, Type::kFLOAT32, required, limits, value.data(), N);
  }
  static Field field(const char* name, bool required, std::vector<int32_t>& value, Limits limits) {
    Field field = numbers(name, Type::kINT32, required, limits, nullptr, 0);
    field.ints = &value;
    return field;
  }
  static Field field(const char* name, bool required, std::vector<float>& value, Limits limits) {
    Field field = numbers(name, Type::kFLOAT32, required, limits, nullptr, 0);
    field.floats = &value;
    return field;
  }
  static Field text(const char* name, bool required, std::string& value,
                    std::vector<const char*> words) {
    Field field = numbers(name, Type::kCHAR, required, any_number(), nullptr, 0);
    field.words = std::move(words);
    field.text = &value;
    return field;
  }

  std::vector<Field> list_;
};

template <typename Attributes>
std::vector<Field> fields_of(Attributes& attributes) {
  Fields fields;
  attributes.visit(fields);
  return fields.list();
}

// Sets the fields from what TensorRT brings; false, with the reason in last_error(), where that is
// not what it should be. `plugin` is for the message.
bool read_fields(const char* plugin, const std::vector<Field>& fields,
                 const nvinfer1::PluginFieldCollection* from);

// Names, types and lengths (0: any), without values.
std::vector<nvinfer1::PluginField> field_names(const std::vector<Field>& fields);

// With values: they point into the attributes that the fields come from. Empty lists are left out.
std::vector<nvinfer1::PluginField> field_values(const std::vector<Field>& fields);

}  // namespace maskrt
