"""``maskrt compare``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
from itertools import islice
from pathlib import Path
from typing import Any

from maskrt.commands.arguments import threshold
from maskrt.errors import MaskrtError
from maskrt.tolerances import PRECISIONS

NAME = "compare"
HELP = "two forms of a model, stage by stage: where they begin to differ"
DESCRIPTION = """\
Runs two forms of a model on the same pictures and compares what passes between
their parts: image, feature maps, candidates, RoIs, RoI features, logits,
detections, masks, keypoints. Names the first stage that is out of tolerance;
the exit status is then 1.

A and B are each an eager model (torchvision/NAME, detectron2/NAME, a .yaml of
detectron2's or package.module:function, as 'maskrt export' takes it, with
--weights), a canonical .onnx file, a .bundle, or an .engine (of which only the
outputs can be seen). A is the reference. Of detectron2's models the eager side
is maskrt's own graph, run by PyTorch.
"""
EPILOG = """\
examples:
  maskrt compare torchvision/maskrcnn_resnet50_fpn model.onnx --weights mine.pth \\
                 --images photos/
  maskrt compare model.onnx model.bundle --images photos/ --limit 20 --json out.json
  maskrt compare model.onnx model.engine --images photos/ --box-tolerance 1.5

tolerances: by the looser precision of the two. A file changes some of them:
  {"features": {"largest": 0.2}, "boxes": {"largest": 1.5, "mean": 0.3, "share": 0.02}}
