"""Accuracy and CPU time of the bundled tiny models, by target and precision, on held-out pictures.

    python benchmarks/tiny_accuracy.py --images 200
    python benchmarks/tiny_accuracy.py --methods          # INT8 by each way to choose ranges

COCO's AP (IoU or OKS 0.50:0.95), on this CPU; the time is that of a detection, median over the
pictures. INT8 is calibrated on training pictures with the default settings. ONNX Runtime computes
float16 nodes in float32 and rounds little in between: the graph with real rounding is what
``tests/export/passes`` looks at. FP8 is simulated: ONNX Runtime rounds to E4M3 and computes in
float32.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch is imported, see the README

from maskrt.artefact import LIBRARIES, BuildPrecision, Target
from maskrt.calibration import Calibration, calibrate, evaluate
from maskrt.calibration.calibrator import save
from maskrt.calibration.methods import METHODS
from maskrt.commands.console import Steps, table
from maskrt.examples import shapes
from maskrt.examples.demo import coco_results
from maskrt.export import build_model, export, load_model
from maskrt.runtime import Detections, Detector

MODELS = {"mask_rcnn": ("bbox", "segm"), "keypoint_rcnn": ("bbox", "keypoints")}
BUILT: list[tuple[Target, BuildPrecision]] = [
    ("onnxruntime", "fp32"),
    ("onnxruntime", "fp16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
]
BUILT_INT8: list[tuple[Target, BuildPrecision]] = [
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
]


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200, metavar="N")
    parser.add_argument(
        "--calibrated", type=int, default=200, metavar="N", help="training pictures (default: 200)"
    )
    parser.add_argument(
        "--methods", action="store_true", help="INT8 by each way to choose ranges, nothing else"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    rows: dict[str, list[str]] = {}
    figures: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        for builder, kinds in MODELS.items():
            keypoints = builder == "keypoint_rcnn"
            frames, truth = shapes.dataset(
                options.images, split="val", seed=0, keypoint_task=keypoints
            )
            seen, _ = shapes.dataset(
                options.calibrated, split="train", seed=0, keypoint_task=keypoints
            )
            prepare = by_method if options.methods else by_target
            for title, path in prepare(builder, Path(name, builder), seen):
                times: list[float] = []
                with Detector(path) as detector:

                    def timed(
                        frame: Any, detector: Detector = detector, times: list[float] = times
                    ) -> Detections:
                        started = time.perf_counter()
                        found = detector(frame)
                        times.append((time.perf_counter() - started) * 1e3)
                        return found

                    results = coco_results(timed, frames, truth, f"{builder}: {title}")
                found = evaluate(truth, results, kinds)
                median = statistics.median(times)
                cells = [f"{found[f'{kind}/AP']:.4f}" for kind in kinds]
                rows.setdefault(title, []).extend([*cells, f"{median:.1f} ms"])
                figures.setdefault(title, {})[builder] = {**found, "median_ms": median}
    table(
        f"AP on {options.images} held-out pictures, ranges from {options.calibrated} others",
        ("", "Mask R-CNN: box", "mask", "time", "Keypoint R-CNN: box", "keypoint", "time"),
        ((title, *cells) for title, cells in rows.items()),
    )
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def exported(builder: str, folder: Path) -> Path:
    """The canonical file of a bundled model."""
    weights = shapes.WEIGHTS / f"{builder}.pth"
    path = folder / "model.onnx"
    export(load_model(f"maskrt.examples.shapes:{builder}", weights), path, (192, 256))
    return path


def by_target(builder: str, folder: Path, seen: Any) -> Iterator[tuple[str, Path]]:
    """Files of a model by what they are called in the table."""
    with Steps() as step:
        step(f"Building {builder}")
        canonical = exported(builder, folder)
        yield "canonical, ONNX Runtime", canonical
        for target, precision in BUILT:
            path = folder / f"{target}.{precision}.bundle"
            build_model(canonical, path, target, precision)
            yield f"bundle, {LIBRARIES[target]} {precision}", path
        int8 = folder / "int8.onnx"
        ranges = folder / "ranges.npz"
        calibrate(canonical, int8, seen, cache=ranges)
        yield "INT8, canonical, ONNX Runtime", int8
        for target, precision in BUILT_INT8:
            path = folder / f"{target}.int8.{precision}.bundle"
            build_model(int8, path, target, precision)
            yield f"INT8, bundle, {LIBRARIES[target]} int8+{precision}", path
        fp8 = folder / "fp8.onnx"
        calibrate(canonical, fp8, seen, cache=ranges, format="fp8")
        yield "FP8, canonical, simulated", fp8


def by_method(builder: str, folder: Path, seen: Any) -> Iterator[tuple[str, Path]]:
    """INT8 files of a model by the method that chose their ranges."""
    canonical = exported(builder, folder)
    yield "float32", canonical
    work = Calibration(canonical)
    work.read_ranges(seen)
    for method in METHODS:
        path = folder / f"{method}.onnx"
        model, _ = work.quantised(method)
        save(model, path)
        yield method, path


if __name__ == "__main__":
    main()
