"""MaskSelect on NumPy arrays."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskrt.plugins import backend
from maskrt.plugins.ops.arguments import LAYOUTS, Layout, array, type_number
from maskrt.plugins.ops.arguments import count as integer

_LOGITS = ("float32", "float16", "bfloat16")
_MASKS = ("float32", "float16", "uint8")


class MaskSelectParams(ctypes.Structure):
    """``MaskrtMaskSelectParams`` of ``mask_select/params.h``, where the fields are explained."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("logits", ctypes.c_void_p),
        ("labels", ctypes.c_void_p),
        ("count", ctypes.c_void_p),
        ("masks", ctypes.c_void_p),
        ("batch", ctypes.c_int32),
        ("slots", ctypes.c_int32),
        ("classes", ctypes.c_int32),
        ("height", ctypes.c_int32),
        ("width", ctypes.c_int32),
        ("logits_type", ctypes.c_int32),
        ("layout", ctypes.c_int32),
        ("channel_stride", ctypes.c_int32),
        ("masks_type", ctypes.c_int32),
        ("threads", ctypes.c_int32),
    )


def mask_select(
    logits: NDArray[Any],
    labels: NDArray[np.int32],
    count: NDArray[np.int32],
    *,
    layout: Layout = "linear",
    classes: int | None = None,
    dtype: DTypeLike = np.float32,
    threads: int = 0,
) -> NDArray[Any]:
    """The probabilities of each detection's own class, as torchvision's maskrcnn_inference.

    Args:
        logits: float32, float16 or bfloat16, [B * D, C, m, n], or [B * D, m, n, C] for
            ``channels_last``.
        labels: int32 [B, D], positions among the C masks; 0 or C - 1 is taken for those beyond.
        count: int32 [B], how many masks of each frame are real; the others become zeros.
        layout: of the logits.
        classes: for ``channels_last``, C where the array has more channels, as padding.
        dtype: of the masks: float32, float16, or uint8, which holds 255 times the probability,
            rounded.
        threads: at most the number of processors; 0: as many as OpenMP would use.

    Returns:
        [B, D, m, n] of the dtype.

    Raises:
        ValueError: an argument has a shape, dtype or value that is not as above.
        MaskrtError: the library could not be loaded.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"found layout {layout!r}, expected {' or '.join(LAYOUTS)}")
    labels = array("labels", labels, "int32", ("B", "D"))
    batch, slots = labels.shape
    count = array("count", count, "int32", (batch,))
    instances = batch * slots
    if layout == "linear":
        logits = array("logits", logits, _LOGITS, (instances, "C", "m", "n"))
        _, channels, height, width = logits.shape
    else:
        logits = array("logits", logits, _LOGITS, (instances, "m", "n", "C"))
        _, height, width, channels = logits.shape
    classes = channels if classes is None else integer("classes", classes, 1)
    if classes != channels and (layout == "linear" or classes > channels):
        raise ValueError(f"found {classes} classes and logits of {channels} channels")
    run = backend.current()
    logits, labels, count = (run.input(values) for values in (logits, labels, count))
    masks = run.empty((batch, slots, height, width), dtype)
    run.call(
        "mask_select",
        MaskSelectParams(
            struct_size=ctypes.sizeof(MaskSelectParams),
            logits=logits.ctypes.data,
            labels=labels.ctypes.data,
            count=count.ctypes.data,
            masks=masks.ctypes.data,
            batch=batch,
            slots=slots,
            classes=classes,
            height=height,
            width=width,
            logits_type=type_number(logits.dtype, _LOGITS),
            layout=LAYOUTS[layout],
            channel_stride=channels,
            masks_type=type_number(dtype, _MASKS),
            threads=integer("threads", threads),
        ),
    )
    return masks
