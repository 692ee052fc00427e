"""detectron2's RPN head and RoI heads (``modeling/proposal_generator``, ``modeling/roi_heads``)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from maskrt.errors import UnsupportedModelError
from maskrt.export.detectron2.config import Config
from maskrt.export.detectron2.layers import Conv2d
from maskrt.export.detectron2.resnet import make_stage


class RPNHead(nn.Module):
    """Objectness and deltas of each map: 3x3 convolutions, then 1x1 ones, the same for all maps."""

    def __init__(self, config: Config, channels: int, anchors: int) -> None:
        super().__init__()
        dims = config.integers("MODEL.RPN.CONV_DIMS")
        if not dims or not all(dim > 0 or dim == -1 for dim in dims):
            raise UnsupportedModelError(
                f"{config.source}: MODEL.RPN.CONV_DIMS is {list(dims)}; expected numbers of "
                "channels, or -1 for the map's"
            )
        convs: list[Conv2d] = []
        for dim in dims:
            width = channels if dim == -1 else dim
            convs.append(Conv2d(channels, width, 3, relu=True))
            channels = width
        self.conv: nn.Module = convs[0]
        if len(convs) > 1:
            self.conv = nn.Sequential()
            for i, conv in enumerate(convs):
                self.conv.add_module(f"conv{i}", conv)
        self.objectness_logits = nn.Conv2d(channels, anchors, 1)
        self.anchor_deltas = nn.Conv2d(channels, 4 * anchors, 1)

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Maps → objectness logits [B, A, h, w] and deltas [B, 4 A, h, w] of each."""
        hidden = [self.conv(x) for x in maps]
        return [self.objectness_logits(x) for x in hidden], [self.anchor_deltas(x) for x in hidden]


class ProposalGenerator(nn.Module):
    """Holds the RPN's head under detectron2's name."""

    def __init__(self, head: RPNHead) -> None:
        super().__init__()
        self.rpn_head = head


class BoxHead(nn.Module):
    """Convolutions, then fully connected layers, each with a ReLU (``FastRCNNConvFCHead``)."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        section = "MODEL.ROI_BOX_HEAD."
        norm = config.text(section + "NORM")
        size = config.integer(section + "POOLER_RESOLUTION", 1)
        self.layers: list[str] = []
        for i in range(config.integer(section + "NUM_CONV")):
            width = config.integer(section + "CONV_DIM", 1)
            self._add(f"conv{i + 1}", Conv2d(channels, width, 3, norm=norm, relu=True))
            channels = width
        self.spatial = len(self.layers)
        self.width = channels * size * size
        for i in range(config.integer(section + "NUM_FC")):
            width = config.integer(section + "FC_DIM", 1)
            self._add(f"fc{i + 1}", nn.Linear(self.width, width))
            self.width = width
        if not self.layers:
            raise UnsupportedModelError(
                f"{config.source}: MODEL.ROI_BOX_HEAD has NUM_CONV 0 and NUM_FC 0; expected a "
                "layer at least"
            )

    def _add(self, name: str, layer: nn.Module) -> None:
        setattr(self, name, layer)
        self.layers.append(name)

    def forward(self, x: Tensor) -> Tensor:
        """RoI features [N, C, p, p] → [N, width]."""
        for name in self.layers[: self.spatial]:
            x = getattr(self, name)(x)
        x = x.flatten(1)
        for name in self.layers[self.spatial :]:
            x = getattr(self, name)(x).relu()
        return x


class BoxPredictor(nn.Module):
    """Class logits, the background last, and deltas (``FastRCNNOutputLayers``)."""

    def __init__(self, config: Config, inputs: int) -> None:
        super().__init__()
        classes = config.integer("MODEL.ROI_HEADS.NUM_CLASSES", 1)
        agnostic = config.flag("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG")
        self.cls_score = nn.Linear(inputs, classes + 1)
        self.bbox_pred = nn.Linear(inputs, 4 * (1 if agnostic else classes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[N, inputs] → logits [N, classes + 1] and deltas [N, 4 n]."""
        return self.cls_score(x), self.bbox_pred(x)


