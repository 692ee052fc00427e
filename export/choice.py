"""Which precision a build has: what the user asks for, seen with what the file is."""

from __future__ import annotations

import os
from pathlib import Path

from maskrt.artefact import (
    BUILD_PRECISIONS,
    LIBRARIES,
    PRECISION_CHOICES,
    BuildPrecision,
    PrecisionChoice,
    Target,
)
from maskrt.errors import MaskrtError
from maskrt.spec import QUANTISED, ModelSpec

ON_CPUS: tuple[Target, ...] = ("openvino", "onnxruntime")


def rest_precision(
    asked: PrecisionChoice | None,
    spec: ModelSpec,
    target: Target,
    source: str | os.PathLike[str],
) -> BuildPrecision:
    """What the layers that are not quantised are computed in.

    Args:
        asked: one of ``PRECISION_CHOICES``; for a quantised file ``"fp16"`` is ``"int8+fp16"``.
            None: float32 for a float file; for a quantised one float16 on GPUs, float32 on CPUs.
        spec: of the file.
        target: that it is built for.
        source: the file, for messages.

    Raises:
        MaskrtError: the file is not quantised in this way, or the target cannot run it.
        ValueError: there is no such precision.
    """
    if asked is not None and asked not in PRECISION_CHOICES:
        raise ValueError(
            f"precision: found {asked!r}, expected one of {', '.join(PRECISION_CHOICES)}"
        )
    quantised, _, rest = (asked or "").rpartition("+")
    if quantised and quantised != spec.precision:
        raise MaskrtError(_not_so(Path(source), spec, quantised))
    if spec.precision == "fp8" and target in ON_CPUS:
        raise MaskrtError(
            f"{LIBRARIES[target]} has no FP8 on CPUs, and {source} is in FP8: run that file itself "
            "to see its accuracy, or calibrate with  --format int8  for CPUs"
        )
    for known in BUILD_PRECISIONS:
        if rest == known:
            return known
    return "fp16" if spec.precision in QUANTISED and target not in ON_CPUS else "fp32"


def _not_so(source: Path, spec: ModelSpec, quantised: str) -> str:
    form = "" if quantised == "int8" else f" --format {quantised}"
    command = f"maskrt calibrate MODEL.onnx --images DIR{form} -o MODEL.{quantised}.onnx"
    if spec.precision in QUANTISED:
        return (
            f"{source} is in {spec.precision}, not in {quantised}: build it with  --precision "
            f"{spec.precision}+fp16 , or calibrate the float32 file anew:  {command}"
        )
    command = command.replace("MODEL.onnx", str(source)).replace("MODEL", source.stem)
    return f"{source} has no {quantised.upper()} layers: calibrate it first:  {command}"
