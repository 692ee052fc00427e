// The work is RoIAlign's, which knows about levels.

#include "common/cpu.h"

#include "multilevel_roi_align/check.h"
#include "roi_align/pool_cpu.h"

int maskrt_multilevel_roi_align(const MaskrtMultilevelRoIAlignParams* params) {
  MASKRT_EXPECT(params, "multilevel_roi_align: found a null pointer for params");
  const int status = maskrt::multilevel_roi_align::check(*params);
  if (status != MASKRT_OK) return status;
  return maskrt::guarded("multilevel_roi_align", [&] {
    maskrt::roi_align::run_pool(maskrt::multilevel_roi_align::pool_of(*params));
    return MASKRT_OK;
  });
}
