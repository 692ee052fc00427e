"""Evaluation of masks in large frames: maskrt's crops beside pycocotools on dense masks.

    python benchmarks/eval_speed.py                     # 200 frames of 1920x1080, 100 objects each

From what a mask head gives (probabilities within boxes) to COCO's AP, without the model. Ours:
masks pasted as crops, run-length codes of crops, faster-coco-eval. Theirs: masks pasted into the
whole frame, pycocotools' encoder on dense masks, pycocotools' evaluation. Both paste by the same
rule, so both must give the same AP. Objects are ellipses; detections are the true ones, moved and
resized at random, with some left out.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from maskrt.calibration.coco_eval import evaluate
from maskrt.commands.console import table, track
from maskrt.runtime import Detections
from maskrt.spec import (
    CanvasSpec,
    DetectionSpec,
    MaskSpec,
    ModelSpec,
    RoIPoolSpec,
    RPNLevelSpec,
    RPNSpec,
)

POOL = RoIPoolSpec((7, 7), (0,), (1 / 16,), 2, False, 4)
CLASSES = 10
SPEC = ModelSpec(
    labels=("__background__", *(f"class {i}" for i in range(CLASSES))),
    canvas=CanvasSpec(64, 64),
    rpn=RPNSpec((RPNLevelSpec((4, 4), (16, 16), ((-8.0, -8.0, 8.0, 8.0),), 16),), 8),
    box_pool=POOL,
    detection=DetectionSpec(100),
    mask=MaskSpec(POOL, (28, 28)),
)


def scene(
    rng: np.random.Generator, size: tuple[int, int], objects: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Boxes [n, 4] and labels [n] of true objects."""
    height, width = size
    sides = rng.uniform(20, 300, (objects, 2))
    corners = rng.uniform(0, 1, (objects, 2)) * ([width, height] - sides)
    boxes = np.concatenate([corners, corners + sides], 1).astype(np.float32)
    return boxes, rng.integers(1, CLASSES + 1, objects)


def ellipses(n: int) -> NDArray[np.float32]:
    """Mask probabilities [n, 28, 28] of ellipses that fill their boxes."""
    y, x = np.mgrid[:28, :28] / 13.5 - 1
    one = 1 / (1 + np.exp(12 * (np.hypot(x, y) - 0.9)))
    return np.repeat(one[None].astype(np.float32), n, 0)


def detected(
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    size: tuple[int, int],
    rng: np.random.Generator,
    jitter: float,
) -> Detections:
    """Detections of a scene."""
    sides = np.tile(boxes[:, 2:] - boxes[:, :2], 2)
    moved = (boxes + rng.normal(0, jitter, boxes.shape) * sides).astype(np.float32)
    moved[:, 2:] = np.maximum(moved[:, 2:], moved[:, :2] + 2)
    scores = rng.uniform(0.05, 1, len(boxes)).astype(np.float32)
    return Detections(moved, scores, labels, ellipses(len(boxes)), frame_size=size, spec=SPEC)


def main() -> None:
    """Measures and prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=200, metavar="N")
    parser.add_argument("--objects", type=int, default=100, metavar="N", help="in each frame")
    options = parser.parse_args()
    size, rng = (1080, 1920), np.random.default_rng(0)
    truth: dict[str, Any] = {
        "info": {},
        "images": [],
        "annotations": [],
        "categories": [{"id": i, "name": SPEC.labels[i]} for i in range(1, CLASSES + 1)],
    }
    ours: list[dict[str, Any]] = []
    theirs: list[dict[str, Any]] = []
    seconds = {"maskrt": 0.0, "pycocotools": 0.0}
    for image in track(range(options.images), "Frames", options.images):
        boxes, labels = scene(rng, size, options.objects)
        real = detected(boxes, labels, size, rng, 0.0)
        truth["images"].append({"id": image, "height": size[0], "width": size[1]})
        for entry in real.to_coco(image):
            _, _, w, h = entry["bbox"]
            own = {"id": len(truth["annotations"]) + 1, "area": w * h, "iscrowd": 0}
            truth["annotations"].append({**entry, **own})
        found = detected(boxes, labels, size, rng, 0.06)
        started = time.perf_counter()
        ours += found.to_coco(image)
        seconds["maskrt"] += time.perf_counter() - started
        again = found[np.arange(len(found))]  # nothing pasted yet
        started = time.perf_counter()
        theirs += dense_results(again, image)
        seconds["pycocotools"] += time.perf_counter() - started
    started = time.perf_counter()
    our_ap = evaluate(truth, ours, ("segm",))["segm/AP"]
    seconds["maskrt"] += time.perf_counter() - started
    started = time.perf_counter()
    their_ap = pycocotools_ap(truth, theirs)
    seconds["pycocotools"] += time.perf_counter() - started
    ratio = seconds["pycocotools"] / seconds["maskrt"]
    table(
        f"{options.images} frames of {size[1]}x{size[0]}, {options.objects} objects each",
        ("", "seconds", "mask AP", ""),
        (
            ("maskrt: crops, faster-coco-eval", f"{seconds['maskrt']:.1f}", f"{our_ap:.4f}", ""),
            (
                "dense masks, pycocotools",
                f"{seconds['pycocotools']:.1f}",
                f"{their_ap:.4f}",
                f"{ratio:.1f}x",
            ),
        ),
    )


def dense_results(found: Detections, image: int) -> list[dict[str, Any]]:
    """COCO results by way of full-frame masks."""
    masks = found.masks
    assert masks is not None  # for mypy
    codes = coco_mask.encode(np.asfortranarray(masks.transpose(1, 2, 0).view(np.uint8)))
    return [
        {
            "image_id": image,
            "category_id": int(label),
            "score": float(score),
            "segmentation": {"size": code["size"], "counts": code["counts"].decode()},
        }
        for label, score, code in zip(found.labels, found.scores, codes, strict=True)
    ]


def pycocotools_ap(truth: dict[str, Any], results: list[dict[str, Any]]) -> float:
    """By pycocotools, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        run = COCOeval(coco, coco.loadRes(results), "segm")
        run.evaluate()
        run.accumulate()
        run.summarize()
    return float(run.stats[0])


if __name__ == "__main__":
    main()
