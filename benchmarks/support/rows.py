"""The models of the support table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, KeypointRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.faster_rcnn import FastRCNNConvFCHead, FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from maskrt.examples import shapes
from maskrt.export import load_model
from tests.detectron2_reference.configs import ZOO, zoo_config

CANVAS = (256, 320)
ROIS = 200
CANDIDATES = {"rpn_pre_nms_top_n_test": 400, "rpn_post_nms_top_n_test": ROIS}


@dataclass(frozen=True)
class Row:
    """One model."""

    name: str
    task: str
    """"Faster", "Mask", "Keypoint" or "Mask and Keypoint"."""
    source: Literal["torchvision", "detectron2", "trained"]
    backbone: str
    build: Callable[[], nn.Module] | None = None
    """Of torchvision's models."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """Of detectron2's models."""


class SingleMap(nn.Module):
    """ResNet-50 up to its third stage: one map of stride 16, as C4 models have."""

    out_channels = 1024

    def __init__(self) -> None:
        super().__init__()
        body = torchvision.models.resnet50(weights=None)
        layers = [body.conv1, body.bn1, body.relu, body.maxpool]
        self.body = nn.Sequential(*layers, body.layer1, body.layer2, body.layer3)

    def forward(self, image: Tensor) -> Tensor:
        """Image → map [B, 1024, h / 16, w / 16]."""
        found: Tensor = self.body(image)
        return found


def _named(name: str) -> Callable[[], nn.Module]:
    return lambda: torchvision.models.get_model(
        name, weights=None, weights_backbone=None, **CANDIDATES
    )


def _on(backbone: str) -> Callable[[], nn.Module]:
    return lambda: MaskRCNN(
        resnet_fpn_backbone(backbone_name=backbone, weights=None), 91, **CANDIDATES
    )


def _single_map() -> nn.Module:
    return FasterRCNN(
        SingleMap(),
        91,
        rpn_anchor_generator=AnchorGenerator(((32, 64, 128, 256),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2),
        **CANDIDATES,
    )


def _custom_heads() -> nn.Module:
    return MaskRCNN(
        resnet_fpn_backbone(backbone_name="resnet50", weights=None),
        box_head=FastRCNNConvFCHead((256, 7, 7), [128, 128], [512], nn.BatchNorm2d),
        box_predictor=FastRCNNPredictor(512, 8),
        mask_roi_pool=MultiScaleRoIAlign(["0", "1", "2", "3"], 28, 2),
        mask_head=MaskRCNNHeads(256, (96, 96), 1),
        mask_predictor=MaskRCNNPredictor(96, 64, 8),
        **CANDIDATES,
    )


def _masks_and_keypoints() -> nn.Module:
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None)
    model = KeypointRCNN(backbone, 2, **CANDIDATES)
    model.roi_heads.mask_roi_pool = MultiScaleRoIAlign(["0", "1", "2", "3"], 14, 2)
    model.roi_heads.mask_head = MaskRCNNHeads(256, (256, 256), 1)
    model.roi_heads.mask_predictor = MaskRCNNPredictor(256, 256, 2)
    return model


def _trained(name: str) -> Callable[[], nn.Module]:
    return lambda: load_model(f"maskrt.examples.shapes:{name}", shapes.WEIGHTS / f"{name}.pth")


TORCHVISION = [
    Row("fasterrcnn_resnet50_fpn", "Faster", "torchvision", "R50-FPN"),
    Row("fasterrcnn_resnet50_fpn_v2", "Faster", "torchvision", "R50-FPN v2"),
    Row("fasterrcnn_mobilenet_v3_large_fpn", "Faster", "torchvision", "MobileNetV3-FPN"),
    Row("fasterrcnn_mobilenet_v3_large_320_fpn", "Faster", "torchvision", "MobileNetV3-FPN, 320"),
    Row("maskrcnn_resnet50_fpn", "Mask", "torchvision", "R50-FPN"),
    Row("maskrcnn_resnet50_fpn_v2", "Mask", "torchvision", "R50-FPN v2"),
    Row("keypointrcnn_resnet50_fpn", "Keypoint", "torchvision", "R50-FPN"),
    *(
        Row(f"MaskRCNN({backbone})", "Mask", "torchvision", f"{shown}-FPN", _on(backbone))
        for backbone, shown in (
            ("resnet18", "R18"),
            ("resnet34", "R34"),
            ("resnet101", "R101"),
            ("resnet152", "R152"),
            ("resnext50_32x4d", "X50-32x4d"),
            ("resnext101_32x8d", "X101-32x8d"),
            ("wide_resnet50_2", "WR50-2"),
        )
    ),
    Row("FasterRCNN(one map)", "Faster", "torchvision", "R50, one map (C4)", _single_map),
    Row("MaskRCNN(custom heads)", "Mask", "torchvision", "R50-FPN, own heads", _custom_heads),
    Row(
        "KeypointRCNN(with masks)",
        "Mask and Keypoint",
        "torchvision",
        "R50-FPN",
        _masks_and_keypoints,
    ),
]
_SMALL = {
    "MODEL": {"RPN": {"POST_NMS_TOPK_TEST": ROIS}},
    "INPUT": {"MIN_SIZE_TEST": min(CANVAS), "MAX_SIZE_TEST": max(CANVAS)},
}


def _zoo(name: str) -> Row:
    task, backbone, layout = ZOO[name]
    shown = f"{backbone.replace('_', '').replace('X10132x8d', 'X101-32x8d')}-{layout}"
    kind = task.removesuffix("_rcnn").capitalize()
    return Row(name, kind, "detectron2", shown, config=zoo_config(name, _SMALL))


def _changed(name: str, base: str, task: str, shown: str, changes: Mapping[str, Any]) -> Row:
    from tests.detectron2_reference.config import merge

    config = merge(zoo_config(base, _SMALL), changes)
    return Row(name, task, "detectron2", shown, config=config)


DETECTRON2 = [
    *(_zoo(name) for name in ZOO),
    _changed(
        "mask_rcnn_R_18_FPN",
        "mask_rcnn_R_50_FPN_3x",
        "Mask",
        "R18-FPN",
        {"MODEL": {"RESNETS": {"DEPTH": 18, "RES2_OUT_CHANNELS": 64}}},
    ),
    _changed(
        "mask_rcnn_R_50_FPN_gn",
        "mask_rcnn_R_50_FPN_3x",
        "Mask",
        "R50-FPN, GN",
        {
            "MODEL": {
                "RESNETS": {"NORM": "GN", "STRIDE_IN_1X1": False},
                "FPN": {"NORM": "GN"},
                "ROI_BOX_HEAD": {"NORM": "GN", "NUM_CONV": 4, "NUM_FC": 1},
                "ROI_MASK_HEAD": {"NORM": "GN"},
            }
        },
    ),
    _changed(
        "mask_keypoint_rcnn_R_50_FPN",
        "keypoint_rcnn_R_50_FPN_3x",
        "Mask and Keypoint",
        "R50-FPN, class-agnostic",
        {
            "MODEL": {
                "MASK_ON": True,
                "ROI_HEADS": {"NUM_CLASSES": 5},
                "ROI_BOX_HEAD": {"CLS_AGNOSTIC_BBOX_REG": True},
                "ROI_MASK_HEAD": {"CLS_AGNOSTIC_MASK": True},
            }
        },
    ),
]
TRAINED = [
    Row("shapes:mask_rcnn", "Mask", "trained", "tiny", _trained("mask_rcnn")),
    Row("shapes:keypoint_rcnn", "Keypoint", "trained", "tiny", _trained("keypoint_rcnn")),
]
ROWS = [*TORCHVISION, *DETECTRON2, *TRAINED]


def build_torchvision(row: Row) -> nn.Module:
    """The model of a row, with torchvision's initial weights."""
    torch.manual_seed(0)
    return (row.build or _named(row.name))().eval()
