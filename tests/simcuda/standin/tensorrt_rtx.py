"""As ``tensorrt.py``, with what TensorRT-RTX has beyond it."""

from __future__ import annotations

import enum

from tensorrt import *  # noqa: F403 - the same interface

__version__ = "1.7.1"


class CudaGraphStrategy(enum.Enum):
    DISABLED = 0
    WHOLE_GRAPH_CAPTURE = 1
