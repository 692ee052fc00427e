"""Proposals on NumPy arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskrt.plugins import backend
from maskrt.plugins.ops.arguments import array, count, floats

MAX_LEVELS = 8
MAX_ANCHORS = 128


class ProposalsLevel(ctypes.Structure):
    """``MaskrtProposalsLevel`` of ``proposals/params.h``, where the fields are explained."""

    _fields_ = (
        ("first_anchor", ctypes.c_int32),
        ("anchors_per_cell", ctypes.c_int32),
        ("grid_width", ctypes.c_int32),
        ("stride_y", ctypes.c_int32),
        ("stride_x", ctypes.c_int32),
        ("top_k", ctypes.c_int32),
    )


class ProposalsParams(ctypes.Structure):
    """``MaskrtProposalsParams`` of ``proposals/params.h``, where the fields are explained."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("objectness", ctypes.c_void_p),
        ("deltas", ctypes.c_void_p),
        ("indices", ctypes.c_void_p),
        ("content", ctypes.c_void_p),
        ("rois", ctypes.c_void_p),
        ("count", ctypes.c_void_p),
        ("batch", ctypes.c_int32),
        ("levels", ctypes.c_int32),
        ("num_rois", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("nms_threshold", ctypes.c_float),
        ("score_threshold", ctypes.c_float),
        ("min_size", ctypes.c_float),
        ("delta_clip", ctypes.c_float),
        ("delta_weights", ctypes.c_float * 4),
        ("level", ProposalsLevel * MAX_LEVELS),
        ("anchors", ctypes.c_float * 4 * MAX_ANCHORS),
    )


def proposals(
    objectness: NDArray[np.float32],
    deltas: NDArray[np.float32],
    indices: NDArray[np.int32],
    content: NDArray[np.float32],
    *,
    anchors: Sequence[float],
    anchors_per_cell: Sequence[int],
    grid_widths: Sequence[int],
    strides: Sequence[int],
    top_k: Sequence[int],
    num_rois: int,
    nms_threshold: float,
    score_threshold: float = 0.0,
    min_size: float,
    delta_weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0),
    delta_clip: float,
    threads: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Decodes the best candidates of each level, NMS per level, keeps the best over all levels.

    As torchvision's ``RegionProposalNetwork.filter_proposals``. B frames, K candidates of all
    levels, R RoIs. Among equal scores the lower candidate comes first.

    Args:
        objectness: logits float32 [B, K]: the levels' top-k, one after the other.
        deltas: float32 [B, K, 4], (dx, dy, dw, dh).
        indices: int32 [B, K]: position ``(row * grid_width + column) * anchors + anchor`` in the
            level.
        content: float32 [B, 2], height and width; boxes are clipped to it.
        anchors: xyxy of the cell at the origin, all levels, flat; at most 128 anchors.
        anchors_per_cell: for each level; at most 8 levels.
        grid_widths: cells in a row, for each level.
        strides: (y, x) for each level, flat, canvas pixels.
        top_k: candidates of each level, 1 to 6080; their sum is K.
        num_rois: R, at most 32768.
        nms_threshold: IoU above it suppresses.
        score_threshold: objectness after the sigmoid must reach it.
        min_size: both sides must reach it, canvas pixels.
        delta_weights: four numbers that divide the deltas.
        delta_clip: upper bound of dw and dh.
        threads: at most the number of processors; 0: as many as OpenMP would use.

    Returns:
        rois float32 [B, R, 4], best first, xyxy in canvas pixels, zeros past the count; count
        int32 [B].

    Raises:
        ValueError: an argument has a shape, dtype or value that is not as above.
        MaskrtError: the library could not be loaded.
    """
    level = _levels(anchors_per_cell, grid_widths, strides, top_k)
    used = level[: len(top_k)]
    candidates = sum(one.top_k for one in used)
    values = floats("anchors", anchors, 4 * sum(one.anchors_per_cell for one in used))
    slots = count("num_rois", num_rois, 1)
    objectness = array("objectness", objectness, "float32", ("B", candidates))
    batch = len(objectness)
    run = backend.current()
    objectness = run.input(objectness)
    deltas = run.input(array("deltas", deltas, "float32", (batch, candidates, 4)))
    indices = run.input(array("indices", indices, "int32", (batch, candidates)))
    content = run.input(array("content", content, "float32", (batch, 2)))
    rois = run.empty((batch, slots, 4), np.float32)
    found = run.empty((batch,), np.int32)
    params = ProposalsParams(
        struct_size=ctypes.sizeof(ProposalsParams),
        objectness=objectness.ctypes.data,
        deltas=deltas.ctypes.data,
        indices=indices.ctypes.data,
        content=content.ctypes.data,
        rois=rois.ctypes.data,
        count=found.ctypes.data,
        batch=batch,
        levels=len(used),
        num_rois=slots,
        threads=count("threads", threads),
        nms_threshold=nms_threshold,
        score_threshold=score_threshold,
        min_size=min_size,
        delta_clip=delta_clip,
        delta_weights=floats("delta_weights", delta_weights, 4),
        level=level,
    )
    ctypes.memmove(params.anchors, values, ctypes.sizeof(values))
    run.call("proposals", params)
    return rois, found


def _levels(
    anchors_per_cell: Sequence[int],
    grid_widths: Sequence[int],
    strides: Sequence[int],
    top_k: Sequence[int],
) -> ctypes.Array[ProposalsLevel]:
    levels = len(top_k)
    if not 1 <= levels <= MAX_LEVELS:
        raise ValueError(f"found {levels} numbers as top_k, expected 1 to {MAX_LEVELS}")
    for name, values, expected in (
        ("anchors_per_cell", anchors_per_cell, levels),
        ("grid_widths", grid_widths, levels),
        ("strides", strides, 2 * levels),
    ):
        if len(values) != expected:
            raise ValueError(f"found {len(values)} numbers as {name}, expected {expected}")
    filled = (ProposalsLevel * MAX_LEVELS)()
    first = 0
    for i in range(levels):
        filled[i] = ProposalsLevel(
            first_anchor=first,
            anchors_per_cell=count("anchors_per_cell", anchors_per_cell[i], 1),
            grid_width=count("grid_widths", grid_widths[i], 1),
            stride_y=count("strides", strides[2 * i], 1),
            stride_x=count("strides", strides[2 * i + 1], 1),
            top_k=count("top_k", top_k[i], 1),
        )
        first += filled[i].anchors_per_cell
        if first > MAX_ANCHORS:
            raise ValueError(f"found {first} or more anchors, expected at most {MAX_ANCHORS}")
    return filled
