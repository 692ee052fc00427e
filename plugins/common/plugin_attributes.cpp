#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

#include "common/attributes.h"
#include "common/status.h"

namespace maskrt {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

// Parsers may pass these along; the registry has used them.
bool is_the_parsers(const char* name) {
  return !std::strcmp(name, "plugin_version") || !std::strcmp(name, "plugin_namespace");
}

const char* type_name(PluginFieldType type) {
  switch (type) {
    case PluginFieldType::kFLOAT16:
      return "float16";
    case PluginFieldType::kFLOAT32:
      return "float32";
    case PluginFieldType::kFLOAT64:
      return "float64";
    case PluginFieldType::kINT8:
      return "int8";
    case PluginFieldType::kINT16:
      return "int16";
    case PluginFieldType::kINT32:
      return "int32";
    case PluginFieldType::kCHAR:
      return "text";
    case PluginFieldType::kINT64:
      return "int64";
    default:
      return "another type";
  }
}

bool is_list(const Field& field) { return field.ints || field.floats; }

std::string joined(const std::vector<const char*>& words) {
  std::string all;
  for (const char* word : words) all += (all.empty() ? "" : ", ") + std::string(word);
  return all;
}

std::string number(double value) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.9g", value);
  return digits;
}

std::string described(const Limits& limits) {
  const bool low = std::isfinite(limits.low), high = std::isfinite(limits.high);
  std::string text;
  if (low && high) {
    text = number(limits.low) + " to " + number(limits.high);
  } else if (low) {
    text = number(limits.low) + " or more";
  } else {
    text = "a finite number";
  }
  return limits.zero ? text : text + ", not 0";
}

class Reader {
 public:
  Reader(const char* plugin, const Field& field, const PluginField& from)
      : plugin_(plugin), field_(field), from_(from) {}

  bool read() {
    const bool ints = field_.type == PluginFieldType::kINT32;
    if (from_.type != field_.type && !(ints && from_.type == PluginFieldType::kINT64)) {
      return refuse("", std::string("type ") + type_name(from_.type), type_name(field_.type));
    }
    if (field_.text) return read_text();
    const int32_t min = is_list(field_) ? field_.limits.min_length : field_.length;
    const int32_t max = is_list(field_) ? field_.limits.max_length : field_.length;
    if (from_.length < min || from_.length > max || (from_.length > 0 && !from_.data)) {
      const std::string found = from_.data ? std::to_string(from_.length) + " numbers" : "no data";
      const std::string some = max == kMaxLength
                                   ? std::to_string(min) + " or more"
                                   : std::to_string(min) + " to " + std::to_string(max);
      return refuse("", found, min == max ? std::to_string(min) : some);
    }
    return ints ? read_ints() : read_floats();
  }

 private:
  bool refuse(const std::string& place, const std::string& found, const std::string& expected) {
    fail(MASKRT_INVALID_ARGUMENT, "%s: attribute %s%s: found %s, expected %s", plugin_, field_.name,
         place.c_str(), found.c_str(), expected.c_str());
    return false;
  }

  bool within(double value, int32_t i) {
    const Limits& limits = field_.limits;
    const bool good = std::isfinite(value) && value >= limits.low && value <= limits.high &&
                      (limits.zero || value != 0.0);
    if (good) return true;
    const bool single = !is_list(field_) && field_.length == 1;
    return refuse(single ? "" : "[" + std::to_string(i) + "]", number(value), described(limits));
  }

  template <typename T>
  T element(int32_t i) const {
    T value;  // plans do not align what they hold
    std::memcpy(&value, static_cast<const char*>(from_.data) + i * sizeof(T), sizeof(T));
    return value;
  }

