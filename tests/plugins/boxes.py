"""What the tests of the operators with NMS share: boxes, and how close a decision was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.ops import box_iou

from maskrt.plugins import backend


def rounding(coordinates: NDArray[np.float32]) -> float:
    """How far the coordinates of two implementations may be apart: they round each number a few
    times, by 6e-8 of it at most, and their exponentials differ in the last bit."""
    return 4e-7 * float(np.abs(coordinates).max(initial=1.0))


def distance(values: NDArray[np.float32], threshold: float) -> float:
    """Of the nearest value from the threshold; NaN and infinities are never near."""
    gaps = np.abs(values[np.isfinite(values)].astype(np.float64) - threshold)
    return float(gaps.min(initial=np.inf))


def overlap_distance(boxes: NDArray[np.float32], groups: NDArray[Any], threshold: float) -> float:
    """Of the nearest IoU of two boxes [N, 4] of the same group [N] from the threshold."""
    nearest = np.inf
    for group in np.unique(groups):
        members = torch.from_numpy(boxes[groups == group]).double()
        pairs = np.triu_indices(len(members), 1)
        nearest = min(nearest, distance(box_iou(members, members).numpy()[pairs], threshold))
    return nearest


def lattice_boxes(rng: np.random.Generator, count: int, side: int) -> NDArray[np.float32]:
    """Boxes [count, 4] whose coordinates are multiples of 4 from 0 to about ``side``, and whose
    sides are powers of two; some of them the same."""
    corners = rng.integers(0, max(1, side // 4), (count, 2)) * 4
    sides = 2 ** rng.integers(2, 7, (count, 2))
    boxes = np.concatenate([corners, corners + sides], 1).astype(np.float32)
    return boxes[rng.integers(0, count, count)] if rng.integers(3) == 0 else boxes


def same_as_on_the_cpu(results: tuple[NDArray[Any], ...], run: Callable[[], Any]) -> None:
    """Holds the target's results against the CPU library's, to the bit."""
    with backend.use(backend.Cpu()):
        expected = run()
    for result, one in zip(results, expected, strict=True):
        assert result.dtype == one.dtype
        assert result.tobytes() == one.tobytes()
