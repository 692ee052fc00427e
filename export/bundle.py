"""Writes bundles: dense stages for a library that has no plugins, in one file."""

from __future__ import annotations

import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import onnx

from maskrt import manifest
from maskrt.artefact import LIBRARIES, ArtefactHead, BuildPrecision, PrecisionChoice, Target
from maskrt.errors import MaskrtError, MissingDependencyError
from maskrt.export.builder import BuildOptions, build_engine, make_head, stage_profiles
from maskrt.export.canonical import load_canonical
from maskrt.export.choice import rest_precision
from maskrt.export.partition import DenseStage, partition
from maskrt.export.passes import STAGES, STAGES_RTX, Context, apply
from maskrt.export.report import BuildReport
from maskrt.files import replacing, sha256_of
from maskrt.manifest import Layout, Manifest, Stage
from maskrt.spec import QUANTISED

Files = dict[str, bytes]
"""Of one stage, in the order in which the library wants them: by suffix, or by name."""
EPOCH = (1980, 1, 1, 0, 0, 0)  # the archive's time stamps: the same input gives the same bytes


def write_bundle(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    target: Target,
    precision: PrecisionChoice | None = None,
    *,
    options: BuildOptions | None = None,
    buckets: Sequence[int] = manifest.BUCKETS,
    float32: frozenset[str] = frozenset(),
    progress: Callable[[str], None] | None = None,
) -> BuildReport:
    """Builds a bundle of a canonical file.

    A file already at ``output`` is replaced once the new one is complete.

    Args:
        source: written by ``export``.
        output: the bundle.
        target: ``openvino``, ``onnxruntime`` or ``tensorrt-rtx``.
        precision: of the dense layers that are not quantised (``export.choice``); OpenVINO computes
            in it where the processor can. Coordinates, decode and NMS are float32 always.
        options: for ``tensorrt-rtx``: its GPUs, and how its engines are built.
        buckets: numbers of detections for which the mask and keypoint heads run.
        float32: tensors of the canonical graph that stay float32 (``export.ranges``).
        progress: called with a line before each step.

    Raises:
        ModelFileError: the source is no canonical file.
        UnsupportedModelError: the graph cannot be cut.
        MissingDependencyError: the target's library is not installed.
        MaskrtError: the file cannot be written, a stage cannot be built, or the target has no such
            precision.
    """
    say = progress or (lambda line: None)
    say("Reading the model")
    model, spec = load_canonical(source)
    chosen = rest_precision(precision, spec, target, source)
    options = options or BuildOptions()
    head = make_head(
        spec,
        target,
        chosen,
        options=options,
        library=_library_version(target),
        source_sha256=sha256_of(source),
    )
    options = replace(options, compute_capabilities=head.compute_capabilities)
    report = BuildReport(head)
    say("Cutting it into stages")
    # OpenVINO takes a float32 graph, and what it is to be computed in as a setting
    typed: BuildPrecision = "fp32" if target == "openvino" else chosen
    layout: Layout = "channels_last" if target == "tensorrt-rtx" else "linear"
    passes = STAGES_RTX if layout == "channels_last" else STAGES
    model, report.notes = apply(model, passes, Context(spec, typed, float32))
    stages: list[Stage] = []
    contents: Files = {}
    for dense in partition(model, spec, layout=layout):
        what = f"{dense.name.replace('_', ' ')} for {LIBRARIES[target]}"
        say(f"Building the {what}")
        started = time.perf_counter()
        built = _build(dense, head, options, _prefixed(say, what))
        files = {f"{dense.name}{suffix}": data for suffix, data in built.items()}
        report.seconds[dense.name] = time.perf_counter() - started
        report.sizes[dense.name] = sum(map(len, files.values()))
        contents.update(files)
        stages.append(Stage(dense.name, dense.inputs, dense.outputs, tuple(files)))
    limits = manifest.buckets_for(spec.detection.max_detections, tuple(buckets))
    say("Writing the file")
    with replacing(output) as temporary:
        write_archive(temporary, head, Manifest(tuple(stages), limits), contents)
    return report


def write_archive(path: Path, head: ArtefactHead, parts: Manifest, contents: Files) -> None:
    """An archive, the manifest first, without compression but for quantised TensorRT-RTX engines.

    These hold the text of their kernels, which is compiled for the GPU when they are loaded: beside
    weights of a byte each that is a third of the file, and compressible to a few percent of it.
    """
    text = manifest.to_json(head, parts).encode()
    kernels = head.target == "tensorrt-rtx" and head.spec.precision in QUANTISED
    packed = zipfile.ZIP_DEFLATED if kernels else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(manifest.ENTRY, EPOCH), text)
        for name, data in contents.items():
            # the fastest level: weights do not become smaller by more effort
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data, packed, compresslevel=1)


def _prefixed(say: Callable[[str], None], what: str) -> Callable[[str], None]:
    return lambda line: say(f"{what}: {line}")


def _library_version(target: Target) -> str:
    """Of a library that runs on CPUs, where it is installed; the others say it themselves."""
    if target in ("onnxruntime", "openvino"):
        try:
            return metadata.version(target)
        except metadata.PackageNotFoundError:
            return "unknown"
    return ""


def _build(
    stage: DenseStage, head: ArtefactHead, options: BuildOptions, say: Callable[[str], None]
) -> Files:
    if head.target == "openvino":
        return {**to_openvino(stage.model, compress=head.precision != "fp32")}
    if head.target == "onnxruntime":
        if head.precision == "bf16":
            raise MaskrtError(
                "ONNX Runtime has no bfloat16 on CPUs: choose --precision fp32 or fp16, or "
                "--target openvino"
            )
        return {".onnx": stage.model.SerializeToString(deterministic=True)}
    if head.target == "tensorrt-rtx":
        engine = build_engine(
            stage.model,
            "tensorrt-rtx",
            name=head.of_part(stage.name).to_name(),
            profiles=stage_profiles(stage.inputs, head.spec),
            options=options,
            progress=lambda phase, done, total: say(f"{phase}, {done} of {total}"),
        )
        return {".engine": bytes(engine)}
    raise MaskrtError(
        f"the target {head.target} has no bundles of stages: expected openvino, onnxruntime or "
        "tensorrt-rtx"
    )


def to_openvino(model: onnx.ModelProto, *, compress: bool) -> Files:
    """OpenVINO's topology and weights; compressed: float16 weights, half the size.

    Raises:
        MissingDependencyError: OpenVINO is not installed.
    """
    try:
        import openvino
    except ImportError:
        raise MissingDependencyError("openvino", "cpu") from None
    with tempfile.TemporaryDirectory() as name:
        onnx_file, topology = Path(name, "stage.onnx"), Path(name, "stage.xml")
        onnx.save(model, str(onnx_file))
        converted = openvino.Core().read_model(str(onnx_file))
        openvino.save_model(converted, str(topology), compress_to_fp16=compress)
        weights = topology.with_suffix(".bin")
        return {".xml": topology.read_bytes(), ".bin": weights.read_bytes()}
