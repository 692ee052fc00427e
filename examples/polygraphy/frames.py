"""Real pictures for Polygraphy, in place of its random numbers.

    polygraphy run model.onnx --onnxrt --data-loader-script examples/polygraphy/frames.py

Environment variables, all optional:

- ``MASKRT_IMAGES``: a folder of images, a video, or an image; without it, pictures of the package.
- ``MASKRT_COUNT``: how many of them (default: 8).
- ``MASKRT_BATCH``: frames per run (default: 1); a batch holds frames of one size.
- ``MASKRT_FRAME_ORDER``: ``bgr`` (default) or ``rgb``, as the model was exported.
- ``MASKRT_SCORE_THRESHOLD``, ``MASKRT_NMS_THRESHOLD``: the model's inputs of that name. In an ONNX
  file they have defaults, so they may be left out; an engine needs both.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.runtime import open_source


def load_data() -> Iterator[dict[str, NDArray[Any]]]:
    """Yields the model's inputs: ``frames`` uint8 [B, H, W, 3], and thresholds if they are set."""
    batch = int(os.environ.get("MASKRT_BATCH", "1"))
    rgb = os.environ.get("MASKRT_FRAME_ORDER", "bgr") == "rgb"
    thresholds = {
        name: np.array(float(os.environ[variable]), np.float32)
        for name, variable in (
            ("score_threshold", "MASKRT_SCORE_THRESHOLD"),
            ("nms_threshold", "MASKRT_NMS_THRESHOLD"),
        )
        if variable in os.environ
    }
    waiting: list[NDArray[np.uint8]] = []
    for frame in islice(pictures(), int(os.environ.get("MASKRT_COUNT", "8"))):
        if waiting and waiting[0].shape != frame.shape:
            waiting.clear()
        waiting.append(np.ascontiguousarray(frame[..., ::-1]) if rgb else frame)
        if len(waiting) == batch:
            yield {"frames": np.stack(waiting), **thresholds}
            waiting.clear()


def pictures() -> Iterator[NDArray[np.uint8]]:
    """Frames, uint8 [H, W, 3] in BGR."""
    chosen = os.environ.get("MASKRT_IMAGES")
    if chosen:
        with open_source(chosen) as source:
            yield from source
        return
    from maskrt.examples import shapes

    for i in range(1 << 30):
        yield shapes.image(i, split="val")[0]
