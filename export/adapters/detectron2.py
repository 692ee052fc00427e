"""detectron2's Faster, Mask and Keypoint R-CNN → dense parts and a ModelSpec.

What detectron2 and torchvision do differently is in the spec: the resize, anchors and their
strides, where boxes count as empty, the background's place, aligned poolers and their levels, how
masks are pasted and keypoints scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from maskrt.errors import UnsupportedModelError
from maskrt.export.adapters.coco_names import coco_keypoints, coco_things
from maskrt.export.adapters.common import keypoint_spec, roi_features, size_of
from maskrt.export.detectron2.config import Config
from maskrt.export.detectron2.layers import fold_norms
from maskrt.export.detectron2.model import Detectron2RCNN
from maskrt.export.graph import Parts
from maskrt.spec import (
    BatchSpec,
    CanvasSpec,
    ChannelOrder,
    DetectionSpec,
    KeypointSpec,
    MaskSpec,
    ModelSpec,
    RoIPoolSpec,
    RPNLevelSpec,
    RPNSpec,
)

CLIP = math.log(1000.0 / 16)
"""detectron2's bound of log-size deltas."""
LEVEL_EPSILON = 1e-8
"""Added within the logarithm that chooses a RoI's map."""


class _Backbone(nn.Module):
    """The maps that are read, as a list."""

    def __init__(self, model: Detectron2RCNN) -> None:
        super().__init__()
        self.backbone = model.backbone
        self.names = model.maps

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = self.backbone(image)
        return [maps[name] for name in self.names]


class _RPNHead(nn.Module):
    """Reads its own of the maps."""

    def __init__(self, model: Detectron2RCNN) -> None:
        super().__init__()
        self.head = model.proposal_generator.rpn_head
        self.positions = [model.maps.index(name) for name in model.rpn_maps]

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        found: tuple[list[Tensor], list[Tensor]] = self.head([maps[i] for i in self.positions])
        return found


@torch.no_grad()
def adapt(
    model: Detectron2RCNN,
    canvas: tuple[int, int],
    *,
    batch: BatchSpec | None = None,
    labels: Sequence[str] | None = None,
    keypoint_names: Sequence[str] | None = None,
    skeleton: Sequence[tuple[int, int]] | None = None,
    resize: str = "model",
    frame_order: ChannelOrder = "bgr",
) -> tuple[Parts, ModelSpec]:
    """Reads a model of ``load_model("….yaml", "….pkl")``. Its normalisations are folded, in place.

    Args: as ``maskrt.export.adapters.torchvision.adapt``, except
        model: with its weights.
        canvas: (height, width), multiples of the coarsest pyramid map's stride (32), or of the
            only map's (16).
        labels: class names by label id, from 0; there is no background among them. Default: COCO's
            for 80 classes.

    Raises:
        UnsupportedModelError: naming the key of the configuration that cannot be expressed.
        SpecError: the canvas does not suit the model.
        ValueError: names do not suit the model.
    """
    config = model.config
    fold_norms(model)
    backbone, rpn_head = _Backbone(model), _RPNHead(model)
    canvas_spec = _canvas(model, canvas, resize, frame_order)
    maps = backbone(torch.zeros(1, 3, canvas_spec.height, canvas_spec.width))

    classes = config.integer("MODEL.ROI_HEADS.NUM_CLASSES", 1)
    # C4's masks come from the features that its boxes come from
    shared = config.text("MODEL.ROI_HEADS.NAME") == "Res5ROIHeads"
    mask_spec = keypoint = mask_head = keypoint_head = None
    if config.flag("MODEL.MASK_ON"):
        pool = _pool(model, "ROI_BOX_HEAD" if shared else "ROI_MASK_HEAD", maps)
        mask_head = model.roi_heads.mask_branch()
        mask_spec = MaskSpec(
            pool,
            size_of(mask_head(roi_features(pool, maps))),
            paste="detectron2",
            class_agnostic=config.flag("MODEL.ROI_MASK_HEAD.CLS_AGNOSTIC_MASK"),
        )
    if config.flag("MODEL.KEYPOINT_ON"):
        pool = _pool(model, "ROI_KEYPOINT_HEAD", maps)
        keypoint_head = model.roi_heads.keypoint_branch()
        heatmaps = keypoint_head(roi_features(pool, maps))
        keypoint = keypoint_spec(pool, heatmaps, keypoint_names, skeleton, "detectron2")
    section = "MODEL.ROI_HEADS."
    spec = ModelSpec(
        labels=_labels(labels, classes, keypoint),
        canvas=canvas_spec,
        rpn=_rpn(model, canvas_spec, rpn_head(maps)[0]),
        box_pool=_pool(model, "ROI_BOX_HEAD", maps),
        detection=DetectionSpec(
            max_detections=config.integer("TEST.DETECTIONS_PER_IMAGE", 1),
            score_threshold=config.number(section + "SCORE_THRESH_TEST"),
            nms_threshold=config.number(section + "NMS_THRESH_TEST"),
            min_size=_above(0.0),
            delta_weights=_weights(config, "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS"),
            delta_clip=CLIP,
            background="last",
            class_agnostic=config.flag("MODEL.ROI_BOX_HEAD.CLS_AGNOSTIC_BBOX_REG"),
        ),
        mask=mask_spec,
        keypoint=keypoint,
        batch=batch or BatchSpec(),
    )
    box_head = model.roi_heads.box_branch()
    return Parts(backbone, rpn_head, box_head, mask_head, keypoint_head), spec


