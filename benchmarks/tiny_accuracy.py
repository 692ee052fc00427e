"""Accuracy of the bundled tiny models, by target and precision, on held-out pictures.

    python benchmarks/tiny_accuracy.py --images 200

COCO's AP (IoU or OKS 0.50:0.95), on this CPU. ONNX Runtime computes float16 nodes in float32 and
rounds little in between: the graph with real rounding is what ``tests/export/passes`` looks at.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from maskrt.artefact import LIBRARIES, BuildPrecision, Target
from maskrt.calibration.coco_eval import evaluate
from maskrt.commands.console import Steps, table
from maskrt.examples import shapes
from maskrt.examples.demo import coco_results
from maskrt.export import build_model, export, load_model
from maskrt.runtime import Detector

MODELS = {"mask_rcnn": ("bbox", "segm"), "keypoint_rcnn": ("bbox", "keypoints")}
BUILT: list[tuple[Target, BuildPrecision]] = [
    ("onnxruntime", "fp32"),
    ("onnxruntime", "fp16"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
]


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200, metavar="N")
    options = parser.parse_args()
    columns: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as name:
        for builder, kinds in MODELS.items():
            folder = Path(name, builder)
            canonical = folder / "model.onnx"
            with Steps() as step:
                step(f"Building {builder}")
                weights = shapes.WEIGHTS / f"{builder}.pth"
                export(
                    load_model(f"maskrt.examples.shapes:{builder}", weights), canonical, (192, 256)
                )
                files = {"canonical, ONNX Runtime": canonical}
                for target, precision in BUILT:
                    path = folder / f"{target}.{precision}.bundle"
                    build_model(canonical, path, target, precision)
                    files[f"bundle, {LIBRARIES[target]} {precision}"] = path
            frames, truth = shapes.dataset(
                options.images, split="val", seed=0, keypoint_task=builder == "keypoint_rcnn"
            )
            for title, path in files.items():
                with Detector(path) as detector:
                    results = coco_results(detector, frames, truth, f"{builder}: {title}")
                found = evaluate(truth, results, kinds)
                cells = [f"{found[f'{kind}/AP']:.4f}" for kind in kinds]
                columns.setdefault(title, []).extend(cells)
    table(
        f"AP on {options.images} held-out pictures",
        ("", "Mask R-CNN: box", "mask", "Keypoint R-CNN: box", "keypoint"),
        ((title, *cells) for title, cells in columns.items()),
    )


if __name__ == "__main__":
    main()