'largest' is the difference of a row (an element of a map, a RoI, a detection),
'mean' that of all elements, 'share' that of rows which are beyond 'largest' or
have no partner in the other run ('alone' in the table). Maps and logits are in
units of the reference's root mean square ('RMS').
"""

_SHORT = {"px": " px", "of the RMS": " RMS"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    for name, what in (("a", "the reference"), ("b", "what is held against it")):
        parser.add_argument(name, metavar=name.upper(), help=f"{what}: a file, or an eager model")
    parser.add_argument(
        "--images", required=True, metavar="DIR", help="a folder of images, an image, or a video"
    )
    parser.add_argument(
        "--limit", type=int, default=50, metavar="N", help="images at most (default: 50)"
    )
    parser.add_argument(
        "--weights",
        default="none",
        metavar="FILE|DEFAULT|none",
        help="of an eager model, as 'maskrt export' takes them",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="whose tolerances to take (default: the looser precision of A and B)",
    )
    parser.add_argument(
        "--tolerance-file", type=Path, metavar="JSON", help="tolerances by stage, see below"
    )
    parser.add_argument("--box-tolerance", type=float, metavar="PX", help="of boxes, in pixels")
    parser.add_argument("--score-tolerance", type=float, metavar="S", help="of scores")
    parser.add_argument(
        "--score-threshold", type=threshold, metavar="T", help="for both (default: A's own)"
    )
    parser.add_argument(
        "--nms-threshold", type=threshold, metavar="T", help="for both (default: A's own)"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="the whole result as JSON")


def execute(options: argparse.Namespace) -> None:
    """Runs the command.

    Raises:
        MaskrtError: a stage is out of tolerance, or the two cannot be compared.
    """
    from maskrt.commands.console import Steps
    from maskrt.comparison import Comparison
    from maskrt.tap_sources import open_pair

    if options.limit < 1:
        raise MaskrtError(f"--limit: found {options.limit}, expected 1 or more")
    with Steps() as step:
        step("Opening both")
        pair = open_pair(options.a, options.b, weights=options.weights, threads=options.threads)
    tolerances = _tolerances(options, pair)
    spec = pair[0].spec
    detection = spec.detection
    thresholds = (
        detection.score_threshold if options.score_threshold is None else options.score_threshold,
        detection.nms_threshold if options.nms_threshold is None else options.nms_threshold,
    )
    comparison = Comparison.of(spec, tolerances, thresholds[0])
    count = _run(options, pair, thresholds, comparison)
    stages, first = comparison.stages(), comparison.first_out()
    if options.json:
        _write(options, count, tolerances.precision, stages, first)
    _print(options, count, tolerances.precision, stages)
    if first:
        raise MaskrtError(_verdict(first))
    from maskrt.commands.console import console

    console.print("All stages are within tolerance.")


def _tolerances(options: argparse.Namespace, pair: Any) -> Any:
    from maskrt.tolerances import Tolerances, looser, read_tolerances

    precision = options.precision or looser(pair[0].precision, pair[1].precision)
    tolerances = Tolerances(precision)
    if options.tolerance_file:
        tolerances = read_tolerances(options.tolerance_file, precision)
    if options.box_tolerance is not None:
        for stage in ("boxes", "boxes_canvas"):
            tolerances = tolerances.with_largest(stage, options.box_tolerance)
    if options.score_tolerance is not None:
        tolerances = tolerances.with_largest("scores", options.score_tolerance)
    return tolerances


def _run(
    options: argparse.Namespace, pair: Any, thresholds: tuple[float, float], comparison: Any
) -> int:
    import numpy as np

    from maskrt.commands.console import track
    from maskrt.runtime import open_source

    # a fixed batch is filled with the same frame
    batch = max(source.spec.batch.min for source in pair)
    count = 0
    with open_source(options.images) as source:
        total = min(options.limit, source.count or options.limit)
        for frame in track(islice(source, options.limit), source.name, total):
            frames = np.repeat(frame[None], batch, 0)
            one, two = (side.run(frames, *thresholds) for side in pair)
            comparison.add(one, two)
            count += 1
    if not count:
        raise MaskrtError(f"{options.images} gave no frames")
    return count


def _print(options: argparse.Namespace, count: int, precision: str, stages: list[Any]) -> None:
    from maskrt.commands.console import table

    rows = []
    for stage in stages:
        verdict = "ok" if stage.within else "OUT"
        if not stage.rows and not stage.note:
            verdict = "no rows"
        unit = _SHORT.get(stage.unit, "")
        figures = [f"{stage.largest:.2g}", f"{stage.mean:.2g}", f"{stage.limit.largest:.2g}{unit}"]
        if stage.note:
            figures = [stage.note, "", ""]
        rows.append((stage.stage, *figures, str(stage.unmatched or ""), verdict))
    title = f"{options.a} and {options.b}, {count} images, tolerances of {precision}"
    columns = ("stage", "largest", "mean", "limit", "alone", "")
    table(title, columns, rows)


def _verdict(stage: Any) -> str:
    text = f"out of tolerance, first in the stage '{stage.stage}'"
    if stage.note:
        return f"{text}: {stage.note}"
    limit = stage.limit
    unit = f" {stage.unit}" if stage.unit else ""
    parts = []
    if not math.isfinite(stage.largest):
        parts.append("some values are not finite")
    if stage.mean > limit.mean:
        parts.append(f"on average {stage.mean:.2g}{unit}, expected at most {limit.mean:.2g}")
    if stage.beyond > limit.share:
        parts.append(
            f"{stage.beyond:.2%} of {stage.rows} rows differ by more than "
            f"{limit.largest:.2g}{unit} or have no partner, expected at most {limit.share:.2%} "
            f"(the largest: {stage.largest:.2g})"
        )
    return f"{text}: {'; '.join(parts)}"


def _write(
    options: argparse.Namespace, count: int, precision: str, stages: list[Any], first: Any
) -> None:
    from maskrt.files import replacing

    content = {
        "a": options.a,
        "b": options.b,
        "images": count,
        "precision": precision,
        "within": first is None,
        "first_out": first.stage if first else None,
        "stages": [
            {
                **{name: _number(value) for name, value in dataclasses.asdict(stage).items()},
                "within": stage.within,
            }
            for stage in stages
        ],
    }
    with replacing(options.json) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _number(value: Any) -> Any:
    """JSON has no infinity."""
    return "inf" if isinstance(value, float) and not math.isfinite(value) else value
