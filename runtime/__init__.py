"""The runtime: frames in, detections out.

Needs numpy and OpenCV; ONNX Runtime only once an ``.onnx`` file is opened. The names below are
imported when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskrt.runtime.detections import Detections
    from maskrt.runtime.detector import Detector
    from maskrt.runtime.device import open_device
    from maskrt.runtime.multi_source import MultiSource
    from maskrt.runtime.sources import open_source

__all__ = ["Detections", "Detector", "MultiSource", "open_device", "open_source"]

_HOMES = {
    "Detections": "detections",
    "Detector": "detector",
    "MultiSource": "multi_source",
    "open_device": "device",
    "open_source": "sources",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
