"""The public entry of building: a canonical ONNX file in, what a target runs out."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from maskrt.artefact import PrecisionChoice, Target
from maskrt.export.builder import BuildError, BuildOptions
from maskrt.export.bundle import write_bundle
from maskrt.export.plan import write_plan
from maskrt.export.report import BuildReport
from maskrt.manifest import BUCKETS

__all__ = ["BuildError", "BuildOptions", "BuildReport", "build_model"]


def build_model(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    target: Target,
    precision: PrecisionChoice | None = None,
    *,
    options: BuildOptions | None = None,
    split_heads: bool = False,
    buckets: Sequence[int] = BUCKETS,
    float32: frozenset[str] = frozenset(),
    progress: Callable[[str], None] | None = None,
) -> BuildReport:
    """Builds a canonical file for a target.

    A file already at ``output`` is replaced only by a complete one.

    Args:
        source: written by ``export``.
        output: a ``.bundle``; for ``tensorrt`` an ``.engine``, or with ``split_heads`` a bundle.
        target: ``tensorrt`` (one plan with plugins, for the GPU of this machine),
            ``tensorrt-rtx``, ``openvino`` or ``onnxruntime`` (dense stages with native operators in
            between; no GPU is needed to build).
        precision: of the dense layers, ``"fp32"``, ``"fp16"`` or ``"bf16"``; of a quantised file
            those that are not quantised, and ``"int8+fp16"`` says the same. None: float32, for a
            quantised file on GPUs float16. Coordinates, decode and NMS are float32 always.
        options: how engines are built, and for which GPUs.
        split_heads: ``tensorrt``: the mask and keypoint heads get a plan of their own, for the
            detections that there are.
        buckets: numbers of detections for which the mask and keypoint heads run.
        float32: tensors of the canonical graph that stay float32 (``maskrt.export.ranges``).
        progress: called with a line before each step.

    Raises:
        ModelFileError: the source is no canonical file.
        UnsupportedModelError: the graph has a part that the target cannot express.
        BuildError: the target's library cannot build it; which node failed, and what to do.
        MissingDependencyError: the target's library is not installed.
        MaskrtError: the output cannot be written, the target has no such precision, or the file is
            not quantised as asked.
        ValueError: options do not suit each other or the target.
    """
    suffix = Path(output).suffix.lower()
    if target == "tensorrt":
        _check_suffix(suffix, (".bundle",) if split_heads else (".engine", ".plan"), target)
        return write_plan(
            source,
            output,
            precision,
            options=options,
            split=split_heads,
            buckets=buckets,
            float32=float32,
            progress=progress,
        )
    _check_suffix(suffix, (".bundle",), target)
    if split_heads:
        raise ValueError("split_heads is for the target tensorrt: bundles are split anyway")
    return write_bundle(
        source,
        output,
        target,
        precision,
        options=options,
        buckets=buckets,
        float32=float32,
        progress=progress,
    )


def _check_suffix(suffix: str, allowed: tuple[str, ...], target: str) -> None:
    if suffix not in allowed:
        raise ValueError(
            f"output: found the suffix {suffix!r}, expected {' or '.join(allowed)} for the target "
            f"{target}"
        )
