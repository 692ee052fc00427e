"""Brings predicted masks into the frame, by torchvision's or by detectron2's rule.

Both rules sample the ``m x m`` mask bilinearly, with zeros around it; they differ in where a
pixel's centre falls between the cells. torchvision pads the mask by one cell, grows the box
accordingly and truncates it to whole pixels (``roi_heads.paste_masks_in_image``); detectron2 keeps
the box as it is (``layers/mask_ops.py``, ``_do_paste_mask``). The masks differ by up to a pixel at
the edges, so the rule must be that of the framework that trained the weights.

A bilinear sample is separable: the mask is stretched along x, which is cheap as it has few rows,
then along y, row by row. That is exact for any box, touches only pixels inside the frame, and takes
less time than ``cv2.warpAffine``, which also rounds positions to 1/32 of a cell. (As two matrix
products it would go through the BLAS library, whose threads wait for each other, many times as long
as the work takes, when another program or ONNX Runtime keeps the cores busy.)

The library of CPU operators does the same several times as fast, and is used where it is there.
Both compute in float32 and in the same order of operations, so that the masks are the same to the
pixel on a machine without it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskrt.errors import MaskrtError
from maskrt.spec import Convention

_FAR = 2.0**30  # beyond any frame; positions there cannot overflow


class MaskCrop(NamedTuple):
    """The region of the frame that a mask can reach; outside of it the mask is zero."""

    x: int
    """Left column in the frame."""
    y: int
    """Top row in the frame."""
    mask: NDArray[np.bool_]
    """``(h, w)``; ``(0, 0)`` where the box lies outside the frame or has no area."""


class ProbabilityCrop(NamedTuple):
    """As ``MaskCrop``, before the threshold."""

    x: int
    y: int
    probability: NDArray[np.float32]
    """``(h, w)``, from 0 to 1."""


class _Axis(NamedTuple):
    """One axis of all boxes; pixel ``p`` samples cell ``(p + 0.5 - origin) * scale + shift``.

    Cells are counted in the mask with one cell of zeros on each side: 0 and cells + 1 are those.
    """

    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    origin: NDArray[np.float32]
    scale: NDArray[np.float32]
    shift: np.float32


def paste_probabilities(
    masks: NDArray[np.float32],
    boxes: NDArray[np.float32],
    frame_size: tuple[int, int],
    convention: Convention,
) -> list[ProbabilityCrop]:
    """The masks' probability at every pixel that they reach.

    Args:
        masks: ``(n, rows, columns)``, probabilities.
        boxes: ``(n, 4)``, xyxy in frame pixels; boxes that are not finite give empty crops.
        frame_size: ``(height, width)``.
        convention: whose rule to follow. Both are defined for square masks; for others,
            torchvision's rule grows the box by the mask's width, as torchvision's function does.
    """
    rows, columns = masks.shape[1:]
    height, width = frame_size
    usable: NDArray[np.bool_] = np.all(np.isfinite(boxes), axis=1)
    boxes = np.clip(np.where(usable[:, None], boxes, 0), -_FAR, _FAR).astype(np.float32)
    low, high = boxes[:, :2], boxes[:, 2:]
    if convention == "torchvision":
        low, high = _grown(low, high, (columns + 2) / columns)
        xs = _axis_torchvision(low[:, 0], high[:, 0], columns, width)
        ys = _axis_torchvision(low[:, 1], high[:, 1], rows, height)
    else:
        xs = _axis_detectron2(low[:, 0], high[:, 0], columns, width)
        ys = _axis_detectron2(low[:, 1], high[:, 1], rows, height)
    crops = []
    for i, mask in enumerate(masks):
        if not usable[i] or xs.start[i] >= xs.stop[i] or ys.start[i] >= ys.stop[i]:
            crops.append(ProbabilityCrop(0, 0, np.zeros((0, 0), np.float32)))
            continue
        padded = np.zeros((columns + 2, rows + 2), np.float32)
        padded[1:-1, 1:-1] = mask.T
        wide = _stretched(padded, *_cells(xs, i, columns))
        values = _stretched(np.ascontiguousarray(wide.T), *_cells(ys, i, rows))
        crops.append(ProbabilityCrop(int(xs.start[i]), int(ys.start[i]), values))
    return crops


def paste_crops(
    masks: NDArray[np.float32],
    boxes: NDArray[np.float32],
    frame_size: tuple[int, int],
    convention: Convention,
    threshold: float,
) -> list[MaskCrop]:
    """The pixels of each object; arguments as for ``paste_probabilities``.

    A pixel belongs to the object where its probability is above the threshold (detectron2: at the
    threshold or above). The crops may be views of one array.
    """
    native = _native()
    if native is not None:
        # one thread: it takes less time than waking others, which have a detector to run
        how = {"convention": convention, "threshold": threshold, "threads": 1}
        return [MaskCrop(*crop) for crop in native(masks, boxes, frame_size, **how)]
    on = np.greater if convention == "torchvision" else np.greater_equal
    return [
        MaskCrop(x, y, on(probability, np.float32(threshold)))
        for x, y, probability in paste_probabilities(masks, boxes, frame_size, convention)
    ]


@functools.cache
def _native() -> Callable[..., list[Any]] | None:
    """The native paste; None where the library is missing, which is looked for once."""
    from maskrt.plugins import library, ops

    try:
        library.library()
    except MaskrtError:
        return None
    return ops.paste_crops


def to_dense(crops: list[MaskCrop], frame_size: tuple[int, int]) -> NDArray[np.bool_]:
    """``(n, H, W)`` bool; takes n * H * W bytes."""
    dense = np.zeros((len(crops), *frame_size), np.bool_)
    for whole, (x, y, mask) in zip(dense, crops, strict=True):
        whole[y : y + mask.shape[0], x : x + mask.shape[1]] = mask
    return dense


def _grown(
    low: NDArray[np.float32], high: NDArray[np.float32], factor: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    # in float32 and in torchvision's order: the truncation that follows must fall on the same side
    half = (high - low) * np.float32(0.5) * np.float32(factor)
    centre = (high + low) * np.float32(0.5)
    return centre - half, centre + half


def _axis_torchvision(
    low: NDArray[np.float32], high: NDArray[np.float32], cells: int, limit: int
) -> _Axis:
    first, last = np.trunc(low), np.trunc(high)
    size = last - first + np.float32(1)
    scale = np.float32(cells + 2) / np.maximum(size, np.float32(1))
    start, stop = np.clip(first, 0, limit), np.clip(last + np.float32(1), 0, limit)
    # the padding is part of what is stretched over the box, hence no shift but to cells' centres
    return _Axis(start.astype(np.int64), stop.astype(np.int64), first, scale, np.float32(-0.5))


def _axis_detectron2(
    low: NDArray[np.float32], high: NDArray[np.float32], cells: int, limit: int
) -> _Axis:
    extent, count, half = high - low, np.float32(cells), np.float32(0.5)
    size = np.where(extent > 0, extent, np.float32(1))
    reach = half * (size / count) + half  # half a cell beyond the box, to the pixels' centres there
    start = np.clip(np.floor(low - reach), 0, limit)
    stop = np.where(extent > 0, np.clip(np.ceil(high + reach), 0, limit), 0)
    return _Axis(start.astype(np.int64), stop.astype(np.int64), low, count / size, half)


def _cells(axis: _Axis, i: int, cells: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """For each pixel the first of the two padded cells between which it falls, and how far on."""
    pixels = np.arange(axis.start[i], axis.stop[i], dtype=np.float32) + np.float32(0.5)
    positions = (pixels - axis.origin[i]) * axis.scale[i] + axis.shift
    inside = np.clip(positions, np.float32(0), np.float32(cells + 1))
    first = np.minimum(inside.astype(np.intp), cells)
    return first, inside - first.astype(np.float32)


def _stretched(
    rows: NDArray[np.float32], first: NDArray[np.intp], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Interpolates between the rows."""
    result: NDArray[np.float32] = np.diff(rows, axis=0).take(first, axis=0)
    result *= share[:, None]
    result += rows.take(first, axis=0)
    return result