  bool read_ints() {
    if (field_.ints) field_.ints->resize(static_cast<size_t>(from_.length));
    int32_t* const to = field_.ints ? field_.ints->data() : static_cast<int32_t*>(field_.data);
    for (int32_t i = 0; i < from_.length; ++i) {
      const int64_t value =
          from_.type == PluginFieldType::kINT64 ? element<int64_t>(i) : element<int32_t>(i);
      const int64_t largest = std::numeric_limits<int32_t>::max();
      if (value > largest || value < -largest - 1) {
        return refuse("", std::to_string(value), "a number that fits int32");
      }
      if (!within(static_cast<double>(value), i)) return false;
      to[i] = static_cast<int32_t>(value);
    }
    return true;
  }

  bool read_floats() {
    if (field_.floats) field_.floats->resize(static_cast<size_t>(from_.length));
    float* const to = field_.floats ? field_.floats->data() : static_cast<float*>(field_.data);
    for (int32_t i = 0; i < from_.length; ++i) {
      const auto value = element<float>(i);
      if (!within(static_cast<double>(value), i)) return false;
      to[i] = value;
    }
    return true;
  }

  bool read_text() {
    std::string text;
    if (from_.data && from_.length > 0) {
      text.assign(static_cast<const char*>(from_.data), static_cast<size_t>(from_.length));
      text = text.c_str();  // some writers count a closing zero
    }
    for (const char* word : field_.words) {
      if (text == word) {
        *field_.text = text;
        return true;
      }
    }
    return refuse("", "'" + text.substr(0, 80) + "'", joined(field_.words));
  }

  const char* const plugin_;
  const Field& field_;
  const PluginField& from_;
};

}  // namespace

bool read_fields(const char* plugin, const std::vector<Field>& fields,
                 const nvinfer1::PluginFieldCollection* from) {
  if (!from || from->nbFields < 0 || (from->nbFields > 0 && !from->fields)) {
    fail(MASKRT_INVALID_ARGUMENT, "%s: found no attributes, expected a collection", plugin);
    return false;
  }
  std::vector<bool> found(fields.size(), false);
  for (int32_t i = 0; i < from->nbFields; ++i) {
    const PluginField& given = from->fields[i];
    if (given.name && is_the_parsers(given.name)) continue;
    size_t at = 0;
    while (at < fields.size() && !(given.name && !std::strcmp(given.name, fields[at].name))) ++at;
    if (at == fields.size()) {
      std::vector<const char*> names;
      for (const Field& field : fields) names.push_back(field.name);
      fail(MASKRT_INVALID_ARGUMENT, "%s: found the unknown attribute %s, expected %s", plugin,
           given.name ? given.name : "(no name)", names.empty() ? "none" : joined(names).c_str());
      return false;
    }
    if (found[at]) {
      fail(MASKRT_INVALID_ARGUMENT, "%s: attribute %s: found twice, expected once", plugin,
           given.name);
      return false;
    }
    found[at] = true;
    if (!Reader(plugin, fields[at], given).read()) return false;
  }
  for (size_t at = 0; at < fields.size(); ++at) {
    if (fields[at].required && !found[at]) {
      fail(MASKRT_INVALID_ARGUMENT, "%s: attribute %s: found none, expected one of type %s", plugin,
           fields[at].name, type_name(fields[at].type));
      return false;
    }
  }
  return true;
}

std::vector<PluginField> field_names(const std::vector<Field>& fields) {
  std::vector<PluginField> names;
  for (const Field& field : fields) {
    names.emplace_back(field.name, nullptr, field.type, field.length);
  }
  return names;
}

std::vector<PluginField> field_values(const std::vector<Field>& fields) {
  std::vector<PluginField> values;
  for (const Field& field : fields) {
    const void* data = field.data;
    size_t length = static_cast<size_t>(field.length);
    if (field.ints) {
      data = field.ints->data();
      length = field.ints->size();
    } else if (field.floats) {
      data = field.floats->data();
      length = field.floats->size();
    } else if (field.text) {
      data = field.text->c_str();
      length = field.text->size();
    }
    if (length) values.emplace_back(field.name, data, field.type, static_cast<int32_t>(length));
  }
  return values;
}

}  // namespace maskrt
