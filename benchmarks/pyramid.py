"""What the RoIAlign benchmarks pool from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CANVAS = (800, 1344)
STRIDES = (4, 8, 16, 32)
CHANNELS = 256
Floats = NDArray[np.float32]


def random_rois(count: int, rng: np.random.Generator) -> Floats:
    """[count, 4], xyxy, clipped to the canvas."""
    side, ratio = 28 * 16 ** rng.random(count), 2 ** rng.uniform(-0.5, 0.5, count)
    half = np.stack([side * ratio, side / ratio], 1) / 2
    center = rng.random((count, 2)) * CANVAS[::-1]
    limit = np.array(CANVAS[::-1])
    corners = [np.clip(center - half, 0, limit), np.clip(center + half, 0, limit)]
    rois: Floats = np.concatenate(corners, 1).astype(np.float32)
    return rois
