"""Data, calibration and accuracy: what quantised engines need to be made and judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .coco_eval import evaluate

__all__ = ["evaluate"]


def __getattr__(name: str) -> Any:
    if name == "evaluate":
        from .coco_eval import evaluate

        return evaluate
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
