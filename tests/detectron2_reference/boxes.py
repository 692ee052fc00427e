"""Boxes, (n, 4) as x1, y1, x2, y2 in pixels; a pixel (i, j) covers [j, j + 1] x [i, i + 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torchvision.ops import nms

# no box grows to more than 1000 px from 16 px by one step
MAX_LOG_SCALE = math.log(1000.0 / 16)


def clip(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes cut at an image of ``size`` (height, width). Follows ``Boxes.clip``."""
    height, width = size
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack(
        [x1.clamp(0, width), y1.clamp(0, height), x2.clamp(0, width), y2.clamp(0, height)], dim=-1
    )


def nonempty(boxes: Tensor, threshold: float = 0.0) -> Tensor:
    """(n,) bool: width and height are both larger than the threshold. ``Boxes.nonempty``."""
    widths = boxes[:, 2] - boxes[:, 0]
    heights = boxes[:, 3] - boxes[:, 1]
    return (widths > threshold) & (heights > threshold)


def decode(deltas: Tensor, boxes: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Boxes moved and scaled by predicted deltas. Follows ``Box2BoxTransform.apply_deltas``.

    ``deltas`` (n, k * 4) are dx, dy, dw, dh for each of k classes, to be divided by ``weights``;
    ``boxes`` are (n, 4). Returns (n, k, 4): the centre moves by dx * width and dy * height, the
    width is multiplied by exp(dw), at most 1000 / 16 times.
    """
    count, columns = deltas.shape
    deltas = deltas.reshape(count, columns // 4, 4)
    widths = (boxes[:, 2] - boxes[:, 0])[:, None]
    heights = (boxes[:, 3] - boxes[:, 1])[:, None]
    centres_x = boxes[:, 0, None] + 0.5 * widths
    centres_y = boxes[:, 1, None] + 0.5 * heights

    dx = deltas[..., 0] / weights[0]
    dy = deltas[..., 1] / weights[1]
    dw = (deltas[..., 2] / weights[2]).clamp(max=MAX_LOG_SCALE)
    dh = (deltas[..., 3] / weights[3]).clamp(max=MAX_LOG_SCALE)

    x = dx * widths + centres_x
    y = dy * heights + centres_y
    w = torch.exp(dw) * widths
    h = torch.exp(dh) * heights
    return torch.stack([x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h], dim=-1)


def grouped_nms(boxes: Tensor, scores: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Indices that are kept, by descending score; boxes of different groups do not compete.

    A box falls to a better one where their IoU is larger than the threshold. Follows
    ``batched_nms``, by a loop over groups rather than by moving them apart.
    """
    kept = []
    for group in groups.unique():
        members = torch.nonzero(groups == group)[:, 0]
        kept.append(members[nms(boxes[members], scores[members], threshold)])
    if not kept:
        return torch.zeros(0, dtype=torch.int64)
    indices = torch.cat(kept)
    return indices[scores[indices].argsort(descending=True, stable=True)]