class MaskHead(nn.Module):
    """Convolutions, a transposed one with stride 2, logits (``MaskRCNNConvUpsampleHead``)."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        section = "MODEL.ROI_MASK_HEAD."
        norm = config.text(section + "NORM")
        width = config.integer(section + "CONV_DIM", 1)
        agnostic = config.flag(section + "CLS_AGNOSTIC_MASK")
        classes = 1 if agnostic else config.integer("MODEL.ROI_HEADS.NUM_CLASSES", 1)
        self.layers = [f"mask_fcn{i + 1}" for i in range(config.integer(section + "NUM_CONV"))]
        for name in self.layers:
            setattr(self, name, Conv2d(channels, width, 3, norm=norm, relu=True))
            channels = width
        self.deconv = nn.ConvTranspose2d(channels, width, 2, 2)
        self.predictor = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """RoI features [N, C, p, p] → mask logits [N, classes or 1, 2 p, 2 p]."""
        for name in self.layers:
            x = getattr(self, name)(x)
        logits: Tensor = self.predictor(self.deconv(x).relu())
        return logits


class KeypointHead(nn.Module):
    """Convolutions, a transposed one with stride 2, doubled (``KRCNNConvDeconvUpsampleHead``)."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        section = "MODEL.ROI_KEYPOINT_HEAD."
        self.layers = []
        for i, width in enumerate(config.integers(section + "CONV_DIMS")):
            self.layers.append(f"conv_fcn{i + 1}")
            setattr(self, self.layers[-1], Conv2d(channels, width, 3, relu=True))
            channels = width
        points = config.integer(section + "NUM_KEYPOINTS", 1)
        self.score_lowres = nn.ConvTranspose2d(channels, points, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """RoI features [N, C, p, p] → heatmaps [N, K, 4 p, 4 p]."""
        for name in self.layers:
            x = getattr(self, name)(x)
        return nn.functional.interpolate(
            self.score_lowres(x), scale_factor=2.0, mode="bilinear", align_corners=False
        )


class RoIHeads(nn.Module):
    """The branches behind the RoI poolers; those of masks and keypoints may be missing."""

    mask_head: nn.Module
    keypoint_head: nn.Module

    def box_branch(self) -> nn.Module:
        """RoI features → class logits and deltas."""
        raise NotImplementedError

    def mask_branch(self) -> nn.Module:
        """RoI features → mask logits."""
        return self.mask_head

    def keypoint_branch(self) -> nn.Module:
        """RoI features → heatmaps."""
        return self.keypoint_head


class StandardRoIHeads(RoIHeads):
    """Each branch reads RoI features of its own."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        if config.text("MODEL.ROI_BOX_HEAD.NAME") != "FastRCNNConvFCHead":
            raise UnsupportedModelError(
                f"{config.source}: MODEL.ROI_BOX_HEAD.NAME is empty; with StandardROIHeads "
                "expected FastRCNNConvFCHead"
            )
        self.box_head = BoxHead(config, channels)
        self.box_predictor = BoxPredictor(config, self.box_head.width)
        if config.flag("MODEL.MASK_ON"):
            self.mask_head = MaskHead(config, channels)
        if config.flag("MODEL.KEYPOINT_ON"):
            self.keypoint_head = KeypointHead(config, channels)

    def box_branch(self) -> nn.Module:
        """RoI features → class logits and deltas."""
        return _chain(box_head=self.box_head, box_predictor=self.box_predictor)


class Res5RoIHeads(RoIHeads):
    """The ResNet's last stage, with the same weights, before boxes and before masks (C4)."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        width = config.integer("MODEL.RESNETS.RES2_OUT_CHANNELS") << 3
        if config.integer("MODEL.RESNETS.DEPTH") < 50 or channels != width // 2:
            raise UnsupportedModelError(
                f"{config.source}: MODEL.ROI_HEADS.NAME is Res5ROIHeads, which goes with a ResNet "
                f"of depth 50 or more and its map res4; found maps of {channels} channels"
            )
        if config.integer("MODEL.RESNETS.RES5_DILATION") != 1:
            raise UnsupportedModelError(
                f"{config.source}: MODEL.RESNETS.RES5_DILATION is not 1, which Res5ROIHeads is"
            )
        if config.flag("MODEL.KEYPOINT_ON"):
            raise UnsupportedModelError(
                f"{config.source}: MODEL.KEYPOINT_ON with Res5ROIHeads, which have no keypoints: "
                "expected StandardROIHeads"
            )
        # always three blocks of bottlenecks, whatever the depth
        self.res5 = make_stage(config, "res5", blocks=3)
        self.box_predictor = BoxPredictor(config, width)
        if config.flag("MODEL.MASK_ON"):
            self.mask_head = MaskHead(config, width)

    def box_branch(self) -> nn.Module:
        """RoI features → class logits and deltas."""
        return _chain(res5=self.res5, mean=SpatialMean(), box_predictor=self.box_predictor)

    def mask_branch(self) -> nn.Module:
        """RoI features → mask logits."""
        return _chain(res5=self.res5, mask_head=self.mask_head)


class SpatialMean(nn.Module):
    """Maps [N, C, h, w] → [N, C]."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean over rows and columns."""
        return x.mean((2, 3))


def _chain(**parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))


def make_roi_heads(config: Config, channels: int) -> RoIHeads:
    """The RoI heads that the configuration names.

    Args:
        config: read are ``MODEL.ROI_*``.
        channels: of the maps that they read.
    """
    standard = config.text("MODEL.ROI_HEADS.NAME") == "StandardROIHeads"
    return StandardRoIHeads(config, channels) if standard else Res5RoIHeads(config, channels)
