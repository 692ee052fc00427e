"""detectron2's inference restated in plain PyTorch: what an imported detector is judged by.

Written from detectron2's documented semantics (``detectron2/modeling``, v0.6), one file for each of
its parts, without detectron2 itself. Clarity beats speed: images, levels and classes are loops.

``configs`` holds the model zoo's configurations, ``weights`` draws weights worth testing with.
"""

from __future__ import annotations

from .config import complete
from .model import Reference
from .preprocess import picture, preprocess
from .weights import random_weights, save_pth, save_zoo_pkl

__all__ = [
    "Reference",
    "complete",
    "picture",
    "preprocess",
    "random_weights",
    "save_pth",
    "save_zoo_pkl",
]
