"""Two small trained detectors and the procedural pictures that they were trained on.

`mask_rcnn` and `keypoint_rcnn` build the untrained torchvision modules that fit the files in
`weights/`; `image`, `clip`, `dataset` and `write` make pictures and labels. Nothing is imported
before it is asked for, so the generators work where torch is not installed.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .data import Instance, clip, coco_dict, dataset, image, write
    from .model import keypoint_rcnn, mask_rcnn
    from .scene import CLASSES, KEYPOINT_CLASSES, KEYPOINT_NAMES, SKELETON

__all__ = [
    "CLASSES",
    "KEYPOINT_CLASSES",
    "KEYPOINT_NAMES",
    "SKELETON",
    "WEIGHTS",
    "Instance",
    "clip",
    "coco_dict",
    "dataset",
    "image",
    "keypoint_rcnn",
    "mask_rcnn",
    "write",
]

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of `mask_rcnn.pth` and `keypoint_rcnn.pth`: fp16 state dicts."""

_HOME = {
    **dict.fromkeys(("Instance", "clip", "coco_dict", "dataset", "image", "write"), "data"),
    **dict.fromkeys(("keypoint_rcnn", "mask_rcnn"), "model"),
    **dict.fromkeys(("CLASSES", "KEYPOINT_CLASSES", "KEYPOINT_NAMES", "SKELETON"), "scene"),
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f".{_HOME[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
