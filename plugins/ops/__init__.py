"""The native operators on NumPy arrays; the library is loaded at the first call.

bfloat16 arrays have the dtype of the package ``ml_dtypes``.
"""

from maskrt.plugins.ops.detection_nms import detection_nms
from maskrt.plugins.ops.keypoint_decode import keypoint_decode
from maskrt.plugins.ops.letterbox import letterbox
from maskrt.plugins.ops.mask_select import mask_select
from maskrt.plugins.ops.multilevel_roi_align import multilevel_roi_align
from maskrt.plugins.ops.nms import nms
from maskrt.plugins.ops.paste_masks import PastedCrop, paste_crops, paste_label_map
from maskrt.plugins.ops.proposals import proposals
from maskrt.plugins.ops.roi_align import roi_align

__all__ = [
    "PastedCrop",
    "detection_nms",
    "keypoint_decode",
    "letterbox",
    "mask_select",
    "multilevel_roi_align",
    "nms",
    "paste_crops",
    "paste_label_map",
    "proposals",
    "roi_align",
]
