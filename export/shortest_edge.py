"""detectron2's resize in torch ops: ResizeShortestEdge, with Pillow's arithmetic for the pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WEIGHT_BITS = 22


def content_size(
    frame: tuple[int, int], canvas: tuple[int, int], min_size: int, max_size: int
) -> tuple[int, int]:
    """The size of a resized frame on the canvas, rounded to the nearest.

    ``ResizeShortestEdge.get_output_shape`` (detectron2, ``data/transforms/augmentation_impl.py``),
    step by step, so that halves round as there. Where what comes out does not fit the canvas, or
    there is no bound, it is the frame's size times the ratio that fits.

    Args:
        frame: (height, width).
        canvas: (height, width); bounds the result.
        min_size: of the short side; 0: none.
        max_size: of the long side; 0: none.
    """
    height, width = frame
    sides = [0.0, 0.0]
    if min_size:
        ratio = min_size / min(frame)
        sides = [min_size, ratio * width] if height < width else [ratio * height, min_size]
    elif max_size:
        sides = [max_size / max(frame) * side for side in frame]
    if max_size and max(sides) > max_size:
        ratio = max_size / max(sides)
        sides = [side * ratio for side in sides]
    fits = all(math.floor(s + 0.5) <= limit for s, limit in zip(sides, canvas, strict=True))
    if not fits or not (min_size or max_size):
        ratio = min(canvas[0] / height, canvas[1] / width)
        sides = [ratio * side for side in frame]
    rows, columns = (
        min(max(math.floor(side + 0.5), 1), limit)
        for side, limit in zip(sides, canvas, strict=True)
    )
    return rows, columns


def resize(frames: Tensor, size: tuple[int, int]) -> Tensor:
    """As Pillow's ``Image.resize(BILINEAR)`` of 8-bit images, to the bit.

    Along x, rounded to bytes, then along y, as all its versions before 13 (since then it begins
    with y where the height shrinks by more than twice as many pixels as the width).

    Args:
        frames: uint8 [B, H, W, C].
        size: (h, w).

    Returns:
        uint8 [B, h, w, C].
    """
    return _along(_along(frames, 2, size[1]), 1, size[0])


def _along(frames: Tensor, dim: int, side: int) -> Tensor:
    """Weighted sums along one dimension, tap by tap, in fixed point."""
    pixels, weights = _taps(frames.shape[dim], side)
    shape = list(frames.shape)
    shape[dim] = side
    sums = torch.full(shape, 1 << (WEIGHT_BITS - 1), dtype=torch.int32)
    column = [-1 if i == dim else 1 for i in range(frames.ndim)]
    for at, weight in zip(pixels.unbind(1), weights.unbind(1), strict=True):
        sums += frames.index_select(dim, at).int() * weight.reshape(column)
    return (sums >> WEIGHT_BITS).clamp(max=255).byte()


def _taps(frame: int, side: int) -> tuple[Tensor, Tensor]:
    """Where along an axis each result reads, int64 [side, taps], and the weights, int32.

    ``precompute_coeffs`` and ``normalize_coeffs_8bpc`` of Pillow's ``Resample.c``: a triangle,
    wider where the frame is reduced, in float64 and in that order of operations.
    """
    scale = frame / side
    support = max(scale, 1.0)
    center = (torch.arange(side, dtype=torch.float64) + 0.5) * scale
    first = (center - support + 0.5).long().clamp(min=0)
    end = (center + support + 0.5).long().clamp(max=frame)
    pixels = first[:, None] + torch.arange(int((end - first).max()))
    distance = (pixels - center[:, None] + 0.5).mul(1.0 / support).abs()
    triangle = (1.0 - distance).clamp(min=0.0) * (pixels < end[:, None])
    # a running sum adds one by one, as Pillow does; sum() adds in another order
    share = triangle / triangle.cumsum(1)[:, -1:]
    weights = (share * (1 << WEIGHT_BITS) + 0.5).int()
    return pixels.clamp(max=frame - 1), weights
