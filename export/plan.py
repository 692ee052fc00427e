"""Builds TensorRT plans of plugin graphs: the whole model in one, or two with the heads apart."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import onnx

from maskrt import manifest
from maskrt.artefact import PrecisionChoice
from maskrt.errors import MaskrtError
from maskrt.export.builder import (
    BuildOptions,
    Profile,
    build_engine,
    make_head,
    single_profiles,
    write_engine,
)
from maskrt.export.bundle import write_archive
from maskrt.export.canonical import load_canonical
from maskrt.export.choice import rest_precision
from maskrt.export.partition import DTYPES
from maskrt.export.passes import to_tensorrt
from maskrt.export.report import BuildReport
from maskrt.export.split import split_heads
from maskrt.files import replacing, sha256_of
from maskrt.manifest import SLOTS, Manifest, Stage, StageName, StageTensor
from maskrt.plugins.library import library_path
from maskrt.spec import ModelSpec

Say = Callable[[str], None]


def write_plugin_graph(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    precision: PrecisionChoice | None = None,
    *,
    float32: frozenset[str] = frozenset(),
) -> list[str]:
    """Writes the ONNX graph of TensorRT plugin nodes, for trtexec and Polygraphy.

    Args:
        source: written by ``export``.
        output: an ONNX file.
        precision: of the dense layers that are not quantised (``export.choice``).
        float32: tensors of the canonical graph that stay float32 (``export.ranges``).

    Returns:
        What the passes did that a user should know.

    Raises:
        ModelFileError: the source is no canonical file.
        MaskrtError: the output cannot be written.
    """
    model, spec = load_canonical(source)
    chosen = rest_precision(precision, spec, "tensorrt", source)
    model, notes = to_tensorrt(model, chosen, float32)
    with replacing(output) as temporary:
        onnx.save(model, str(temporary))
    return notes


def write_plan(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    precision: PrecisionChoice | None = None,
    *,
    options: BuildOptions | None = None,
    split: bool = False,
    buckets: Sequence[int] = manifest.BUCKETS,
    float32: frozenset[str] = frozenset(),
    progress: Say | None = None,
) -> BuildReport:
    """Builds a canonical file with TensorRT, for the GPU of this machine.

    Args:
        source: written by ``export``.
        output: the plan, loadable by trtexec too; with ``split`` a bundle.
        precision: of the dense layers that are not quantised (``export.choice``).
        options: of the build; its plugin library defaults to the installed one.
        split: the mask and keypoint heads in a plan of their own, for the detections that there
            are, with an optimisation profile for each bucket.
        buckets: numbers of detections for which the heads run; with ``split``.
        float32: tensors of the canonical graph that stay float32 (``export.ranges``).
        progress: called with a line before each step.

    Raises:
        ModelFileError: the source is no canonical file.
        BuildError: TensorRT cannot build it.
        MaskrtError: the output cannot be written, or the plugin library is missing.
    """
    say = progress or (lambda line: None)
    say("Reading the model")
    model, spec = load_canonical(source)
    chosen = rest_precision(precision, spec, "tensorrt", source)
    options = options or BuildOptions()
    if options.plugin_library is None:
        options = replace(options, plugin_library=library_path())
    head = make_head(spec, "tensorrt", chosen, options=options, source_sha256=sha256_of(source))
    report = BuildReport(head)
    say("Replacing operators by plugins")
    model, report.notes = to_tensorrt(model, chosen, float32)

    def build(part: str, graph: onnx.ModelProto, profiles: Sequence[Profile]) -> bytes:
        say(f"Building {part or 'the engine'}")
        started = time.perf_counter()
        plan = build_engine(
            graph,
            "tensorrt",
            name=head.of_part(part).to_name(),
            profiles=profiles,
            options=options,
            progress=lambda phase, done, total: say(f"{phase}, {done} of {total}"),
        )
        report.seconds[part or "engine"] = time.perf_counter() - started
        report.sizes[part or "engine"] = len(plan)
        return plan

    if not split:
        plan = build("", model, single_profiles(spec))
        say("Writing the file")
        write_engine(output, plan)
        return report
    limits = manifest.buckets_for(spec.detection.max_detections, tuple(buckets))
    first, second = split_heads(model, spec)
    plans = {
        "detections.engine": build("detections", first, single_profiles(spec)),
        "heads.engine": build("heads", second, bucket_profiles(second, spec, limits)),
    }
    stages = (stage_of("detections", first), stage_of("heads", second))
    say("Writing the file")
    with replacing(output) as temporary:
        write_archive(temporary, head, Manifest(stages, limits), plans)
    return report


def bucket_profiles(
    heads: onnx.ModelProto, spec: ModelSpec, buckets: Sequence[int]
) -> tuple[Profile, ...]:
    """A profile for each bucket of the split-off heads, for all batches."""
    profiles = []
    for bucket in buckets:
        shapes = {}
        for value in heads.graph.input:
            sides = _sides(value)
            if any(not side.isdecimal() for side in sides):
                batches = (spec.batch.min, spec.batch.opt, spec.batch.max)
                low, opt, high = (
                    tuple({"B": b, SLOTS: bucket}.get(s) or int(s) for s in sides) for b in batches
                )
                shapes[value.name] = (low, opt, high)
        profiles.append(Profile(shapes))
    return tuple(profiles)


def stage_of(name: StageName, graph: onnx.ModelProto) -> Stage:
    """What the manifest says of a part, whose file is ``<name>.engine``."""
    return Stage(
        name,
        tuple(map(_tensor, graph.graph.input)),
        tuple(map(_tensor, graph.graph.output)),
        (f"{name}.engine",),
    )


def _tensor(value: onnx.ValueInfoProto) -> StageTensor:
    dtype = DTYPES.get(value.type.tensor_type.elem_type)
    if dtype is None:
        raise MaskrtError(f"'{value.name}' has a type that no engine's interface has")
    return StageTensor(value.name, dtype, _sides(value))


def _sides(value: onnx.ValueInfoProto) -> tuple[str, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(str(dim.dim_value) if dim.HasField("dim_value") else dim.dim_param for dim in dims)
