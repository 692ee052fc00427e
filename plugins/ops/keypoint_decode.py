"""KeypointDecode on NumPy arrays."""

from __future__ import annotations

import ctypes
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from maskrt.plugins import backend
from maskrt.plugins.ops.arguments import LAYOUTS, Layout, array, type_number
from maskrt.plugins.ops.arguments import count as integer

Decode = Literal["torchvision", "detectron2"]
_DECODES = {"torchvision": 0, "detectron2": 1}  # MaskrtKeypointScore in params.h
_HEATMAPS = ("float32", "float16", "bfloat16")


class KeypointDecodeParams(ctypes.Structure):
    """``MaskrtKeypointDecodeParams`` of ``keypoint_decode/params.h``, which explains the fields."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("heatmaps", ctypes.c_void_p),
        ("boxes", ctypes.c_void_p),
        ("count", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("keypoints", ctypes.c_void_p),
        ("batch", ctypes.c_int32),
        ("slots", ctypes.c_int32),
        ("points", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("heatmaps_type", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("channel_stride", ctypes.c_int32),
        ("decode", ctypes.c_int32),
        ("threads", ctypes.c_int32),
    )


def keypoint_decode(
    heatmaps: NDArray[Any],
    boxes: NDArray[np.float32],
    count: NDArray[np.int32],
    scale: NDArray[np.float32],
    *,
    layout: Layout = "linear",
    points: int | None = None,
    decode: Decode = "torchvision",
    threads: int = 0,
) -> NDArray[np.float32]:
    """The best point of each heatmap, resized to its box.

    Follows torchvision's ``heatmaps_to_keypoints``: bicubic resize, first of the highest pixels.

    Args:
        heatmaps: logits, float32, float16 or bfloat16, [B * D, K, h, w], or [B * D, h, w, K] for
            ``channels_last``. NaN counts as very low.
        boxes: float32 [B, D, 4], xyxy in canvas pixels. Those that are not finite give zeros.
        count: int32 [B], how many detections of each frame are real; the others give zeros.
        scale: float32 [B, 2] (y, x), frame pixels per canvas pixel.
        layout: of the heatmaps.
        points: for ``channels_last``, K where the array has more channels, as padding.
        decode: which score: ``torchvision``, the logit at the point; ``detectron2``, its
            exponential, divided by the sum of those of the heatmap's cells.
        threads: at most the number of processors; 0: as many as OpenMP would use.

    Returns:
        float32 [B, D, K, 3]: x and y in frame pixels, and the score.

    Raises:
        ValueError: an argument has a shape, dtype or value that is not as above.
        MaskrtError: the library could not be loaded.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"found layout {layout!r}, expected {' or '.join(LAYOUTS)}")
    if decode not in _DECODES:
        raise ValueError(f"found decode {decode!r}, expected {' or '.join(_DECODES)}")
    boxes = array("boxes", boxes, "float32", ("B", "D", 4))
    batch, slots, _ = boxes.shape
    count = array("count", count, "int32", (batch,))
    scale = array("scale", scale, "float32", (batch, 2))
    detections = batch * slots
    if layout == "linear":
        heatmaps = array("heatmaps", heatmaps, _HEATMAPS, (detections, "K", "h", "w"))
        _, channels, height, width = heatmaps.shape
    else:
        heatmaps = array("heatmaps", heatmaps, _HEATMAPS, (detections, "h", "w", "K"))
        _, height, width, channels = heatmaps.shape
    points = channels if points is None else integer("points", points, 1)
    if points != channels and (layout == "linear" or points > channels):
        raise ValueError(f"found {points} points and heatmaps of {channels} channels")
    run = backend.current()
    heatmaps, boxes, count, scale = (run.input(a) for a in (heatmaps, boxes, count, scale))
    keypoints = run.empty((batch, slots, points, 3), np.float32)
    run.call(
        "keypoint_decode",
        KeypointDecodeParams(
            struct_size=ctypes.sizeof(KeypointDecodeParams),
            heatmaps=heatmaps.ctypes.data,
            boxes=boxes.ctypes.data,
            count=count.ctypes.data,
            scale=scale.ctypes.data,
            keypoints=keypoints.ctypes.data,
            batch=batch,
            slots=slots,
            points=points,
            height=height,
            width=width,
            heatmaps_type=type_number(heatmaps.dtype, _HEATMAPS),
            layout=LAYOUTS[layout],
            channel_stride=channels,
            decode=_DECODES[decode],
            threads=integer("threads", threads),
        ),
    )
    return keypoints
