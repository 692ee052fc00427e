"""Which GPUs an engine is built for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from maskrt.export.builder.errors import BuildError
from maskrt.spec import Precision

_FULL_TENSORRT = {
    "8.7": "Jetson Orin",
    "9.0": "Hopper",
    "10.0": "Blackwell, data centre",
    "11.0": "Jetson Thor",
}
FIRST_WITH_FP8 = "8.9"
"""Compute capability from which GPUs multiply in float8 (Ada)."""


def parse_capability(text: str) -> str:
    """``"8.6"`` from ``"86"``, ``"8.6"`` or ``"sm_86"``.

    Raises:
        ValueError: it is none of those.
    """
    match = re.fullmatch(r"(?:sm_?)?(\d+)\.?(\d)", text.strip().lower())
    if match is None:
        raise ValueError(f"compute capability: found '{text}', expected such as 8.6 or 86")
    return f"{int(match[1])}.{match[2]}"


def capabilities(
    lib: Any, wanted: Sequence[str] = (), precision: Precision = "fp32"
) -> dict[str, Any]:
    """Compute capabilities that TensorRT-RTX builds for, with its own names of them, ascending.

    Args:
        lib: the module of TensorRT-RTX.
        wanted: ``"8.6"`` and so on; empty: all that it knows from 8.0 on, for an FP8 model from
            8.9 on. Each costs next to nothing, as weights are stored once and kernels are made
            where the engine runs.
        precision: of the model.

    Raises:
        BuildError: it cannot build for one of them, or one cannot run the model.
        ValueError: one of them is no compute capability.
    """
    known = {}
    for name, value in lib.ComputeCapability.__members__.items():
        if re.fullmatch(r"SM\d+", name):
            known[parse_capability(name)] = value
    least = FIRST_WITH_FP8 if precision == "fp8" else "8.0"
    able = {c for c in known if _order(c) >= _order(least)}
    chosen = {parse_capability(text) for text in wanted} or able
    for capability in sorted(chosen - set(known), key=_order):
        allowed = " ".join(c.replace(".", "") for c in sorted(known, key=_order))
        gpu = _FULL_TENSORRT.get(capability)
        advice = (
            f"that GPU ({gpu}) runs TensorRT itself: build on it with  --target tensorrt"
            if gpu
            else "leave it out"
        )
        raise BuildError(
            f"TensorRT-RTX {lib.__version__} does not build for compute capability {capability}, "
            f"expected of  --sm {allowed}: {advice}"
        )
    without = sorted(chosen - able, key=_order)
    if precision == "fp8" and without:
        allowed = " ".join(c.replace(".", "") for c in sorted(able, key=_order))
        raise BuildError(
            f"FP8 is for GPUs from compute capability {FIRST_WITH_FP8} on, found "
            f"{', '.join(without)}, expected of  --sm {allowed}: leave the others out, or "
            "calibrate with  --format int8  for them"
        )
    return {c: known[c] for c in sorted(chosen, key=_order)}


def _order(capability: str) -> tuple[int, ...]:
    return tuple(map(int, capability.split(".")))
