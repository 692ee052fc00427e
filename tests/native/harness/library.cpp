// The library as a whole, and the declarations that it is built with.

#include <cstring>
#include <thread>

#include "harness/harness.h"
#include "harness/tensorrt.h"

namespace {

using namespace nvinfer1;

// Where a virtual function stands in its class's table, in a pointer to member as the Itanium ABI
// makes it.
template <typename Pointer>
int64_t slot(Pointer pointer) {
  static_assert(sizeof pointer == 16, "an Itanium pointer to a member function");
  int64_t words[2];
  std::memcpy(words, &pointer, sizeof pointer);
#if defined(__aarch64__) || defined(__arm__)
  return words[0] / 8;  // whether it is virtual is in the other word
#else
  return (words[0] - 1) / 8;
#endif
}

}  // namespace

// The order of NVIDIA's interfaces; two entries (2 and 3) are the destructor's.
CASE(virtual_functions_stand_where_tensorrt_expects_them) {
  EXPECT_EQUAL(slot(&IVersionedInterface::getAPILanguage), 0);
  EXPECT_EQUAL(slot(&IVersionedInterface::getInterfaceInfo), 1);
  EXPECT_EQUAL(slot(&IPluginV3::getCapabilityInterface), 4);
  EXPECT_EQUAL(slot(&IPluginV3::clone), 5);
  EXPECT_EQUAL(slot(&IPluginV3OneCore::getPluginName), 4);
  EXPECT_EQUAL(slot(&IPluginV3OneCore::getPluginVersion), 5);
  EXPECT_EQUAL(slot(&IPluginV3OneCore::getPluginNamespace), 6);
  EXPECT_EQUAL(slot(&IPluginV3OneBuild::configurePlugin), 4);
  EXPECT_EQUAL(slot(&IPluginV3OneBuild::getOutputDataTypes), 5);
  EXPECT_EQUAL(slot(&IPluginV3OneBuild::getOutputShapes), 6);
  EXPECT_EQUAL(slot(&IPluginV3OneBuild::supportsFormatCombination), 7);
  EXPECT_EQUAL(slot(&IPluginV3OneBuild::getNbOutputs), 8);
  EXPECT_EQUAL(slot(&IPluginV3OneBuild::getWorkspaceSize), 9);
  EXPECT_EQUAL(slot(&IPluginV3OneBuild::getValidTactics), 10);
  EXPECT_EQUAL(slot(&IPluginV3OneBuild::getNbTactics), 11);
  EXPECT_EQUAL(slot(&IPluginV3OneBuild::getTimingCacheID), 12);
  EXPECT_EQUAL(slot(&IPluginV3OneBuild::getFormatCombinationLimit), 13);
  EXPECT_EQUAL(slot(&IPluginV3OneBuild::getMetadataString), 14);
  EXPECT_EQUAL(slot(&IPluginV3OneRuntime::setTactic), 4);
  EXPECT_EQUAL(slot(&IPluginV3OneRuntime::onShapeChange), 5);
  EXPECT_EQUAL(slot(&IPluginV3OneRuntime::enqueue), 6);
  EXPECT_EQUAL(slot(&IPluginV3OneRuntime::attachToContext), 7);
  EXPECT_EQUAL(slot(&IPluginV3OneRuntime::getFieldsToSerialize), 8);
  EXPECT_EQUAL(slot(&IPluginCreatorV3One::createPlugin), 4);
  EXPECT_EQUAL(slot(&IPluginCreatorV3One::getFieldNames), 5);
  EXPECT_EQUAL(slot(&IPluginCreatorV3One::getPluginName), 6);
  EXPECT_EQUAL(slot(&IPluginCreatorV3One::getPluginVersion), 7);
  EXPECT_EQUAL(slot(&IPluginCreatorV3One::getPluginNamespace), 8);
  EXPECT_EQUAL(slot(&apiv::VExprBuilder::constant), 2);
  EXPECT_EQUAL(slot(&apiv::VExprBuilder::operation), 3);
  EXPECT_EQUAL(slot(&apiv::VExprBuilder::declareSizeTensor), 4);
  EXPECT_EQUAL(slot(&apiv::VDimensionExpr::isConstant), 2);
  EXPECT_EQUAL(slot(&apiv::VDimensionExpr::getConstantValue), 3);
  EXPECT_EQUAL(slot(&apiv::VDimensionExpr::isSizeTensor), 4);
}

CASE(creators_are_all_there_and_always_the_same) {
  const std::vector<std::string> expected = {"DetectionNMS", "KeypointDecode",     "Letterbox",
                                             "MaskSelect",   "MultilevelRoIAlign", "Proposals",
                                             "RoIAlign"};
  std::vector<std::thread> threads;
  std::vector<std::vector<std::string>> found(8);
  for (auto& names : found) {
    threads.emplace_back([&names] { names = harness::creator_names(); });
  }
  for (auto& thread : threads) thread.join();
  for (const auto& names : found) EXPECT_EQUAL(names, expected);
}
