"""``maskrt eval``."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from maskrt.commands.arguments import threshold
from maskrt.errors import MaskrtError, MissingDependencyError
from maskrt.spec import ModelSpec

NAME = "eval"
HELP = "COCO's average precision of one or several files"
DESCRIPTION = """\
Runs models on annotated images and prints COCO's average precision of boxes,
masks and keypoints, side by side; differences are to the first one.

A model is a canonical .onnx file, a .bundle, or an eager model (torchvision/NAME,
detectron2/NAME, a .yaml of detectron2's or package.module:function, with
--weights), which then runs on the canvas of the first file.
"""
EPILOG = """\
examples:
  maskrt eval model.bundle --coco annotations.json --images photos/
  maskrt eval model.onnx model.bundle --coco annotations.json --images photos/ --json ap.json
  maskrt eval model.onnx --coco annotations.json --images photos/ --keep found/

classes: matched by name where the annotations' names are among the model's
labels; otherwise by number (torchvision's COCO models), or in the order of
their numbers (detectron2's models, which count classes from 0).
--keep: each image's detections are kept as soon as they are there; a run that
was stopped goes on from there, a finished one is only evaluated again.
"""
KINDS = {"bbox": "box", "segm": "mask", "keypoints": "keypoint"}
MEASURES = ("AP", "AP50", "AP75")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument("models", nargs="+", metavar="MODEL", help="files, or eager models")
    parser.add_argument(
        "--coco", required=True, type=Path, metavar="JSON", help="annotations in COCO's format"
    )
    parser.add_argument(
        "--images",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder that the file names in the annotations start from",
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N images alone")
    parser.add_argument(
        "--weights",
        default="none",
        metavar="FILE|DEFAULT|none",
        help="of an eager model, as 'maskrt export' takes them",
    )
    parser.add_argument(
        "--score-threshold", type=threshold, metavar="T", help="default: the model's own"
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all cores)")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep detections there, and go on from them"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="the figures as JSON")


def execute(options: argparse.Namespace) -> None:
    """Runs the command."""
    try:
        from maskrt.calibration.coco_eval import evaluate

        import_evaluator()
    except ModuleNotFoundError as error:
        raise MissingDependencyError(str(error.name), "calibrate") from error
    from maskrt.evaluation import categories_of, detect_all, kinds_of, read_truth

    if options.limit is not None and options.limit < 1:
        raise MaskrtError(f"--limit: found {options.limit}, expected 1 or more")
    truth = read_truth(options.coco, options.images, options.limit)
    figures: dict[str, dict[str, float]] = {}
    for model in options.models:
        detect, spec, close = _open(model, options)
        key, keep = "", None
        if options.keep:
            key = _key(model, options)
            keep = options.keep / f"{Path(model).name.replace(':', '_')}.jsonl"
        results = detect_all(
            detect,
            truth,
            categories_of(spec, truth),
            keep=keep,
            key=key,
            progress=Path(model).name,
        )
        close()
        try:
            figures[model] = evaluate(truth.annotations, results, kinds_of(spec))
        except ValueError as error:  # annotations without what the model finds
            raise MaskrtError(f"{options.coco}: {error}") from None
    _print(figures, len(truth.files))
    if options.json:
        _write(options.json, figures, options, len(truth.files))


def import_evaluator() -> None:
    """The library that evaluates: better missed before an hour of detection than after."""
    import faster_coco_eval  # noqa: F401


def _open(
    model: str, options: argparse.Namespace
) -> tuple[Callable[[Any], Any], ModelSpec, Callable[[], None]]:
    """What detects in a frame, the spec, and what frees the model."""
    from maskrt.runtime import Detector
    from maskrt.tap_sources import is_file

    if is_file(model):
        try:
            detector = Detector(
                model, threads=options.threads, score_threshold=options.score_threshold
            )
        except ValueError as error:
            raise MaskrtError(str(error)) from error
        return detector.bgr, detector.spec, detector.close
    return _eager(model, options)


def _eager(
    model: str, options: argparse.Namespace
) -> tuple[Callable[[Any], Any], ModelSpec, Callable[[], None]]:
    from maskrt.heads import read_spec
    from maskrt.runtime.detector import one_frame
    from maskrt.tap_sources import is_file, open_taps

    files = [other for other in options.models if is_file(other)]
    if not files:
        raise MaskrtError(
            f"{model}: an eager model runs on the canvas of a file: name its .onnx file, too"
        )
    spec = read_spec(files[0])
    source = open_taps(model, spec=spec, weights=options.weights, threads=options.threads)
    detection = spec.detection
    score = options.score_threshold
    score = detection.score_threshold if score is None else score

    def detect(frame: Any) -> Any:
        outputs = source.run(frame[None], score, detection.nms_threshold)
        return one_frame(outputs, 0, frame.shape[:2], spec)

    return detect, spec, lambda: None


def _key(model: str, options: argparse.Namespace) -> str:
    """What decides about detections: the file, the threshold and the annotations."""
    from maskrt.files import sha256_of
    from maskrt.tap_sources import is_file

    what = sha256_of(model) if is_file(model) else f"{model} {options.weights}"
    return f"{what} {options.score_threshold} {sha256_of(options.coco)}"


def _print(figures: dict[str, dict[str, float]], images: int) -> None:
    from maskrt.commands.console import table

    first = next(iter(figures.values()))
    keys = [f"{kind}/{m}" for kind in KINDS for m in MEASURES]
    keys = [key for key in keys if any(key in found for found in figures.values())]
    rows = []
    for model, found in figures.items():
        cells = []
        for key in keys:
            value = found.get(key, math.nan)
            text = "-" if math.isnan(value) else f"{value:.4f}"
            if found is not first and not math.isnan(value - first.get(key, math.nan)):
                text += f" ({value - first[key]:+.4f})"
            cells.append(text)
        rows.append((Path(model).name, *cells))
    titles = [f"{KINDS[key.split('/')[0]]} {key.split('/')[1]}" for key in keys]
    # models are columns: there are fewer of them
    table(
        f"COCO's average precision, {images} images",
        ("", *(row[0] for row in rows)),
        ((title, *(row[i + 1] for row in rows)) for i, title in enumerate(titles)),
    )


def _write(
    path: Path, figures: dict[str, dict[str, float]], options: argparse.Namespace, images: int
) -> None:
    from maskrt.files import replacing

    record = {
        "coco": str(options.coco),
        "images": images,
        "score_threshold": options.score_threshold,
        "models": {
            model: {key: None if math.isnan(value) else value for key, value in found.items()}
            for model, found in figures.items()
        },
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
