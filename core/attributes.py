"""The attributes of the canonical operators and of their plugins, all of them, from a ModelSpec."""

from __future__ import annotations

from maskrt.spec import ModelSpec, RoIPoolSpec

AttributeValue = int | float | str | list[int] | list[float]
Attributes = dict[str, AttributeValue]

OPERATORS = {
    "letterbox": "Letterbox",
    "proposals": "Proposals",
    "box_pool": "MultilevelRoIAlign",
    "detection_nms": "DetectionNMS",
    "mask_pool": "MultilevelRoIAlign",
    "mask_select": "MaskSelect",
    "keypoint_pool": "MultilevelRoIAlign",
    "keypoint_decode": "KeypointDecode",
}
"""The operator of each role in a model."""
IMPLIED: dict[str, Attributes] = {
    "Letterbox": {"resize": "torchvision"},
    "KeypointDecode": {"decode": "torchvision"},
}
"""By operator: attributes that nodes of older files lack, and what is meant then."""


def operator_attributes(spec: ModelSpec) -> dict[str, Attributes]:
    """What the nodes of a canonical graph carry, by role (``OPERATORS``); only roles of the model.

    Names are those of the arguments in ``maskrt.export.ops``, in their order. Lists are flat.
    Booleans are Python's, which are written as 0 and 1.
    """
    roles = {
        "letterbox": _letterbox(spec),
        "proposals": _proposals(spec),
        "box_pool": pool_attributes(spec.box_pool),
        "detection_nms": _detection_nms(spec),
    }
    if spec.mask:
        roles["mask_pool"] = pool_attributes(spec.mask.pool)
        roles["mask_select"] = {}
    if spec.keypoint:
        roles["keypoint_pool"] = pool_attributes(spec.keypoint.pool)
        roles["keypoint_decode"] = {"decode": spec.keypoint.decode}
    return roles


def _letterbox(spec: ModelSpec) -> Attributes:
    canvas = spec.canvas
    return {
        "canvas": [canvas.height, canvas.width],
        "min_size": canvas.min_size or 0,
        "max_size": canvas.max_size or 0,
        "mean": list(canvas.mean),
        "std": list(canvas.std),
        "swap_channels": canvas.channel_order != canvas.frame_order,
        "resize": canvas.resize,
    }


def _proposals(spec: ModelSpec) -> Attributes:
    rpn = spec.rpn
    return {
        "anchors": [side for level in rpn.levels for box in level.anchors for side in box],
        "anchors_per_cell": [len(level.anchors) for level in rpn.levels],
        "grid_widths": [level.grid[1] for level in rpn.levels],
        "strides": [side for level in rpn.levels for side in level.stride],
        "top_k": [level.top_k for level in rpn.levels],
        "num_rois": rpn.num_rois,
        "nms_threshold": rpn.nms_threshold,
        "score_threshold": rpn.score_threshold,
        "min_size": rpn.min_size,
        "delta_weights": list(rpn.delta_weights),
        "delta_clip": rpn.delta_clip,
    }


def pool_attributes(pool: RoIPoolSpec) -> Attributes:
    """Of MultilevelRoIAlign."""
    return {
        "output_height": pool.output_size[0],
        "output_width": pool.output_size[1],
        "spatial_scales": list(pool.spatial_scales),
        "sampling_ratio": pool.sampling_ratio,
        "coordinate_transformation_mode": "half_pixel" if pool.aligned else "output_half_pixel",
        "min_level": pool.min_level,
        "canonical_size": pool.canonical_size,
        "canonical_level": pool.canonical_level,
        "epsilon": pool.epsilon,
        "log_epsilon": pool.log_epsilon,
    }


def _detection_nms(spec: ModelSpec) -> Attributes:
    detection = spec.detection
    return {
        "max_detections": detection.max_detections,
        "min_size": detection.min_size,
        "delta_weights": list(detection.delta_weights),
        "delta_clip": detection.delta_clip,
        "background_first": detection.background == "first",
    }
