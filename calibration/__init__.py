"""Data, calibration and accuracy: what quantised engines need to be made and judged."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calibrator import Calibration, calibrate
    from .coco_eval import evaluate
    from .report import CalibrationReport

__all__ = ["Calibration", "CalibrationReport", "calibrate", "evaluate"]

_MODULES = {
    "Calibration": "calibrator",
    "CalibrationReport": "report",
    "calibrate": "calibrator",
    "evaluate": "coco_eval",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
