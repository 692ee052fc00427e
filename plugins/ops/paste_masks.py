"""Brings masks into the frame, on NumPy arrays."""

from __future__ import annotations

import ctypes
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskrt.plugins import backend, library
from maskrt.plugins.ops.arguments import array, count, type_number

Convention = Literal["torchvision", "detectron2"]
_CONVENTIONS = {"torchvision": 0, "detectron2": 1}  # MaskrtPasteConvention in params.h
_CROPS, _LABEL_MAP = 0, 1  # MaskrtPasteMode
_MASKS = ("float32", "uint8")


class PasteRegionsParams(ctypes.Structure):
    """``MaskrtPasteRegionsParams`` of ``paste_masks/params.h``, where the fields are explained."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("boxes", ctypes.c_void_p),
        ("regions", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("instances", ctypes.c_int32),
        ("mask_height", ctypes.c_int32),
        ("mask_width", ctypes.c_int32),
        ("frame_height", ctypes.c_int32),
        ("frame_width", ctypes.c_int32),
        ("convention", ctypes.c_int32),
    )


class PasteMasksParams(ctypes.Structure):
    """``MaskrtPasteMasksParams`` of ``paste_masks/params.h``, where the fields are explained."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("masks", ctypes.c_void_p),
        ("boxes", ctypes.c_void_p),
        ("count", ctypes.c_void_p),
        ("regions", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("out", ctypes.c_void_p),
        ("out_bytes", ctypes.c_int64),
        ("instances", ctypes.c_int32),
        ("mask_height", ctypes.c_int32),
        ("mask_width", ctypes.c_int32),
        ("frame_height", ctypes.c_int32),
        ("frame_width", ctypes.c_int32),
        ("masks_type", ctypes.c_int32),
        ("mode", ctypes.c_int32),
        ("label_bytes", ctypes.c_int32),
        ("convention", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("threshold", ctypes.c_float),
    )


class PastedCrop(NamedTuple):
    """The region of the frame that a mask can reach; outside of it the mask is zero."""

    x: int
    """Left column in the frame."""
    y: int
    """Top row in the frame."""
    mask: NDArray[np.bool_]
    """``(h, w)``; ``(0, 0)`` where the box lies outside the frame or has no area."""


def paste_crops(
    masks: NDArray[Any],
    boxes: NDArray[np.float32],
    frame_size: tuple[int, int],
    *,
    convention: Convention,
    threshold: float,
    threads: int = 0,
) -> list[PastedCrop]:
    """The pixels of each instance, in the region that its mask can reach.

    Args:
        masks: probabilities, float32 [n, rows, columns]; or uint8, 255 times as large.
        boxes: float32 [n, 4], xyxy in frame pixels; boxes that are not finite give empty crops.
        frame_size: (height, width).
        convention: whose rule to follow: torchvision's ``roi_heads.paste_masks_in_image``, or
            detectron2's ``layers/mask_ops.py``. Both are defined for square masks; for others,
            torchvision's rule grows the box by the mask's width, as torchvision's function does.
        threshold: a pixel is on where its probability is above it (detectron2: at it or above).
        threads: at most the number of processors; 0: as many as OpenMP would use.

    Returns:
        A crop for each instance. They are views of one array: copy a crop to keep it alone.

    Raises:
        ValueError: an argument has a shape, dtype or value that is not as above.
        MaskrtError: the library could not be loaded.
    """
    params, masks, boxes = _params(masks, boxes, frame_size, convention, threshold, threads)
    regions = np.zeros((len(masks), 4), np.int32)
    offsets = np.zeros(len(masks) + 1, np.int64)
    shared = ("instances", "mask_height", "mask_width", "frame_height", "frame_width", "convention")
    # the size of the result: always on the host
    library.call(
        "maskrt_paste_regions",
        PasteRegionsParams(
            struct_size=ctypes.sizeof(PasteRegionsParams),
            boxes=boxes.ctypes.data,
            regions=regions.ctypes.data,
            offsets=offsets.ctypes.data,
            **{name: getattr(params, name) for name in shared},
        ),
    )
    run = backend.current()
    masks, boxes, areas, starts = (run.input(a) for a in (masks, boxes, regions, offsets))
    out = run.empty((int(offsets[-1]),), np.uint8)
    params.masks, params.boxes = masks.ctypes.data, boxes.ctypes.data
    params.regions, params.offsets = areas.ctypes.data, starts.ctypes.data
    params.out, params.out_bytes = out.ctypes.data, out.nbytes
    params.mode = _CROPS
    run.call("paste_masks", params)
    on = out.view(np.bool_)
    return [
        PastedCrop(x, y, on[start : start + w * h].reshape(h, w))
        for (x, y, w, h), start in zip(regions.tolist(), offsets.tolist(), strict=False)
    ]


def paste_label_map(
    masks: NDArray[Any],
    boxes: NDArray[np.float32],
    frame_size: tuple[int, int],
    *,
    convention: Convention,
    threshold: float,
    dtype: DTypeLike = np.uint8,
    threads: int = 0,
) -> NDArray[Any]:
    """The frame with each pixel's instance; where several lie, the first.

    Args:
        masks: as for ``paste_crops``.
        boxes: as for ``paste_crops``.
        frame_size: (height, width).
        convention: as for ``paste_crops``.
        threshold: as for ``paste_crops``.
        dtype: uint8 for up to 255 instances, or uint16.
        threads: as for ``paste_crops``.

    Returns:
        [height, width] of the dtype: 0 is the background, i + 1 instance i.

    Raises:
        ValueError: an argument has a shape, dtype or value that is not as above.
        MaskrtError: the library could not be loaded.
    """
    if np.dtype(dtype) not in (np.uint8, np.uint16):
        raise ValueError(f"found dtype {np.dtype(dtype).name}, expected uint8 or uint16")
    params, masks, boxes = _params(masks, boxes, frame_size, convention, threshold, threads)
    run = backend.current()
    masks, boxes = run.input(masks), run.input(boxes)
    labels = run.empty((params.frame_height, params.frame_width), dtype)
    params.masks, params.boxes = masks.ctypes.data, boxes.ctypes.data
    params.out, params.out_bytes = labels.ctypes.data, labels.nbytes
    params.mode, params.label_bytes = _LABEL_MAP, labels.itemsize
    run.call("paste_masks", params)
    return labels


def _params(
    masks: NDArray[Any],
    boxes: NDArray[np.float32],
    frame_size: tuple[int, int],
    convention: str,
    threshold: float,
    threads: int,
) -> tuple[PasteMasksParams, NDArray[Any], NDArray[np.float32]]:
    """All but the pointers and the mode; and the arrays, contiguous."""
    masks = array("masks", masks, _MASKS, ("n", "rows", "columns"))
    boxes = array("boxes", boxes, "float32", (len(masks), 4))
    if convention not in _CONVENTIONS:
        raise ValueError(f"found convention {convention!r}, expected {' or '.join(_CONVENTIONS)}")
    if len(frame_size) != 2:
        raise ValueError(f"found a frame of {len(frame_size)} numbers, expected (height, width)")
    height, width = (count("frame", side, 1) for side in frame_size)
    params = PasteMasksParams(
        struct_size=ctypes.sizeof(PasteMasksParams),
        instances=len(masks),
        mask_height=masks.shape[1],
        mask_width=masks.shape[2],
        frame_height=height,
        frame_width=width,
        masks_type=type_number(masks.dtype, _MASKS),
        convention=_CONVENTIONS[convention],
        threads=count("threads", threads),
        threshold=float(threshold),
    )
    return params, masks, boxes
