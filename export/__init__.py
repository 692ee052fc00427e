"""Export: a trained detection model → canonical ONNX → engines and bundles.

The names below are imported when they are first used: building needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskrt.export.build import BuildOptions, build_model
    from maskrt.export.exporter import export
    from maskrt.export.load import load_model

__all__ = ["BuildOptions", "build_model", "export", "load_model"]

_HOMES = {
    "BuildOptions": "build",
    "build_model": "build",
    "export": "exporter",
    "load_model": "load",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
