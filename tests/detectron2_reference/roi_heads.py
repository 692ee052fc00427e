"""Box, mask and keypoint heads: ``detectron2/modeling/roi_heads``."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from .backbone import bottleneck_stage
from .boxes import clip, decode, grouped_nms
from .config import Config
from .keypoints import heatmaps_to_keypoints
from .layers import Conv
from .pooler import Pooler


class BoxHead(nn.Module):
    """``FastRCNNConvFCHead``: NUM_CONV 3x3 convolutions, then NUM_FC linear layers, all with ReLU.

    (n, C, s, s) -> (n, outputs); without linear layers the maps are flattened for the predictor.
    """

    def __init__(self, head: dict, channels: int):
        super().__init__()
        self.convs, self.linears = head["NUM_CONV"], head["NUM_FC"]
        for index in range(1, self.convs + 1):
            self.add_module(
                f"conv{index}", Conv(channels, head["CONV_DIM"], 3, head["NORM"], padding=1)
            )
            channels = head["CONV_DIM"]
        self.outputs = channels * head["POOLER_RESOLUTION"] ** 2
        for index in range(1, self.linears + 1):
            self.add_module(f"fc{index}", nn.Linear(self.outputs, head["FC_DIM"]))
            self.outputs = head["FC_DIM"]

    def forward(self, x: Tensor) -> Tensor:
        for index in range(1, self.convs + 1):
            x = torch.relu(self.get_submodule(f"conv{index}")(x))
        x = x.flatten(1)
        for index in range(1, self.linears + 1):
            x = torch.relu(self.get_submodule(f"fc{index}")(x))
        return x


class BoxPredictor(nn.Module):
    """``FastRCNNOutputLayers``: logits of the classes, the background last, and box deltas."""

    def __init__(self, config: Config, inputs: int):
        super().__init__()
        classes = config["MODEL"]["ROI_HEADS"]["NUM_CLASSES"]
        agnostic = config["MODEL"]["ROI_BOX_HEAD"]["CLS_AGNOSTIC_BBOX_REG"]
        self.cls_score = nn.Linear(inputs, classes + 1)
        self.bbox_pred = nn.Linear(inputs, 4 * (1 if agnostic else classes))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


def select_detections(
    boxes: Tensor,
    probabilities: Tensor,
    content: tuple[int, int],
    score_threshold: float,
    nms_threshold: float,
    limit: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes (n, 4), scores (n,), labels (n,) int64, best first.

    ``boxes`` are (R, k, 4) with k the classes, or 1 where all share a box; ``probabilities`` are
    (R, classes + 1). Follows ``fast_rcnn_inference_single_image``.
    """
    finite = torch.isfinite(boxes).flatten(1).all(1) & torch.isfinite(probabilities).all(1)
    boxes = clip(boxes[finite], content)
    scores = probabilities[finite, :-1]
    rois, labels = torch.nonzero(scores > score_threshold, as_tuple=True)
    scores = scores[rois, labels]
    boxes = boxes[rois, 0] if boxes.shape[1] == 1 else boxes[rois, labels]
    keep = grouped_nms(boxes, scores, labels, nms_threshold)
    if limit >= 0:
        keep = keep[:limit]
    return boxes[keep], scores[keep], labels[keep]


