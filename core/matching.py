"""Pairs of boxes, or of candidates, of two runs whose order differs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.intp]
MIN_IOU = 0.5
"""Boxes that overlap less are not the same thing."""
_TWINS = 1.0  # pixels


def match_boxes(
    one: NDArray[np.float32],
    two: NDArray[np.float32],
    labels: tuple[NDArray[np.int32], NDArray[np.int32]] | None = None,
) -> tuple[Indices, Indices]:
    """Boxes that are each other's nearest, with an IoU of ``MIN_IOU`` at least.

    Args:
        one: float32 [n, 4], xyxy; NaN has no partner.
        two: float32 [m, 4].
        labels: int32 [n] and [m], which have to be equal; None: no matter.

    Returns:
        Positions in one and in two, pair by pair, in the order of one.
    """
    if not len(one) or not len(two):
        return np.empty(0, np.intp), np.empty(0, np.intp)
    # equal boxes keep their order
    distance = 1e-6 * np.abs(np.arange(len(one))[:, None] - np.arange(len(two)))
    with np.errstate(invalid="ignore"):
        distance = distance + np.abs(one[:, None] - two[None]).max(-1)
    possible = iou(one, two) >= MIN_IOU
    if labels is not None:
        possible &= labels[0][:, None] == labels[1][None]
    distance = np.where(possible & np.isfinite(distance), distance, np.inf)
    rows = np.arange(len(one))
    partner = np.full(len(one), -1)
    while True:
        nearest, back = distance.argmin(1), distance.argmin(0)
        paired = (back[nearest] == rows) & np.isfinite(distance[rows, nearest])
        if not paired.any():
            break
        partner[paired] = nearest[paired]
        distance[paired] = np.inf
        distance[:, nearest[paired]] = np.inf
        # a further round is for boxes that lie on top of each other, not for what is left over
        distance[distance > _TWINS] = np.inf
    found = partner >= 0
    return rows[found], partner[found]


def iou(one: NDArray[np.float32], two: NDArray[np.float32]) -> NDArray[np.float32]:
    """IoU of boxes [n, 4] and [m, 4], as [n, m]; NaN and empty boxes give 0, or NaN."""
    low = np.maximum(one[:, None, :2], two[None, :, :2])
    high = np.minimum(one[:, None, 2:], two[None, :, 2:])
    sides = np.clip(high - low, 0, None)
    shared = sides[..., 0] * sides[..., 1]
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (one, two)]
    union = areas[0][:, None] + areas[1][None] - shared
    result: NDArray[np.float32] = shared / np.where(union > 0, union, 1)
    return result


def match_candidates(
    one: NDArray[np.int32], two: NDArray[np.int32], top_k: Sequence[int]
) -> tuple[Indices, Indices]:
    """Candidates of the same anchor: level by level, whatever their order.

    Args:
        one: int32 [K], positions of anchors in their level; levels one after the other.
        two: int32 [K].
        top_k: candidates of each level.

    Returns:
        Positions in one and in two, pair by pair.
    """
    pairs: list[tuple[Indices, Indices]] = []
    first = 0
    for count in top_k:
        level = slice(first, first + count)
        _, left, right = np.intersect1d(
            one[level], two[level], assume_unique=False, return_indices=True
        )
        pairs.append((left + first, right + first))
        first += count
    return np.concatenate([p[0] for p in pairs]), np.concatenate([p[1] for p in pairs])
