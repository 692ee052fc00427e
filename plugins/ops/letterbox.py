"""Letterbox on NumPy arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskrt.plugins import backend
from maskrt.plugins.ops.arguments import INT32_MAX, count, floats, output, type_number

Resize = Literal["torchvision", "detectron2"]
_RESIZES: dict[str, int] = {"torchvision": 0, "detectron2": 1}
"""``MaskrtLetterboxResize`` in ``letterbox/params.h``."""


class LetterboxParams(ctypes.Structure):
    """``MaskrtLetterboxParams`` of ``letterbox/params.h``, where the fields are explained."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("frames", ctypes.c_void_p),
        ("image", ctypes.c_void_p),
        ("scale", ctypes.c_void_p),
        ("content", ctypes.c_void_p),
        ("frame_stride", ctypes.c_int64),
        ("row_stride", ctypes.c_int64),
        ("pixel_stride", ctypes.c_int64),
        ("batch", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("canvas_height", ctypes.c_int32),
        ("canvas_width", ctypes.c_int32),
        ("min_size", ctypes.c_int32),
        ("max_size", ctypes.c_int32),
        ("swap_channels", ctypes.c_int32),
        ("image_type", ctypes.c_int32),
        ("resize", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("mean", ctypes.c_float * 3),
        ("std", ctypes.c_float * 3),
    )


def letterbox(
    frames: NDArray[np.uint8],
    canvas: tuple[int, int],
    *,
    min_size: int = 0,
    max_size: int = 0,
    mean: Sequence[float],
    std: Sequence[float],
    swap_channels: bool = False,
    resize: Resize = "torchvision",
    dtype: DTypeLike = np.float32,
    threads: int = 0,
    out: NDArray[Any] | None = None,
) -> tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]:
    """Brings frames onto the canvas as torchvision's or detectron2's transform does.

    Resized with the aspect ratio kept, normalised, then padded with zeros at the right and at the
    bottom. The content's size is the frame's times the smallest of canvas / frame per axis,
    ``min_size`` / short side and ``max_size`` / long side.

    Args:
        frames: uint8 [B, H, W, 3]. Views are read where they lie, as long as a pixel's channels
            are adjacent (crops, every second row, ``bgra[..., :3]``); others are copied.
        canvas: (h, w).
        min_size: bound of the content's short side; 0: none.
        max_size: bound of the content's long side; 0: none.
        mean: three numbers, subtracted from pixel values (0 to 255), in the network's channel
            order.
        std: three numbers that divide what is left.
        swap_channels: whether the network wants the other order than the frames hold.
        resize: ``torchvision`` (GeneralizedRCNNTransform): content rounded down, bilinear with
            half-pixel centres; ``detectron2`` (ResizeShortestEdge): content rounded to nearest,
            pixels as of Pillow's ``Image.resize(BILINEAR)``, which antialiases, to the bit.
        dtype: of the image, float32 or float16.
        threads: at most the number of processors; 0: as many as OpenMP would use, which
            ``OMP_NUM_THREADS`` limits.
        out: [B, 3, h, w] of the dtype, contiguous, to be written and returned as the image.

    Returns:
        image [B, 3, h, w] of the dtype; scale float32 [B, 2] (y, x), frame pixels per canvas pixel;
        content float32 [B, 2], its height and width in canvas pixels.

    Raises:
        ValueError: an argument has a shape, dtype or value that is not as above.
        MaskrtError: the library could not be loaded.
    """
    if resize not in _RESIZES:
        raise ValueError(f"found resize {resize!r}, expected {' or '.join(_RESIZES)}")
    frames = _frames(frames)
    batch, height, width, _ = frames.shape
    if len(canvas) != 2:
        raise ValueError(f"found a canvas of {len(canvas)} numbers, expected (height, width)")
    # checked here too, as memory for the image is asked for before the library sees the numbers
    rows, columns = (count("canvas", side, 1) for side in canvas)
    run = backend.current()
    frames = run.input(frames)
    image = output(run, out, (batch, 3, rows, columns), dtype)
    scale = run.empty((batch, 2), np.float32)
    content = run.empty((batch, 2), np.float32)
    strides = frames.strides
    run.call(
        "letterbox",
        LetterboxParams(
            struct_size=ctypes.sizeof(LetterboxParams),
            frames=frames.ctypes.data,
            image=image.ctypes.data,
            scale=scale.ctypes.data,
            content=content.ctypes.data,
            frame_stride=strides[0],
            row_stride=strides[1],
            pixel_stride=strides[2],
            batch=batch,
            height=height,
            width=width,
            canvas_height=rows,
            canvas_width=columns,
            min_size=count("min_size", min_size),
            max_size=count("max_size", max_size),
            swap_channels=bool(swap_channels),
            image_type=type_number(image.dtype, ("float32", "float16")),
            resize=_RESIZES[resize],
            threads=count("threads", threads),
            mean=floats("mean", mean, 3),
            std=floats("std", std, 3),
        ),
    )
    return image, scale, content


def _frames(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if not isinstance(frames, np.ndarray):
        raise ValueError(f"found frames of type {type(frames).__name__}, expected a NumPy array")
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or frames.size == 0:
        raise ValueError(
            f"found frames {frames.dtype} {list(frames.shape)}, "
            "expected uint8 [B, H, W, 3], none of them 0"
        )
    if max(frames.shape) > INT32_MAX:
        raise ValueError(f"found frames of shape {list(frames.shape)}, expected sides below 2**31")
    width, stride = frames.shape[2], frames.strides[2]
    readable = frames.strides[3] == 1 and stride >= 3 and stride * width <= INT32_MAX
    # ascontiguousarray would keep what NumPy lets a side of one pixel have for a stride
    return frames if readable else frames.copy()
