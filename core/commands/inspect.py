"""``maskrt inspect``."""

from __future__ import annotations

import argparse
from pathlib import Path

from maskrt.spec import ModelSpec

NAME = "inspect"
HELP = "what a model file holds"
DESCRIPTION = "Prints the spec that travels with a model file."
EPILOG = """\
examples:
  maskrt inspect model.onnx          # a summary
  maskrt inspect model.onnx --json   # the whole spec, for other programs
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("file", type=Path, metavar="FILE", help="a model.onnx")
    parser.add_argument("--json", action="store_true", help="the whole spec as JSON")


def execute(options: argparse.Namespace) -> None:
    """Runs the command."""
    from maskrt.runtime import Detector

    with Detector(options.file) as detector:
        spec = detector.spec
    if options.json:
        print(spec.to_json(indent=2))
        return
    from maskrt.commands.console import table

    table(str(options.file), ("", "value"), summary(spec), align="left")


def summary(spec: ModelSpec) -> list[tuple[str, str]]:
    """The spec in a few rows."""
    canvas, batch, detection = spec.canvas, spec.batch, spec.detection
    limits = f", short side ≤ {canvas.min_size}" if canvas.min_size else ""
    limits += f", long side ≤ {canvas.max_size}" if canvas.max_size else ""
    names = [name for name in spec.labels if name != "__background__"]
    rows = [
        ("task", spec.task),
        ("model", spec.provenance.model),
        ("weights", spec.provenance.weights_sha256[:16]),
        ("precision", spec.precision),
        ("frames", f"uint8 [{'B' if batch.dynamic else batch.max}, H, W, 3] {canvas.frame_order}"),
        ("batch", f"{batch.min}-{batch.max}" if batch.dynamic else str(batch.max)),
        ("canvas", f"{canvas.height}x{canvas.width}{limits}"),
        ("classes", f"{len(names)}: {_shortened(names)}"),
    ]
    if spec.keypoint:
        points = spec.keypoint.names
        rows.append(("keypoints", f"{len(points)}: {_shortened(list(points))}"))
    rows += [
        ("RoIs", str(spec.rpn.num_rois)),
        ("detections", f"at most {detection.max_detections}"),
        ("score threshold", f"{detection.score_threshold:g} (default)"),
        ("NMS threshold", f"{detection.nms_threshold:g} (default)"),
        ("made with", ", ".join(f"{k} {v}" for k, v in spec.provenance.tools.items())),
    ]
    return rows


def _shortened(names: list[str]) -> str:
    shown = ", ".join(names[:6])
    return f"{shown}, …" if len(names) > 6 else shown
