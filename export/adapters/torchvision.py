"""torchvision's Faster, Mask and Keypoint R-CNN → dense parts and a ModelSpec.

Everything is read from the module object by its structure: backbone, feature maps, anchors, heads
and thresholds may all be custom as long as they keep torchvision's interfaces.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection.generalized_rcnn import GeneralizedRCNN
from torchvision.ops import MultiScaleRoIAlign

from maskrt.errors import UnsupportedModelError
from maskrt.export.adapters.coco_names import coco_labels
from maskrt.export.adapters.common import keypoint_spec, roi_features, size_of
from maskrt.export.graph import Parts
from maskrt.spec import (
    BatchSpec,
    CanvasSpec,
    ChannelOrder,
    DetectionSpec,
    MaskSpec,
    ModelSpec,
    RoIPoolSpec,
    RPNLevelSpec,
    RPNSpec,
)


class _Backbone(nn.Module):
    """Feature maps as a list, whatever the backbone returns."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> list[Tensor]:
        features = self.backbone(image)
        return [features] if isinstance(features, Tensor) else list(features.values())


class _Chain(nn.Module):
    """A head and its predictor."""

    def __init__(self, head: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.predictor = predictor

    def forward(self, features: Tensor) -> Any:
        return self.predictor(self.head(features))


@torch.no_grad()
def adapt(
    model: nn.Module,
    canvas: tuple[int, int],
    *,
    batch: BatchSpec | None = None,
    labels: Sequence[str] | None = None,
    keypoint_names: Sequence[str] | None = None,
    skeleton: Sequence[tuple[int, int]] | None = None,
    resize: str = "model",
    frame_order: ChannelOrder = "bgr",
) -> tuple[Parts, ModelSpec]:
    """Reads a torchvision detection model in eval mode. The model is not changed.

    Args:
        model: a ``GeneralizedRCNN``: FasterRCNN, MaskRCNN, KeypointRCNN or a subclass.
        canvas: (height, width), multiples of the model's stride.
        batch: frames per run; default: always one.
        labels: class names by label id, the background first; default: COCO's for 91 classes.
        keypoint_names: default: COCO's for 17 keypoints.
        skeleton: pairs of keypoints to be joined in drawings; default: COCO's for 17 keypoints.
        resize: "model": no larger than the transform's min_size and max_size; "fit": as the canvas
            allows.
        frame_order: channel order of the frames that will come.

    Raises:
        UnsupportedModelError: a part keeps none of torchvision's interfaces.
        SpecError: the canvas does not suit the model.
    """
    if not isinstance(model, GeneralizedRCNN):
        raise UnsupportedModelError(
            f"found a {type(model).__name__}, expected a torchvision detection model with RoI "
            "heads (FasterRCNN, MaskRCNN, KeypointRCNN or a subclass)"
        )
    heads = model.roi_heads
    backbone = _Backbone(model.backbone)
    canvas_spec = _canvas(model.transform, canvas, resize, frame_order)
    maps = _feature_maps(model.backbone, canvas_spec)
    features = list(maps.values())

    rpn = _rpn(model.rpn, canvas_spec, features)
    box_pool = _pool("box_roi_pool", heads.box_roi_pool, canvas_spec, maps)
    box_head = _Chain(heads.box_head, heads.box_predictor)
    logits, deltas = box_head(roi_features(box_pool, features))
    classes = logits.shape[1]
    mask_spec = keypoint = mask_head = keypoint_head = None
    if heads.has_mask():
        pool_spec = _pool("mask_roi_pool", heads.mask_roi_pool, canvas_spec, maps)
        mask_head = _Chain(heads.mask_head, heads.mask_predictor)
        masks = mask_head(roi_features(pool_spec, features))
        mask_spec = MaskSpec(pool_spec, size_of(masks), class_agnostic=masks.shape[1] == 1)
    if heads.has_keypoint():
        pool_spec = _pool("keypoint_roi_pool", heads.keypoint_roi_pool, canvas_spec, maps)
        keypoint_head = _Chain(heads.keypoint_head, heads.keypoint_predictor)
        points = keypoint_head(roi_features(pool_spec, features))
        keypoint = keypoint_spec(pool_spec, points, keypoint_names, skeleton, "torchvision")

    coder = heads.box_coder
    spec = ModelSpec(
        labels=_labels(labels, classes),
        canvas=canvas_spec,
        rpn=rpn,
        box_pool=box_pool,
        detection=DetectionSpec(
            max_detections=heads.detections_per_img,
            score_threshold=float(heads.score_thresh),
            nms_threshold=float(heads.nms_thresh),
            delta_weights=_weights(coder),
            delta_clip=float(coder.bbox_xform_clip),
            class_agnostic=deltas.shape[1] == 4,
        ),
        mask=mask_spec,
        keypoint=keypoint,
        batch=batch or BatchSpec(),
    )
    return Parts(backbone, model.rpn.head, box_head, mask_head, keypoint_head), spec


def _canvas(
    transform: Any, canvas: tuple[int, int], resize: str, frame_order: ChannelOrder
) -> CanvasSpec:
    if resize not in ("model", "fit"):
        raise ValueError(f"resize: found {resize!r}, expected 'model' or 'fit'")
    if getattr(transform, "fixed_size", None) is not None:
        raise UnsupportedModelError(
            "the model's transform has a fixed_size, which does not keep the aspect ratio: "
            "expected min_size and max_size"
        )
    as_model = resize == "model"
    sizes = transform.min_size
    sizes = sizes if isinstance(sizes, (tuple, list)) else (sizes,)
    return CanvasSpec(
        height=int(canvas[0]),
        width=int(canvas[1]),
        stride=int(transform.size_divisible),
        min_size=int(sizes[-1]) if as_model else None,  # the last one serves inference
        max_size=int(transform.max_size) if as_model else None,
        mean=_times255(transform.image_mean),
        std=_times255(transform.image_std),
        channel_order="rgb",
        frame_order=frame_order,
    )


def _times255(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) != 3:
        raise UnsupportedModelError(f"found {len(values)} input channels, expected 3")
    first, second, third = (float(v) * 255.0 for v in values)
    return first, second, third


def _feature_maps(backbone: nn.Module, canvas: CanvasSpec) -> Mapping[str, Tensor]:
    features = backbone(torch.zeros(1, 3, canvas.height, canvas.width))
    return {"0": features} if isinstance(features, Tensor) else features


def _weights(coder: Any) -> tuple[float, float, float, float]:
    x, y, w, h = map(float, coder.weights)
    return x, y, w, h


def _rpn(rpn: Any, canvas: CanvasSpec, features: list[Tensor]) -> RPNSpec:
    cells = getattr(rpn.anchor_generator, "cell_anchors", None)
    if cells is None:
        raise UnsupportedModelError(
            f"the anchor generator, a {type(rpn.anchor_generator).__name__}, has no cell_anchors: "
            "expected torchvision's AnchorGenerator or a subclass"
        )
    objectness, _ = rpn.head(features)
    if len(cells) != len(features) or len(objectness) != len(features):
        raise UnsupportedModelError(
            f"found {len(features)} feature maps, anchors for {len(cells)} and RPN outputs for "
            f"{len(objectness)}: expected the same number"
        )
    levels = []
    for cell, logits in zip(cells, objectness, strict=True):
        rows, columns = size_of(logits)
        if logits.shape[1] != len(cell):
            raise UnsupportedModelError(
                f"found {len(cell)} anchors in a cell and {logits.shape[1]} objectness channels: "
                "expected the same number"
            )
        anchors = tuple((a, b, c, d) for a, b, c, d in cell.float().tolist())
        levels.append(
            RPNLevelSpec(
                grid=(rows, columns),
                stride=(canvas.height // rows, canvas.width // columns),
                anchors=anchors,
                top_k=min(int(rpn._pre_nms_top_n["testing"]), rows * columns * len(cell)),
            )
        )
    candidates = sum(level.top_k for level in levels)
    return RPNSpec(
        levels=tuple(levels),
        num_rois=min(int(rpn._post_nms_top_n["testing"]), candidates),
        nms_threshold=float(rpn.nms_thresh),
        score_threshold=float(rpn.score_thresh),
        min_size=float(rpn.min_size),
        delta_weights=_weights(rpn.box_coder),
        delta_clip=float(rpn.box_coder.bbox_xform_clip),
    )


def _pool(name: str, pool: Any, canvas: CanvasSpec, maps: Mapping[str, Tensor]) -> RoIPoolSpec:
    if not isinstance(pool, MultiScaleRoIAlign):
        raise UnsupportedModelError(
            f"{name} is a {type(pool).__name__}: expected torchvision's MultiScaleRoIAlign"
        )
    chosen = [i for i, key in enumerate(maps) if key in pool.featmap_names]
    if not chosen:
        raise UnsupportedModelError(
            f"{name} reads the feature maps {list(pool.featmap_names)}, "
            f"but the backbone gives {list(maps)}"
        )
    features = list(maps.values())
    scales = [_scale(features[i], canvas) for i in chosen]
    lowest, highest = (round(-math.log2(scale)) for scale in (scales[0], scales[-1]))
    # torchvision picks map number (level - lowest): maps may share a stride (MobileNet's do), and
    # those behind are then never read
    reached = highest - lowest + 1
    if not 1 <= reached <= len(chosen):
        raise UnsupportedModelError(
            f"{name} reads {len(chosen)} feature maps with strides {[1 / s for s in scales]}, and "
            f"looks for {reached} levels: expected a map for each level, fine to coarse"
        )
    rows, columns = pool.output_size
    return RoIPoolSpec(
        output_size=(int(rows), int(columns)),
        features=tuple(chosen[:reached]),
        spatial_scales=tuple(scales[:reached]),
        sampling_ratio=max(int(pool.sampling_ratio), 0),
        aligned=False,
        min_level=lowest,
        canonical_size=float(pool.canonical_scale),
        canonical_level=int(pool.canonical_level),
    )


def _scale(feature: Tensor, canvas: CanvasSpec) -> float:
    """Cells per canvas pixel, rounded to a power of two (as torchvision's poolers infer it)."""
    rows, columns = size_of(feature)
    by_rows = 2.0 ** round(math.log2(rows / canvas.height))
    by_columns = 2.0 ** round(math.log2(columns / canvas.width))
    if by_rows != by_columns:
        raise UnsupportedModelError(
            f"found a feature map of {rows}x{columns} for a canvas of "
            f"{canvas.height}x{canvas.width}: expected the same scale in both directions"
        )
    return by_rows


def _labels(labels: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    if labels is None:
        known = coco_labels()
        if classes == len(known):
            return known
        return ("__background__", *(f"class{i}" for i in range(1, classes)))
    if len(labels) == classes - 1:
        labels = ["__background__", *labels]
    if len(labels) != classes:
        raise ValueError(
            f"found {len(labels)} labels, expected {classes - 1} for the model's classes "
            "(or one more, the background first)"
        )
    return tuple(labels)


def tool_versions() -> dict[str, str]:
    """Versions of the packages that this adapter's results depend on."""
    return {"torch": torch.__version__, "torchvision": torchvision.__version__}
