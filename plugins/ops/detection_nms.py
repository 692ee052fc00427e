"""DetectionNMS on NumPy arrays."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from maskrt.plugins import backend
from maskrt.plugins.ops.arguments import array, count, floats


class DetectionNmsParams(ctypes.Structure):
    """``MaskrtDetectionNmsParams`` of ``detection_nms/params.h``, which explains the fields."""

    _fields_ = (
        ("struct_size", ctypes.c_size_t),
        ("logits", ctypes.c_void_p),
        ("deltas", ctypes.c_void_p),
        ("rois", ctypes.c_void_p),
        ("roi_count", ctypes.c_void_p),
        ("content", ctypes.c_void_p),
        ("score_threshold", ctypes.c_void_p),
        ("nms_threshold", ctypes.c_void_p),
        ("boxes", ctypes.c_void_p),
        ("scores", ctypes.c_void_p),
        ("labels", ctypes.c_void_p),
        ("count", ctypes.c_void_p),
        ("batch", ctypes.c_int32),
        ("slots", ctypes.c_int32),
        ("classes", ctypes.c_int32),
        ("delta_boxes", ctypes.c_int32),
        ("max_detections", ctypes.c_int32),
        ("background_first", ctypes.c_int32),
        ("threads", ctypes.c_int32),
        ("min_size", ctypes.c_float),
        ("delta_clip", ctypes.c_float),
        ("delta_weights", ctypes.c_float * 4),
    )


def detection_nms(
    logits: NDArray[np.float32],
    deltas: NDArray[np.float32],
    rois: NDArray[np.float32],
    roi_count: NDArray[np.int32],
    content: NDArray[np.float32],
    score_threshold: float | NDArray[np.float32],
    nms_threshold: float | NDArray[np.float32],
    *,
    max_detections: int,
    min_size: float,
    delta_weights: Sequence[float],
    delta_clip: float,
    background_first: bool,
    threads: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
    """Softmax, box decode, score threshold, NMS per class, best D.

    As torchvision's ``RoIHeads.postprocess_detections``. B frames, R RoIs of a frame, C classes, D
    detections. Among equal scores the lower RoI comes first, then the lower class.

    Args:
        logits: float32 [B, R, C], the background among them; R at most 4096, C 2 to 65536.
        deltas: float32 [B, R, 4 * n], (dx, dy, dw, dh); n is C, C - 1 (no background) or 1 (class
            agnostic).
        rois: float32 [B, R, 4], xyxy in canvas pixels.
        roi_count: int32 [B], RoIs that are real.
        content: float32 [B, 2], height and width; boxes are clipped to it.
        score_threshold: one number; scores must be above it.
        nms_threshold: one number; IoU above it suppresses.
        max_detections: D, at most 4096.
        min_size: both sides must reach it, canvas pixels.
        delta_weights: four numbers that divide the deltas.
        delta_clip: upper bound of dw and dh.
        background_first: the background is class 0; otherwise it is the last one.
        threads: at most the number of processors; 0: as many as OpenMP would use.

    Returns:
        boxes float32 [B, D, 4], best first, xyxy in canvas pixels; scores float32 [B, D]; labels
        int32 [B, D], positions in the logits; count int32 [B]. Zeros past the count.

    Raises:
        ValueError: an argument has a shape, dtype or value that is not as above.
        MaskrtError: the library could not be loaded.
    """
    logits = array("logits", logits, "float32", ("B", "R", "C"))
    batch, slots, classes = logits.shape
    deltas = array("deltas", deltas, "float32", (batch, slots, "4 * n"))
    if deltas.shape[2] % 4:
        raise ValueError(f"found deltas {list(deltas.shape)}, expected [{batch}, {slots}, 4 * n]")
    limit = count("max_detections", max_detections, 1)
    run = backend.current()
    logits = run.input(logits)
    deltas = run.input(deltas)
    rois = run.input(array("rois", rois, "float32", (batch, slots, 4)))
    roi_count = run.input(array("roi_count", roi_count, "int32", (batch,)))
    content = run.input(array("content", content, "float32", (batch, 2)))
    score = run.input(_number("score_threshold", score_threshold))
    overlap = run.input(_number("nms_threshold", nms_threshold))
    boxes = run.empty((batch, limit, 4), np.float32)
    scores = run.empty((batch, limit), np.float32)
    labels = run.empty((batch, limit), np.int32)
    found = run.empty((batch,), np.int32)
    run.call(
        "detection_nms",
        DetectionNmsParams(
            struct_size=ctypes.sizeof(DetectionNmsParams),
            logits=logits.ctypes.data,
            deltas=deltas.ctypes.data,
            rois=rois.ctypes.data,
            roi_count=roi_count.ctypes.data,
            content=content.ctypes.data,
            score_threshold=score.ctypes.data,
            nms_threshold=overlap.ctypes.data,
            boxes=boxes.ctypes.data,
            scores=scores.ctypes.data,
            labels=labels.ctypes.data,
            count=found.ctypes.data,
            batch=batch,
            slots=slots,
            classes=classes,
            delta_boxes=deltas.shape[2] // 4,
            max_detections=limit,
            background_first=bool(background_first),
            threads=count("threads", threads),
            min_size=min_size,
            delta_clip=delta_clip,
            delta_weights=floats("delta_weights", delta_weights, 4),
        ),
    )
    return boxes, scores, labels, found


def _number(name: str, value: float | NDArray[np.float32]) -> NDArray[np.float32]:
    number = np.asarray(value, np.float32)
    if number.size != 1:
        raise ValueError(f"found {name} of shape {list(number.shape)}, expected one number")
    return number.reshape(1)
