"""``maskrt build``."""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskrt.artefact import LIBRARIES, PRECISION_CHOICES, TARGETS, precision_label
from maskrt.commands.arguments import compute_capability, memory
from maskrt.errors import MaskrtError, MissingDependencyError
from maskrt.manifest import BUCKETS

if TYPE_CHECKING:
    from maskrt.export.builder import BuildOptions
    from maskrt.export.report import BuildReport

NAME = "build"
HELP = "canonical ONNX → an engine or a bundle for a target"
DESCRIPTION = """\
Builds what runs: from the model.onnx of 'maskrt export', or the model.int8.onnx
of 'maskrt calibrate', for one of these targets.

  tensorrt      one plan (.engine) with maskrt's plugins, for the GPU of this
                machine: build on the device that will run it (Jetson, desktop).
  tensorrt-rtx  a .bundle of dense stages with native operators in between,
                compiled here, without a GPU, for the GPUs named by --sm.
  openvino      a .bundle for CPUs; bf16 halves the time where the CPU has it,
                INT8 files take a third of it.
  onnxruntime   a .bundle for CPUs, and wherever ONNX Runtime's CPU build runs.
"""
EPILOG = """\
examples:
  maskrt build model.onnx --target tensorrt --precision fp16 -o model.engine
  maskrt build model.onnx --target tensorrt-rtx --precision fp16 --sm 86 89 120 -o model.bundle
  maskrt build model.onnx --target openvino --precision bf16 -o model.bundle
  maskrt build model.int8.onnx --target openvino -o model.bundle    # of maskrt calibrate
  maskrt build model.onnx --target tensorrt -o model.trt.onnx   # the plugin graph, for trtexec
  maskrt compare model.onnx model.bundle --images photos/       # then: is it still right?

precision: fp16 and bf16 are the dense layers'; coordinates, decode, NMS and
RoI maths stay float32. If a layer's values may leave float16's range, give
--check-images: what comes near the limit stays float32. In a calibrated file,
the layers that are quantised stay so, and the choice is that of the others:
int8+fp16, which fp16 means there, is INT8 with float16. FP8 files are for GPUs
from compute capability 8.9 on (Ada); CPUs take INT8.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "model",
        type=Path,
        metavar="MODEL",
        help="a model.onnx of maskrt export, or a model.int8.onnx of maskrt calibrate",
    )
    parser.add_argument(
        "--target", required=True, choices=TARGETS, help="what runs the file; see above"
    )
    parser.add_argument(
        "--precision",
        choices=PRECISION_CHOICES,
        metavar="PRECISION",
        help="fp32, fp16 or bf16; of a calibrated file int8+fp32, int8+fp16 or int8+bf16 "
        "(fp8+... likewise). Default: fp32; for calibrated files int8+fp16 on GPUs, int8+fp32 on "
        "CPUs",
    )
    parser.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        help=".engine (tensorrt), .bundle (the others, and --split-heads), or .onnx (tensorrt: the "
        "plugin graph alone)",
    )
    parser.add_argument(
        "--check-images",
        type=Path,
        metavar="DIR",
        help="pictures of what the camera sees: layers whose values come near the precision's "
        "range on them stay float32",
    )
    parser.add_argument(
        "--buckets",
        nargs="+",
        type=int,
        default=list(BUCKETS),
        metavar="N",
        help="detections for which the mask and keypoint heads run (default: "
        + " ".join(map(str, BUCKETS))
        + ")",
    )
    gpu = parser.add_argument_group("tensorrt-rtx")
    gpu.add_argument(
        "--sm",
        nargs="+",
        type=compute_capability,
        default=[],
        metavar="CC",
        help="GPUs to compile for, 86 or 8.6 (default: all that TensorRT-RTX knows from 80 "
        "on; for FP8 files from 89 on)",
    )
    plan = parser.add_argument_group("tensorrt")
    plan.add_argument(
        "--split-heads",
        action="store_true",
        help="a bundle of two plans: the mask and keypoint heads run on the detections that exist",
    )
    plan.add_argument("--workspace", type=memory, metavar="SIZE", help="scratch memory, such as 2G")
    plan.add_argument(
        "--level", type=int, choices=range(6), metavar="0-5", help="effort in choosing kernels"
    )
    plan.add_argument(
        "--timing-cache", type=Path, metavar="FILE", help="kept from build to build, saves time"
    )
    plan.add_argument(
        "--version-compatible", action="store_true", help="runs with later versions of TensorRT too"
    )
    plan.add_argument(
        "--hardware-compatible", action="store_true", help="runs on all GPUs from Ampere on"
    )
    plan.add_argument(
        "--embed-plugins", action="store_true", help="the plan holds the plugin library"
    )
    plan.add_argument(
        "--plugins", type=Path, metavar="FILE", help="libmaskrt_plugins (default: the package's)"
    )


def execute(options: argparse.Namespace) -> None:
    """Runs the command."""
    started = time.perf_counter()
    from maskrt.commands.console import Steps, console

    _check_output(options)
    with Steps() as step:
        step("Loading onnx")
        try:
            import_module("maskrt.export.build")
        except ModuleNotFoundError as error:
            # without torch where engines are built on the device
            extra = {"tensorrt": "gpu", "tensorrt-rtx": "rtx"}.get(options.target, "export")
            raise MissingDependencyError(str(error.name), extra) from error
        try:
            notes, report, label = _build(options, step)
        except ValueError as error:  # options that do not suit each other or the model
            raise MaskrtError(str(error)) from error
    for note in notes:
        console.print(f"note: {note}", highlight=False)
    megabytes = options.output.stat().st_size / 1e6
    seconds = time.perf_counter() - started
    console.print(
        f"{options.output}: {LIBRARIES[options.target]}, {label}, {megabytes:.1f} MB, "
        f"in {seconds:.0f} s",
        highlight=False,
    )
    if report:
        _print(report)
    if options.output.suffix != ".onnx":
        console.print(f"next:  maskrt compare {options.model} {options.output} --images DIR")


def _build(options: argparse.Namespace, step: Any) -> tuple[list[str], BuildReport | None, str]:
    """Notes, what was built, and its precision; the plugin graph alone is no build."""
    from maskrt.export.build import build_model
    from maskrt.export.choice import rest_precision
    from maskrt.export.plan import write_plugin_graph
    from maskrt.heads import read_spec

    kept = _kept_in_float32(options, step)
    if options.output.suffix.lower() == ".onnx":
        step("Replacing operators by plugins")
        notes = write_plugin_graph(options.model, options.output, options.precision, float32=kept)
        spec = read_spec(options.output)
        rest = rest_precision(options.precision, spec, options.target, options.model)
        return notes, None, precision_label(spec.precision, rest)
    report = build_model(
        options.model,
        options.output,
        options.target,
        options.precision,
        options=_options(options),
        split_heads=options.split_heads,
        buckets=options.buckets,
        float32=kept,
        progress=step,
    )
    return report.notes, report, report.head.precision_label


def _check_output(options: argparse.Namespace) -> None:
    """Refuses a suffix that would mislead, and options that have no effect."""
    suffix = options.output.suffix.lower()
    allowed: tuple[str, ...] = (".bundle",)
    if options.target == "tensorrt":
        allowed = (".bundle",) if options.split_heads else (".engine", ".plan", ".onnx")
    if suffix not in allowed:
        raise MaskrtError(
            f"--output {options.output}: found the suffix {suffix!r}, expected "
            f"{' or '.join(allowed)} for --target {options.target}"
            + (" --split-heads" if options.split_heads else "")
        )
    if options.sm and options.target != "tensorrt-rtx":
        raise MaskrtError(
            "--sm is for --target tensorrt-rtx: TensorRT builds for the GPU that it runs on, the "
            "other targets for CPUs"
        )
    only = ("split_heads", "workspace", "level", "timing_cache", "version_compatible")
    for name in (*only, "hardware_compatible", "embed_plugins", "plugins"):
        if getattr(options, name) not in (None, False) and options.target != "tensorrt":
            raise MaskrtError(f"--{name.replace('_', '-')} is for --target tensorrt")
    if any(bucket < 1 for bucket in options.buckets):
        raise MaskrtError(f"--buckets: found {min(options.buckets)}, expected numbers from 1 on")


def _options(options: argparse.Namespace) -> BuildOptions:
    from maskrt.export.builder import BuildOptions, log_path
    from maskrt.plugins.library import library_path

    plugins = options.plugins
    if options.target == "tensorrt" and plugins is None:
        plugins = library_path()
    return BuildOptions(
        compute_capabilities=tuple(options.sm),
        workspace=options.workspace,
        level=options.level,
        timing_cache=options.timing_cache,
        version_compatible=options.version_compatible,
        hardware_compatible=options.hardware_compatible,
        embed_plugins=options.embed_plugins,
        plugin_library=plugins,
        log=log_path(options.output),
    )


def _kept_in_float32(options: argparse.Namespace, step: Any) -> frozenset[str]:
    """Tensors whose values on the user's pictures come near the precision's range."""
    if options.check_images is None:
        return frozenset()
    from maskrt.export.canonical import load_canonical
    from maskrt.export.choice import rest_precision
    from maskrt.export.ranges import largest_values, overflowing
    from maskrt.runtime import open_source

    step("Looking at the ranges of values")
    model, spec = load_canonical(options.model)
    rest = rest_precision(options.precision, spec, options.target, options.model)
    if rest == "fp32":
        return frozenset()
    with open_source(options.check_images) as source:
        values = largest_values(model, source)
    return overflowing(values, rest)


def _print(report: BuildReport) -> None:
    from maskrt.commands.console import table

    table(
        "",
        ("stage", "MB", "seconds"),
        (
            (name.replace("_", " "), f"{size / 1e6:.1f}", f"{report.seconds[name]:.1f}")
            for name, size in report.sizes.items()
        ),
    )
