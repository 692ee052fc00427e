"""Model files for the simulated GPU: what  maskrt build  writes, with ONNX graphs as engines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

import maskrt
from maskrt.artefact import ArtefactHead, Target
from maskrt.export.bundle import write_archive
from maskrt.export.canonical import load_canonical
from maskrt.export.partition import partition
from maskrt.export.passes import STAGES, Context, apply
from maskrt.export.passes.byte_masks import byte_masks
from maskrt.export.plan import stage_of
from maskrt.export.split import split_heads
from maskrt.gpus import platform_name
from maskrt.manifest import Manifest, Stage, buckets_for
from maskrt.plugins import library
from maskrt.spec import ModelSpec, Precision

VERSIONS: dict[Target, str] = {"tensorrt": "10.13.0", "tensorrt-rtx": "1.7.1"}
"""Those of the stand-ins."""
THRESHOLDS = ("score_threshold", "nms_threshold")


def head_of(spec: ModelSpec, target: Target, precision: Precision = "fp32") -> ArtefactHead:
    """As of a file that was built for the simulated GPU."""
    return ArtefactHead(
        target=target,
        precision=precision,
        library=VERSIONS[target],
        maskrt=maskrt.__version__,
        platform=platform_name(),
        spec=replace(spec, precision=precision),
        compute_capabilities=("8.9",),
        plugins_version=library.VERSION if target == "tensorrt" else 0,
    )


def write_rtx_bundle(source: Path, path: Path, precision: Precision = "fp32") -> Path:
    """A bundle for TensorRT-RTX of a canonical file."""
    model, spec = load_canonical(source)
    model, _ = apply(model, STAGES, Context(spec, precision))
    stages, contents = [], {}
    for dense in partition(model, spec, layout="channels_last"):
        contents[f"{dense.name}.engine"] = dense.model.SerializeToString()
        stages.append(Stage(dense.name, dense.inputs, dense.outputs, (f"{dense.name}.engine",)))
    parts = Manifest(tuple(stages), buckets_for(spec.detection.max_detections))
    write_archive(path, head_of(spec, "tensorrt-rtx", precision), parts, contents)
    return path


def _with_tensorrts_interface(source: Path) -> tuple[onnx.ModelProto, ModelSpec]:
    """The canonical model with thresholds that have no defaults, and masks as bytes."""
    model, spec = load_canonical(source)
    kept = [i for i in model.graph.initializer if i.name not in THRESHOLDS]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    known = {value.name for value in model.graph.input}
    for name in THRESHOLDS:
        if name not in known:
            value = onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [])
            model.graph.input.append(value)
    functions = list(model.functions)
    model, _ = apply(model, [byte_masks], Context(spec))
    del model.functions[:]
    model.functions.extend(functions)
    return model, spec


def write_plan(source: Path, path: Path, limit: int = 8192) -> Path:
    """A plan of a canonical file, whose operators' own bodies stand for the plugins.

    Args:
        source: the canonical file.
        path: the plan.
        limit: the largest size of a frame's side.
    """
    model, spec = _with_tensorrts_interface(source)
    head = head_of(spec, "tensorrt")
    onnx.helper.set_model_props(
        model, {"network.name": head.to_name(), "standin.limit": str(limit)}
    )
    path.write_bytes(model.SerializeToString())
    return path


def write_split_plans(source: Path, path: Path) -> Path:
    """A bundle of two plans, detections and heads, with a profile for each bucket."""
    model, spec = _with_tensorrts_interface(source)
    buckets = buckets_for(spec.detection.max_detections)
    slots = {"detections": "0", "heads": " ".join(map(str, buckets))}
    stages, contents = [], {}
    for name, part in zip(slots, split_heads(model, spec), strict=True):
        del part.functions[:]
        part.functions.extend(model.functions)
        onnx.helper.set_model_props(part, {"standin.slots": slots[name]})
        contents[f"{name}.engine"] = part.SerializeToString()
        stages.append(stage_of(name, part))
    parts = Manifest(tuple(stages), buckets)
    write_archive(path, head_of(spec, "tensorrt"), parts, contents)
    return path
