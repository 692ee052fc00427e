"""The configurations of detectron2's model zoo, by name.

Their YAML files name a base file beside them, which users seldom have: its values are here.
"""

from __future__ import annotations

import re
from typing import Any

Tree = dict[str, Any]

_OWN_HEADS: Tree = {
    "ROI_BOX_HEAD": {"NAME": "FastRCNNConvFCHead", "NUM_FC": 2, "POOLER_RESOLUTION": 7},
    "ROI_MASK_HEAD": {"NAME": "MaskRCNNConvUpsampleHead", "NUM_CONV": 4, "POOLER_RESOLUTION": 14},
}
"""Of models whose branches each read RoI features of their own."""
_FPN: Tree = {
    "MODEL": {
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "BACKBONE": {"NAME": "build_resnet_fpn_backbone"},
        "RESNETS": {"OUT_FEATURES": ["res2", "res3", "res4", "res5"]},
        "FPN": {"IN_FEATURES": ["res2", "res3", "res4", "res5"]},
        "ANCHOR_GENERATOR": {
            "SIZES": [[32], [64], [128], [256], [512]],
            "ASPECT_RATIOS": [[0.5, 1.0, 2.0]],
        },
        "RPN": {
            "IN_FEATURES": ["p2", "p3", "p4", "p5", "p6"],
            "PRE_NMS_TOPK_TEST": 1000,
            "POST_NMS_TOPK_TEST": 1000,
        },
        "ROI_HEADS": {"NAME": "StandardROIHeads", "IN_FEATURES": ["p2", "p3", "p4", "p5"]},
        **_OWN_HEADS,
    },
    "VERSION": 2,
}
_C4: Tree = {
    "MODEL": {
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "RPN": {"PRE_NMS_TOPK_TEST": 6000, "POST_NMS_TOPK_TEST": 1000},
        "ROI_HEADS": {"NAME": "Res5ROIHeads"},
    },
    "VERSION": 2,
}
_DC5: Tree = {
    "MODEL": {
        "META_ARCHITECTURE": "GeneralizedRCNN",
        "RESNETS": {"OUT_FEATURES": ["res5"], "RES5_DILATION": 2},
        "RPN": {
            "IN_FEATURES": ["res5"],
            "PRE_NMS_TOPK_TEST": 6000,
            "POST_NMS_TOPK_TEST": 1000,
        },
        "ROI_HEADS": {"NAME": "StandardROIHeads", "IN_FEATURES": ["res5"]},
        **_OWN_HEADS,
    },
    "VERSION": 2,
}
_KEYPOINTS: Tree = {"MODEL": {"KEYPOINT_ON": True, "ROI_HEADS": {"NUM_CLASSES": 1}}}
_BACKBONES: dict[str, Tree] = {
    "R_50": {"RESNETS": {"DEPTH": 50}},
    "R_101": {"RESNETS": {"DEPTH": 101}},
    "X_101_32x8d": {
        "PIXEL_STD": [57.375, 57.120, 58.395],
        "RESNETS": {
            "DEPTH": 101,
            "NUM_GROUPS": 32,
            "WIDTH_PER_GROUP": 8,
            "STRIDE_IN_1X1": False,
        },
    },
}
_LAYOUTS = {"C4": _C4, "DC5": _DC5, "FPN": _FPN}
_NAME = re.compile(
    r"(faster|mask|keypoint)_rcnn_(R_50|R_101|X_101_32x8d)_(C4|DC5|FPN)_(1x|3x)(\.yaml)?"
)
EXAMPLES = "mask_rcnn_R_50_FPN_3x, faster_rcnn_R_101_C4_3x, keypoint_rcnn_X_101_32x8d_FPN_3x"


def merged(base: Tree, changes: Tree) -> Tree:
    """The base with the changes: nested tables are merged, all else is replaced."""
    result = dict(base)
    for key, value in changes.items():
        old = result.get(key)
        both = isinstance(value, dict) and isinstance(old, dict)
        result[key] = merged(old, value) if both else value  # type: ignore[arg-type]
    return result


BASES: dict[str, Tree] = {
    "Base-RCNN-FPN.yaml": _FPN,
    "Base-RCNN-C4.yaml": _C4,
    "Base-RCNN-DilatedC5.yaml": _DC5,
    "Base-Keypoint-RCNN-FPN.yaml": merged(_FPN, _KEYPOINTS),
}
"""The zoo's base files, by name."""


def zoo_config(name: str) -> Tree | None:
    """The configuration of a model of the zoo; None where there is none of that name.

    Args:
        name: as in the zoo, such as ``mask_rcnn_R_50_FPN_3x``; its folder and ``.yaml`` may be
            there, too.
    """
    found = _NAME.fullmatch(name.rpartition("/")[2])
    if not found:
        return None
    task, backbone, layout, _, _ = found.groups()
    if task == "keypoint" and layout != "FPN":
        return None
    config = merged(_LAYOUTS[layout], {"MODEL": _BACKBONES[backbone]})
    if task == "keypoint":
        return merged(config, _KEYPOINTS)
    return merged(config, {"MODEL": {"MASK_ON": task == "mask"}})
