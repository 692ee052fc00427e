"""COCO's compressed run lengths, straight from a crop: no dense mask of the frame."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from maskrt.errors import MissingDependencyError
from maskrt.runtime.masks import MaskCrop


def encode(crop: MaskCrop, frame_size: tuple[int, int]) -> str:
    """What ``pycocotools.mask.encode`` gives as ``counts`` for the crop's mask in the frame.

    Raises:
        MissingDependencyError: without pycocotools.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise MissingDependencyError("pycocotools", "calibrate") from error
    height, width = frame_size
    lengths = _run_lengths(crop, frame_size).tolist()
    counts: bytes = mask.frPyObjects({"size": [height, width], "counts": lengths}, height, width)[
        "counts"
    ]
    return counts.decode("ascii")


def _run_lengths(crop: MaskCrop, frame_size: tuple[int, int]) -> NDArray[np.int64]:
    """Lengths of the runs of 0, 1, 0, … down the columns, beginning with 0."""
    height, width = frame_size
    h, w = crop.mask.shape
    columns = np.zeros((w, h + 1), np.bool_)  # a pixel more, so that every run ends in its column
    if crop.mask.size:  # three times as fast as NumPy's transposition, but it refuses empty ones
        columns[:, :h] = cv2.transpose(crop.mask.view(np.uint8)).view(np.bool_)
    flat = columns.ravel()
    edges = np.flatnonzero(np.diff(flat, prepend=False))
    column, row = np.divmod(edges, h + 1)
    positions = (crop.x + column) * height + crop.y + row  # start, end, start, end, …
    # a run that reaches the frame's bottom goes on where the next column starts at its top
    split = positions[1:-1:2] != positions[2::2]
    keep = np.ones(positions.shape, np.bool_)
    keep[1:-1:2] = keep[2::2] = split
    lengths = np.diff(positions[keep], prepend=0, append=height * width)
    return lengths if lengths[-1] or lengths.size == 1 else lengths[:-1]
