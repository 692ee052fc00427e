// What TensorRT looks for in a plugin library.

#include <algorithm>
#include <cstring>
#include <vector>

#include "abi/tensorrt.h"
#include "common/export.h"
#include "common/plugin.h"
#include "common/plugin_log.h"

namespace maskrt {
namespace {

std::vector<nvinfer1::IPluginCreatorV3One*>& added() {
  static auto* const creators = new std::vector<nvinfer1::IPluginCreatorV3One*>;
  return *creators;
}

using Creators = std::vector<nvinfer1::IPluginCreatorInterface*>;

const Creators& sorted() {
  static const auto* const creators = [] {
    auto all = added();
    std::sort(all.begin(), all.end(), [](const auto* a, const auto* b) {
      return std::strcmp(a->getPluginName(), b->getPluginName()) < 0;
    });
    return new Creators(all.begin(), all.end());
  }();
  return *creators;
}

}  // namespace

void add_creator(nvinfer1::IPluginCreatorV3One* creator) { added().push_back(creator); }

}  // namespace maskrt

MASKRT_API nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& nbCreators) {
  const auto& creators = maskrt::sorted();
  nbCreators = static_cast<int32_t>(creators.size());
  return creators.data();
}

MASKRT_API void setLoggerFinder(nvinfer1::ILoggerFinder* finder) {
  maskrt::set_logger_finder(finder);
}
