"""Canonical graphs of many structures, and what tests ask of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
from torchvision.models.detection import MaskRCNN, fasterrcnn_mobilenet_v3_large_fpn
from torchvision.models.detection import maskrcnn_resnet50_fpn_v2 as resnet_v2
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from maskrt.export import export
from tests.export import test_adapter as small

SMALL = (96, 128)


def resnext():
    backbone = resnet_fpn_backbone(backbone_name="resnext50_32x4d", weights=None)
    return MaskRCNN(backbone, 5).eval()


def mobilenet():
    return fasterrcnn_mobilenet_v3_large_fpn(weights=None, weights_backbone=None).eval()


def v2():
    return resnet_v2(weights=None, weights_backbone=None, num_classes=4).eval()


STRUCTURES = {
    "two maps for boxes": small.five_levels_box_on_two,
    "one map": small.one_map,
    "masks and keypoints": small.masks_and_keypoints,
    "resnext": resnext,
    "mobilenet": mobilenet,
    "v2": v2,
}

PARAMS = [
    pytest.param(name, marks=pytest.mark.slow(reason="exported at full width"))
    if name in ("resnext", "mobilenet", "v2")
    else name
    for name in STRUCTURES
]
"""For ``parametrize``."""


@cache
def exported(name: str, folder: Path) -> Path:
    """A canonical file of one of the structures, with random weights."""
    build = STRUCTURES[name]
    path = folder / f"{name.replace(' ', '_')}.onnx"
    export(build(), path, SMALL if build.__module__ == small.__name__ else (128, 192))
    return path