class MaskHead(nn.Module):
    """``MaskRCNNConvUpsampleHead``: 3x3 convolutions, a 2x2 deconvolution of stride 2, a 1x1 one.

    (n, C, s, s) -> logits (n, classes or 1, 2 s, 2 s).
    """

    def __init__(self, config: Config, channels: int):
        super().__init__()
        head = config["MODEL"]["ROI_MASK_HEAD"]
        classes = config["MODEL"]["ROI_HEADS"]["NUM_CLASSES"]
        self.convs, dim = head["NUM_CONV"], head["CONV_DIM"]
        for index in range(1, self.convs + 1):
            self.add_module(f"mask_fcn{index}", Conv(channels, dim, 3, head["NORM"], padding=1))
            channels = dim
        self.deconv = nn.ConvTranspose2d(channels, dim, kernel_size=2, stride=2)
        self.predictor = Conv(dim, 1 if head["CLS_AGNOSTIC_MASK"] else classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        for index in range(1, self.convs + 1):
            x = torch.relu(self.get_submodule(f"mask_fcn{index}")(x))
        return self.predictor(torch.relu(self.deconv(x)))


def masks_of_classes(logits: Tensor, labels: Tensor) -> Tensor:
    """(n, m, m) probabilities of the predicted classes. Follows ``mask_rcnn_inference``."""
    if logits.shape[1] == 1:
        return logits[:, 0].sigmoid()
    return logits[torch.arange(len(labels)), labels].sigmoid()


class KeypointHead(nn.Module):
    """``KRCNNConvDeconvUpsampleHead``: 3x3 convolutions, a 4x4 deconvolution, bilinear x2.

    (n, C, s, s) -> heatmaps (n, K, 4 s, 4 s) of logits.
    """

    def __init__(self, config: Config, channels: int):
        super().__init__()
        head = config["MODEL"]["ROI_KEYPOINT_HEAD"]
        self.convs = len(head["CONV_DIMS"])
        for index, dim in enumerate(head["CONV_DIMS"], 1):
            self.add_module(f"conv_fcn{index}", Conv(channels, dim, 3, padding=1))
            channels = dim
        self.score_lowres = nn.ConvTranspose2d(
            channels, head["NUM_KEYPOINTS"], kernel_size=4, stride=2, padding=1
        )

    def forward(self, x: Tensor) -> Tensor:
        for index in range(1, self.convs + 1):
            x = torch.relu(self.get_submodule(f"conv_fcn{index}")(x))
        x = self.score_lowres(x)
        return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


class ROIHeads(nn.Module):
    """What StandardROIHeads and Res5ROIHeads have in common: the order of the steps.

    A subclass sets ``in_features``, ``box_predictor``, ``mask_on`` and ``keypoint_on``, and has
    the methods that turn the boxes (n, 4) of each of N images, with maps (N, C, h, w), into each
    head's outputs for all n.
    """

    in_features: list[str]
    box_predictor: BoxPredictor
    mask_on: bool
    keypoint_on: bool

    def __init__(self, config: Config):
        super().__init__()
        self.weights = config["MODEL"]["ROI_BOX_HEAD"]["BBOX_REG_WEIGHTS"]
        self.limit = config["TEST"]["DETECTIONS_PER_IMAGE"]

    def box_features(self, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """(n, inputs of the box predictor)."""
        raise NotImplementedError

    def mask_logits(self, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """(n, classes or 1, m, m)."""
        raise NotImplementedError

    def heatmaps(self, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """(n, K, S, S)."""
        raise NotImplementedError

    def forward(
        self,
        features: dict[str, Tensor],
        proposals: Tensor,
        content: tuple[int, int],
        score_threshold: float,
        nms_threshold: float,
    ) -> dict[str, Tensor]:
        """Detections of one image in canvas pixels: boxes, scores, labels, masks, keypoints.

        Masks and keypoints are those of the detected boxes, not of the proposals.
        """
        maps = [features[name] for name in self.in_features]
        logits, deltas = self.box_predictor(self.box_features(maps, [proposals]))
        boxes, scores, labels = select_detections(
            decode(deltas, proposals, self.weights),
            logits.softmax(1),
            content,
            score_threshold,
            nms_threshold,
            self.limit,
        )
        found = {"boxes": boxes, "scores": scores, "labels": labels}
        if self.mask_on:
            found["masks"] = masks_of_classes(self.mask_logits(maps, [boxes]), labels)
        if self.keypoint_on:
            decoded = heatmaps_to_keypoints(self.heatmaps(maps, [boxes]), boxes)
            found["keypoints"] = decoded[:, :, [0, 1, 3]]  # as keypoint_rcnn_inference: no logit
        return found


class StandardROIHeads(ROIHeads):
    """``StandardROIHeads``: each head pools for itself, from the same maps."""

    def __init__(self, config: Config, strides: dict[str, int], channels: dict[str, int]):
        super().__init__(config)
        model = config["MODEL"]
        self.in_features = list(model["ROI_HEADS"]["IN_FEATURES"])
        self.mask_on, self.keypoint_on = model["MASK_ON"], model["KEYPOINT_ON"]
        strides_in = [strides[name] for name in self.in_features]
        (inputs,) = {channels[name] for name in self.in_features}
        self.box_pooler = Pooler(model["ROI_BOX_HEAD"], strides_in)
        self.box_head = BoxHead(model["ROI_BOX_HEAD"], inputs)
        self.box_predictor = BoxPredictor(config, self.box_head.outputs)
        if self.mask_on:
            self.mask_pooler = Pooler(model["ROI_MASK_HEAD"], strides_in)
            self.mask_head = MaskHead(config, inputs)
        if self.keypoint_on:
            self.keypoint_pooler = Pooler(model["ROI_KEYPOINT_HEAD"], strides_in)
            self.keypoint_head = KeypointHead(config, inputs)

    def box_features(self, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        return self.box_head(self.box_pooler(features, boxes))

    def mask_logits(self, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        return self.mask_head(self.mask_pooler(features, boxes))

    def heatmaps(self, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        return self.keypoint_head(self.keypoint_pooler(features, boxes))


class Res5ROIHeads(ROIHeads):
    """``Res5ROIHeads`` of C4: res5, always of three bottlenecks, works on each pooled RoI.

    Its mean is the box predictor's input, its map the mask head's; one pooler serves both, with
    ROI_BOX_HEAD's keys.
    """

    def __init__(self, config: Config, strides: dict[str, int], channels: dict[str, int]):
        super().__init__(config)
        model = config["MODEL"]
        if model["KEYPOINT_ON"]:
            raise ValueError("Res5ROIHeads has no keypoint head")
        (name,) = model["ROI_HEADS"]["IN_FEATURES"]
        self.in_features = [name]
        self.mask_on, self.keypoint_on = model["MASK_ON"], False
        self.pooler = Pooler(model["ROI_BOX_HEAD"], [strides[name]])
        self.res5 = bottleneck_stage(config, stage=5, blocks=3, dilation=1)
        outputs = model["RESNETS"]["RES2_OUT_CHANNELS"] * 8
        if channels[name] != outputs // 2:
            raise ValueError(f"res5 needs {outputs // 2} channels, {name} has {channels[name]}")
        self.box_predictor = BoxPredictor(config, outputs)
        if self.mask_on:
            self.mask_head = MaskHead(config, outputs)

    def box_features(self, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        return self.res5(self.pooler(features, boxes)).mean(dim=(2, 3))

    def mask_logits(self, features: list[Tensor], boxes: list[Tensor]) -> Tensor:
        return self.mask_head(self.res5(self.pooler(features, boxes)))


def build_roi_heads(config: Config, strides: dict[str, int], channels: dict[str, int]) -> ROIHeads:
    """The heads of ``MODEL.ROI_HEADS.NAME``."""
    kinds = {"StandardROIHeads": StandardROIHeads, "Res5ROIHeads": Res5ROIHeads}
    return kinds[config["MODEL"]["ROI_HEADS"]["NAME"]](config, strides, channels)