def _canvas(
    model: Detectron2RCNN, canvas: tuple[int, int], resize: str, frame_order: ChannelOrder
) -> CanvasSpec:
    if resize not in ("model", "fit"):
        raise ValueError(f"resize: found {resize!r}, expected 'model' or 'fit'")
    config = model.config
    as_model = resize == "model"
    if as_model and not config.integer("INPUT.MIN_SIZE_TEST"):
        raise UnsupportedModelError(
            f"{config.source}: INPUT.MIN_SIZE_TEST is 0, frames are not resized: export with "
            "resize='fit' (--resize fit) and the size of your frames as the canvas"
        )
    mean, std = (config.numbers(f"MODEL.PIXEL_{name}", 3) for name in ("MEAN", "STD"))
    order: ChannelOrder = "bgr" if config.text("INPUT.FORMAT") == "BGR" else "rgb"
    return CanvasSpec(
        height=int(canvas[0]),
        width=int(canvas[1]),
        stride=model.stride,
        min_size=config.integer("INPUT.MIN_SIZE_TEST") if as_model else None,
        max_size=config.integer("INPUT.MAX_SIZE_TEST", 1) if as_model else None,
        mean=(mean[0], mean[1], mean[2]),
        std=(std[0], std[1], std[2]),
        channel_order=order,
        frame_order=frame_order,
        resize="detectron2",
    )


def _rpn(model: Detectron2RCNN, canvas: CanvasSpec, objectness: list[Tensor]) -> RPNSpec:
    config = model.config
    levels = []
    top_k = config.integer("MODEL.RPN.PRE_NMS_TOPK_TEST", 1)
    for name, anchors, logits in zip(model.rpn_maps, model.anchors, objectness, strict=True):
        rows, columns = size_of(logits)
        stride = model.strides[name]
        levels.append(
            RPNLevelSpec(
                grid=(rows, columns),
                stride=(stride, stride),
                anchors=tuple((a, b, c, d) for a, b, c, d in anchors.tolist()),
                top_k=min(top_k, rows * columns * len(anchors)),
            )
        )
    candidates = sum(level.top_k for level in levels)
    return RPNSpec(
        levels=tuple(levels),
        num_rois=min(config.integer("MODEL.RPN.POST_NMS_TOPK_TEST", 1), candidates),
        nms_threshold=config.number("MODEL.RPN.NMS_THRESH"),
        min_size=_above(config.number("MODEL.PROPOSAL_GENERATOR.MIN_SIZE")),
        delta_weights=_weights(config, "MODEL.RPN.BBOX_REG_WEIGHTS"),
        delta_clip=CLIP,
    )


def _pool(model: Detectron2RCNN, head: str, maps: Sequence[Tensor]) -> RoIPoolSpec:
    config, section = model.config, f"MODEL.{head}."
    size = config.integer(section + "POOLER_RESOLUTION", 1)
    strides = [model.strides[name] for name in model.roi_maps]
    # detectron2 asks for maps without a gap between their levels
    if strides != [strides[0] << i for i in range(len(strides))]:
        raise UnsupportedModelError(
            f"{config.source}: MODEL.ROI_HEADS.IN_FEATURES is {list(model.roi_maps)}, maps with "
            f"strides {strides}; expected strides that double from map to map"
        )
    return RoIPoolSpec(
        output_size=(size, size),
        features=tuple(model.maps.index(name) for name in model.roi_maps),
        spatial_scales=tuple(1 / stride for stride in strides),
        sampling_ratio=config.integer(section + "POOLER_SAMPLING_RATIO"),
        aligned=config.text(section + "POOLER_TYPE") == "ROIAlignV2",
        min_level=round(math.log2(strides[0])),
        epsilon=0.0,
        log_epsilon=LEVEL_EPSILON,
    )


def _weights(config: Config, key: str) -> tuple[float, float, float, float]:
    x, y, w, h = config.numbers(key, 4)
    return x, y, w, h


def _above(size: float) -> float:
    """The least side of a box that is not empty: detectron2's must exceed the size."""
    return float(max(np.nextafter(np.float32(size), np.float32(np.inf)), np.finfo(np.float32).tiny))


def _labels(
    labels: Sequence[str] | None, classes: int, keypoint: KeypointSpec | None
) -> tuple[str, ...]:
    if labels is None:
        known = coco_things()
        if classes == len(known):
            return known
        if classes == 1 and keypoint and keypoint.names == coco_keypoints():
            return known[:1]  # person
        return tuple(f"class{i}" for i in range(classes))
    if len(labels) != classes:
        raise ValueError(
            f"found {len(labels)} labels, expected {classes} for the model's classes, in the order "
            "of the data set's thing_classes and without a background"
        )
    return tuple(labels)


def tool_versions() -> dict[str, str]:
    """Versions of the packages that this adapter's results depend on."""
    return {"torch": torch.__version__}
