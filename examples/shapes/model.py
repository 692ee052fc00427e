"""The two tiny detectors: torchvision's R-CNN classes on a narrow residual network with an FPN.

Both take frames of 192 x 256 pixels as they are and fit others into that size. They are built
untrained; `maskrt.examples.shapes.WEIGHTS` holds the trained state dicts.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.models.detection import KeypointRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.keypoint_rcnn import KeypointRCNNHeads, KeypointRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign

from .scene import CLASSES, KEYPOINT_CLASSES, KEYPOINT_NAMES, SKELETON

__all__ = [
    "CLASSES",
    "KEYPOINT_CLASSES",
    "KEYPOINT_NAMES",
    "SKELETON",
    "keypoint_rcnn",
    "mask_rcnn",
]

_WIDTHS = (32, 64, 128, 192)  # channels at strides 4, 8, 16, 32
_BLOCKS = (2, 2, 2, 1)
_FPN = 64
_LEVELS = ["0", "1", "2", "3"]


class Backbone(nn.Module):
    """A narrow ResNet with an FPN: (N, 3, H, W) to four maps (N, 64, H / s, W / s).

    The strides s are 4, 8, 16 and 32, under the names "0" to "3".
    """

    def __init__(self) -> None:
        super().__init__()
        self.out_channels = _FPN
        first = _WIDTHS[0]
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
        )
        self.stages = nn.ModuleList()
        width = first
        for out, blocks in zip(_WIDTHS, _BLOCKS, strict=True):
            skip = nn.Sequential(
                nn.Conv2d(width, out, 1, stride=2, bias=False), nn.BatchNorm2d(out)
            )
            stage = [BasicBlock(width, out, stride=2, downsample=skip)]
            stage += [BasicBlock(out, out) for _ in range(blocks - 1)]
            self.stages.append(nn.Sequential(*stage))
            width = out
        self.fpn = FeaturePyramidNetwork(list(_WIDTHS), _FPN)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Images, already normalised, to the pyramid."""
        x = self.stem(x)
        maps: OrderedDict[str, Tensor] = OrderedDict()
        for name, stage in zip(_LEVELS, self.stages, strict=True):
            x = stage(x)
            maps[name] = x
        out: dict[str, Tensor] = self.fpn(maps)
        return out


def _pool(size: int) -> MultiScaleRoIAlign:
    # Objects are a quarter of COCO's size here; with torchvision's canonical scale of 224 nearly
    # all of them would be read from the finest level.
    return MultiScaleRoIAlign(_LEVELS, size, 2, canonical_scale=112, canonical_level=4)


def _anchors() -> AnchorGenerator:
    sizes = ((14,), (28,), (56,), (104,))
    return AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))


_COMMON = {
    "min_size": 192,
    "max_size": 256,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.25, 0.25, 0.25],
    "rpn_pre_nms_top_n_train": 400,
    "rpn_pre_nms_top_n_test": 300,
    "rpn_post_nms_top_n_train": 200,
    "rpn_post_nms_top_n_test": 200,
    "rpn_batch_size_per_image": 128,
    "box_batch_size_per_image": 48,
    "box_positive_fraction": 0.25,
    "box_detections_per_img": 40,
}


def mask_rcnn() -> MaskRCNN:
    """An untrained Mask R-CNN for the six CLASSES, in training mode.

    It takes a list of float32 (3, H, W) images in RGB, 0..1. Labels are 1-based indices into
    CLASSES.
    """
    return MaskRCNN(
        Backbone(),
        rpn_anchor_generator=_anchors(),
        box_roi_pool=_pool(7),
        box_head=TwoMLPHead(_FPN * 49, 192),
        box_predictor=FastRCNNPredictor(192, len(CLASSES) + 1),
        mask_roi_pool=_pool(14),
        mask_head=MaskRCNNHeads(_FPN, (64,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(64, 48, len(CLASSES) + 1),
        **_COMMON,
    )


def keypoint_rcnn() -> KeypointRCNN:
    """An untrained Keypoint R-CNN for the three KEYPOINT_CLASSES, in training mode.

    It takes a list of float32 (3, H, W) images in RGB, 0..1. Labels are 1-based indices into
    KEYPOINT_CLASSES; the five points of each detection are in the order of KEYPOINT_NAMES.
    """
    return KeypointRCNN(
        Backbone(),
        rpn_anchor_generator=_anchors(),
        box_roi_pool=_pool(7),
        box_head=TwoMLPHead(_FPN * 49, 192),
        box_predictor=FastRCNNPredictor(192, len(KEYPOINT_CLASSES) + 1),
        keypoint_roi_pool=_pool(14),
        keypoint_head=KeypointRCNNHeads(_FPN, (64,) * 6),
        keypoint_predictor=KeypointRCNNPredictor(64, len(KEYPOINT_NAMES)),
        **_COMMON,
    )
