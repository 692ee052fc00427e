"""NMS by groups on NumPy arrays."""

from __future__ import annotations

import ctypes

import numpy as np
from numpy.typing import NDArray

from maskrt.plugins import backend
from maskrt.plugins.ops.arguments import array, count


class NmsParams(ctypes.Structure):
    """``MaskrtNmsParams`` of ``nms/params.h``, where the fields are explained."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("boxes", ctypes.c_void_p),
        ("scores", ctypes.c_void_p),
        ("groups", ctypes.c_void_p),
        ("kept", ctypes.c_void_p),
        ("kept_count", ctypes.c_void_p),
        ("count", ctypes.c_int32),
        ("threshold", ctypes.c_float),
        ("threads", ctypes.c_int32),
    )


def nms(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    groups: NDArray[np.int32],
    threshold: float,
    *,
    threads: int = 0,
) -> NDArray[np.int64]:
    """Greedy NMS within each group, as torchvision's ``batched_nms``; on the CPU only.

    A box is dropped when its IoU with a better one that stays is above the threshold. Coordinates
    are compared as they are, not moved apart by group.

    Args:
        boxes: float32 [N, 4], xyxy.
        scores: float32 [N]; NaN counts as the best.
        groups: int32 [N], any numbers (levels, labels): boxes of different groups do not compete.
        threshold: rounded to float32, as are the IoUs.
        threads: at most the number of processors; 0: as many as OpenMP would use. A group is the
            work of one.

    Returns:
        int64, indices of the boxes that stay, best first; among equal scores the lower one first.

    Raises:
        ValueError: an argument has a shape, dtype or value that is not as above.
        MaskrtError: the library could not be loaded.
    """
    run = backend.current()
    boxes = run.input(array("boxes", boxes, "float32", ("N", 4)))
    total = len(boxes)
    scores = run.input(array("scores", scores, "float32", (total,)))
    groups = run.input(array("groups", groups, "int32", (total,)))
    kept = run.empty((total,), np.int64)
    kept_count = run.empty((1,), np.int64)
    run.call(
        "nms",
        NmsParams(
            struct_size=ctypes.sizeof(NmsParams),
            boxes=boxes.ctypes.data,
            scores=scores.ctypes.data,
            groups=groups.ctypes.data,
            kept=kept.ctypes.data,
            kept_count=kept_count.ctypes.data,
            count=total,
            threshold=threshold,
            threads=count("threads", threads),
        ),
    )
    return kept[: int(kept_count[0])]
