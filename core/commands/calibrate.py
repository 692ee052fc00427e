"""``maskrt calibrate``."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskrt.errors import MaskrtError, MissingDependencyError

if TYPE_CHECKING:
    from maskrt.calibration.calibrator import Calibration
    from maskrt.calibration.report import CalibrationReport
    from maskrt.calibration.sensitivity import SearchRow

NAME = "calibrate"
HELP = "canonical ONNX and pictures → INT8, with explicit Q/DQ"
DESCRIPTION = """\
Quantises a model for INT8: runs it on pictures of what the camera will see,
chooses the range of each activation, and writes a canonical file with explicit
QuantizeLinear and DequantizeLinear nodes, which every target builds from.

The stem, the predictors of the RPN and of the heads, decode and NMS stay in
higher precision. Residual branches are quantised, and the feature maps that
RoIAlign reads share one scale.
"""
EPILOG = """\
examples:
  maskrt calibrate model.onnx --images photos/ -o model.int8.onnx
  maskrt calibrate model.onnx --images train.json --image-root photos/ -o model.int8.onnx
  maskrt calibrate model.onnx --images photos/ --max-ap-drop 0.003 \\
         --coco val.json --val-images val/ -o model.int8.onnx
  maskrt calibrate model.onnx --images photos/ --keep-fp16 'mask head' -o model.int8.onnx
  maskrt build model.int8.onnx --target openvino -o model.bundle

pictures: some hundred that look like the camera's: same light, same scenes,
objects in them. Labels are not needed, training pictures will do; never take
those that accuracy is measured on.
--ranges: what the pictures gave is kept in a file. Calibrating again with
another method or other kept layers then takes seconds, and a run that was
stopped goes on.
--max-ap-drop: if AP falls by more than that, the layers that cost most go back
to higher precision, as few as possible; measured on the annotated images.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model.onnx of maskrt export")
    parser.add_argument(
        "--images",
        required=True,
        type=Path,
        metavar="DIR|LIST|JSON",
        help="a folder, a text file with a path in each line, or COCO annotations",
    )
    parser.add_argument(
        "--image-root",
        type=Path,
        metavar="DIR",
        help="where the names in LIST or JSON start from (default: that file's folder)",
    )
    parser.add_argument("-o", "--output", required=True, type=Path, help="the INT8 file, .onnx")
    parser.add_argument(
        "--limit",
        type=int,
        default=200,
        metavar="N",
        help="images at most, spread over all of them (default: 200)",
    )
    parser.add_argument(
        "--method",
        metavar="METHOD",
        help="where a range ends: mse, entropy, percentile-99.99, percentile-99.9, minmax "
        "(default: mse; for fp8 minmax)",
    )
    parser.add_argument(
        "--format",
        choices=("int8", "fp8"),
        default="int8",
        help="fp8: E4M3, for GPUs from compute capability 8.9 on (default: int8)",
    )
    parser.add_argument(
        "--keep-fp16",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="layers that stay in higher precision: names of weights with * and ?, or a stage: "
        "trunk, 'box head', 'mask head', 'keypoint head'; 'feature maps': what RoIAlign reads",
    )
    parser.add_argument(
        "--ranges",
        type=Path,
        metavar="FILE",
        help="keeps the activations' distributions (default: OUTPUT with the ending .ranges.npz)",
    )
    parser.add_argument("--report", type=Path, metavar="FILE", help="layers and decisions as JSON")
    parser.add_argument(
        "--force", action="store_true", help="calibrate even with unsuitable images"
    )
    search = parser.add_argument_group("sensitivity search")
    search.add_argument(
        "--max-ap-drop",
        type=float,
        metavar="AP",
        help="of box, mask and keypoint AP, such as 0.003",
    )
    search.add_argument(
        "--coco", type=Path, metavar="JSON", help="annotations that AP is measured on"
    )
    search.add_argument(
        "--val-images",
        type=Path,
        metavar="DIR",
        help="where their images are (default: the folder of the annotations)",
    )
    search.add_argument(
        "--val-limit", type=int, metavar="N", help="the first N of these images alone"
    )
    search.add_argument(
        "--measurements",
        type=int,
        default=60,
        metavar="N",
        help="of AP, at most (default: 60)",
    )


