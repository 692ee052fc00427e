"""``maskrt inspect``."""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskrt import heads
from maskrt.artefact import LIBRARIES, ArtefactHead
from maskrt.errors import ModelFileError
from maskrt.spec import ModelSpec

NAME = "inspect"
HELP = "what a model file holds, and whether it runs here"
DESCRIPTION = """\
Prints the spec that travels with a model file; for engines and bundles also
what they were built with, and whether they run on this machine. Reads a few
kilobytes: the file is not loaded, so it may be of any machine and version.
"""
EPILOG = """\
examples:
  maskrt inspect model.onnx            # a summary
  maskrt inspect model.onnx --json     # the whole spec, for other programs
  maskrt inspect model.engine          # built with what, for which GPU
  maskrt inspect model.bundle --json   # head, entries, and whether it runs here
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a model.onnx, model.engine or model.bundle"
    )
    parser.add_argument("--json", action="store_true", help="everything as JSON")


def execute(options: argparse.Namespace) -> None:
    """Runs the command."""
    file: Path = options.file
    if file.suffix.lower() == ".onnx":
        spec = heads.read_spec(file)
        if options.json:
            print(spec.to_json(indent=2))
        else:
            _table(str(file), summary(spec))
        return
    head = heads.read_head(file)
    is_bundle = file.suffix.lower() in heads.BUNDLES
    entries = heads.bundle_entries(file) if is_bundle else []
    problem, remarks = _runs_here(head, file)
    if options.json:
        print(json.dumps(_plain(file, head, entries, problem, remarks), indent=2))
        return
    _table(str(file), [*head_summary(head), *summary(head.spec, head.precision_label)])
    if entries:
        rows = [(name, f"{size / 1e3:,.1f} kB") for name, size in entries]
        _table("entries", rows, align="right")
    from maskrt.commands.console import console

    for line in remarks:
        console.print(f"note: {line}", markup=False, highlight=False, soft_wrap=True)
    told = f"does not run here: {problem}" if problem else "runs on this machine"
    console.print(told, markup=False, highlight=False, soft_wrap=True)


def head_summary(head: ArtefactHead) -> list[tuple[str, str]]:
    """The head in a few rows."""
    gpus = ", ".join(head.compute_capabilities)
    if gpus and head.hardware_compatible:
        gpus += " and later"
    library = f"{LIBRARIES[head.target]} {head.library}"
    if head.version_compatible:
        library += " (runs with later versions, too)"
    plugins = "none"
    if head.plugins_version:
        embedded = ", embedded" if head.plugins_embedded else ""
        plugins = f"interface {head.plugins_version}{embedded} {head.plugins_sha256[:16]}".rstrip()
    rows = [
        ("target", head.target),
        ("built with", library),
        ("built on", f"{head.platform}, maskrt {head.maskrt}"),
        ("compute capability", gpus or "any"),
        ("plugins", plugins),
        ("built from", f"ONNX file {head.source_sha256[:16]}" if head.source_sha256 else "unknown"),
    ]
    if head.part:
        rows.append(("part", head.part))
    return rows


def _runs_here(head: ArtefactHead, file: Path) -> tuple[str, list[str]]:
    """Why the file does not run here, empty if it does; and remarks."""
    from maskrt.runtime.compatibility import check
    from maskrt.runtime.machine import this_machine

    problem = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            check(head, this_machine(), file)
        except ModelFileError as error:
            problem = str(error)
    return problem, [str(warning.message) for warning in caught]


def _plain(
    file: Path, head: ArtefactHead, entries: list[tuple[str, int]], problem: str, remarks: list[str]
) -> dict[str, Any]:
    return {
        "file": str(file),
        "size": file.stat().st_size,
        "head": head.to_plain(),
        "entries": [{"name": name, "size": size} for name, size in entries],
        "runs_here": not problem,
        "problem": problem,
        "remarks": remarks,
    }


def _table(title: str, rows: list[tuple[str, str]], align: Any = "left") -> None:
    from maskrt.commands.console import table

    table(title, ("", "value"), [(name, value) for name, value in rows], align=align)


def summary(spec: ModelSpec, precision: str = "") -> list[tuple[str, str]]:
    """The spec in a few rows; of a built file with its precision, ``"int8+fp16"``."""
    canvas, batch, detection = spec.canvas, spec.batch, spec.detection
    limits = f", short side ≤ {canvas.min_size}" if canvas.min_size else ""
    limits += f", long side ≤ {canvas.max_size}" if canvas.max_size else ""
    names = list(spec.classes.values())
    rows = [
        ("task", spec.task),
        ("model", spec.provenance.model),
        ("weights", spec.provenance.weights_sha256[:16]),
        ("precision", precision or spec.precision),
        *([("calibration", _listed(spec.calibration))] if spec.calibration else []),
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


def _listed(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())


def _shortened(names: list[str]) -> str:
    shown = ", ".join(names[:6])
    return f"{shown}, …" if len(names) > 6 else shown
