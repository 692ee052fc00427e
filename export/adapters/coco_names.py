"""Names of COCO's classes and keypoints, as torchvision's weights carry them."""

from __future__ import annotations

from torchvision.models.detection import (
    FasterRCNN_ResNet50_FPN_Weights,
    KeypointRCNN_ResNet50_FPN_Weights,
)


def coco_labels() -> tuple[str, ...]:
    """91 names, the background first."""
    return tuple(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"])


def coco_things() -> tuple[str, ...]:
    """80 names: those that are annotated, without the background (detectron2's label ids)."""
    return tuple(name for name in coco_labels()[1:] if name != "N/A")


def coco_keypoints() -> tuple[str, ...]:
    """17 names."""
    return tuple(KeypointRCNN_ResNet50_FPN_Weights.COCO_V1.meta["keypoint_names"])


def coco_skeleton() -> tuple[tuple[int, int], ...]:
    """The person's limbs as COCO's annotations join them, positions from 0."""
    limbs = (
        "15-13 13-11 16-14 14-12 11-12 5-11 6-12 5-6 5-7 6-8 7-9 8-10 1-2 0-1 0-2 1-3 2-4 3-5 4-6"
    )
    pairs = (limb.split("-") for limb in limbs.split())
    return tuple((int(a), int(b)) for a, b in pairs)