def execute(options: argparse.Namespace) -> None:
    """Runs the command."""
    started = time.perf_counter()
    try:
        from maskrt.calibration import calibrator
    except ModuleNotFoundError as error:
        raise MissingDependencyError(str(error.name), "export,cpu,calibrate") from error
    from maskrt.calibration.images import Images, choose, find_images
    from maskrt.commands.console import warn
    from maskrt.runtime.sources import read_image

    _check(options)
    files = choose(find_images(options.images, options.image_root), options.limit)
    work = calibrator.Calibration(options.model, options.format)
    work.choose(options.keep_fp16)  # a wrong pattern is told before the work
    frames = Images(files, _in_order(read_image, work.spec.canvas.frame_order))
    for step in (_judge, _read_ranges):
        told = len(work.warnings)
        step(work, frames, options)
        for warning in work.warnings[told:]:
            warn(warning)
    sensitive: frozenset[str] = frozenset()
    rows: tuple[SearchRow, ...] = ()
    if options.max_ap_drop is not None:
        from maskrt.commands.search import search

        result = search(work, options)
        sensitive, rows = result.kept, result.rows
    model, report = work.quantised(options.method, keep_fp16=options.keep_fp16, sensitive=sensitive)
    report.search = [row.to_plain() for row in rows]
    calibrator.save(model, options.output)
    if options.report:
        report.write(options.report)
    _print(report, options, time.perf_counter() - started)


def _check(options: argparse.Namespace) -> None:
    from maskrt.calibration.calibrator import method_for

    if options.output.suffix.lower() != ".onnx":
        raise MaskrtError(
            f"--output {options.output}: found the suffix {options.output.suffix!r}, expected .onnx"
        )
    if options.output.resolve() == options.model.resolve():
        raise MaskrtError("--output is the model itself: name another file, the model is needed")
    try:
        options.method = method_for(options.format, options.method)
    except ValueError as error:
        raise MaskrtError(f"--{error}") from None
    if options.limit < 1:
        raise MaskrtError(f"--limit: found {options.limit}, expected 1 or more")
    if options.measurements < 1:
        raise MaskrtError(f"--measurements: found {options.measurements}, expected 1 or more")
    drop = options.max_ap_drop
    if drop is not None and not 0 <= drop < 1:
        raise MaskrtError(f"--max-ap-drop: found {drop}, expected a number such as 0.003")
    if (drop is None) != (options.coco is None):
        raise MaskrtError("--max-ap-drop and --coco go together: AP is measured on annotations")


def _in_order(read: Any, order: str) -> Any:
    """Frames in the channel order that the model takes; files are read as BGR."""
    return read if order == "bgr" else lambda path: read(path)[..., ::-1]


def _judge(work: Calibration, frames: Any, options: argparse.Namespace) -> None:
    from maskrt.commands.console import track

    work.judge(track(frames, "Looking at the images", len(frames)), force=options.force)


def _read_ranges(work: Calibration, frames: Any, options: argparse.Namespace) -> None:
    from maskrt.calibration.ranges import RangeStore
    from maskrt.commands.console import bar

    # a file that the user has not named is ours to replace
    store = RangeStore(
        options.ranges or options.output.with_suffix(".ranges.npz"), restart=not options.ranges
    )
    with bar("Reading ranges", len(frames)) as progress:
        work.read_ranges(frames, cache=store, force=options.force, progress=progress)


def _print(report: CalibrationReport, options: argparse.Namespace, seconds: float) -> None:
    from maskrt.commands.console import console, table

    name = {"int8": "INT8", "fp8": "FP8"}[report.format]
    table(
        "",
        ("stage", "layers", name, "GMAC", f"{name} share"),
        (
            (
                share.name,
                share.layers,
                share.quantised,
                f"{share.macs / 1e9:.2f}",
                f"{share.part:.1%}",
            )
            for share in (*report.shares(), report.total)
        ),
    )
    for reason, names in report.kept().items():
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        console.print(f"in higher precision ({reason}): {shown}", highlight=False)
    megabytes = options.output.stat().st_size / 1e6
    console.print(
        f"{options.output}: {name}, {report.method} of {report.images} images, "
        f"{megabytes:.1f} MB, in {seconds:.0f} s",
        highlight=False,
    )
    console.print(
        f"next:  maskrt build {options.output} --target ... -o model.bundle; "
        f"maskrt eval {options.model} {options.output} --coco ... --images ...",
        highlight=False,
    )
