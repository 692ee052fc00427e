"""The bundled trained models: through ONNX as good as eager, on pictures they have not seen."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from maskrt.calibration.coco_eval import evaluate
from maskrt.examples import shapes
from maskrt.export import build_model, load_model
from maskrt.runtime import Detector
from maskrt.runtime.masks import paste_probabilities
from tests import parity
from tests.eager import on_canvas
from tests.parity import of_result, share_of_twins
from tests.support import models

IMAGES = 40
TASKS = {
    "mask_rcnn": ("bbox", "segm"),
    "keypoint_rcnn": ("bbox", "keypoints"),
}
SHARES = {
    ("onnxruntime", "fp16"): 0.98,
    ("openvino", "bf16"): 0.85,
}
"""Of detections that bundles in low precision share with the canonical file. Those in float32 find
the same: tests/runtime/test_bundle.py."""
AP = 0.01


@dataclass
class Tiny:
    """One of the tiny models, and what its canonical file finds in pictures."""

    name: str
    model: Any
    path: Path
    frames: list[np.ndarray]
    truth: dict[str, Any]

    def __post_init__(self) -> None:
        self.detector = Detector(self.path)
        self.found = [self.detector(frame) for frame in self.frames]
        self.reference = parity.eager(on_canvas(self.model, models.CANVAS))

    def precision(self, results) -> dict[str, float]:
        """AP of results, one for each of the pictures."""
        entries = []
        for result, image in zip(results, self.truth["images"], strict=True):
            entries += result.to_coco(image["id"])
        figures = evaluate(self.truth, entries, TASKS[self.name])
        return {kind: figures[f"{kind}/AP"] for kind in TASKS[self.name]}


@pytest.fixture(scope="module", params=TASKS)
def tiny(request, canonical):
    model = load_model(
        f"maskrt.examples.shapes:{request.param}", shapes.WEIGHTS / f"{request.param}.pth"
    )
    path = canonical(request.param)
    keypoints = request.param == "keypoint_rcnn"
    frames, truth = shapes.dataset(IMAGES, split="val", seed=0, keypoint_task=keypoints)
    return Tiny(request.param, model, path, frames, truth)


@pytest.mark.parametrize("built", SHARES, ids="-".join)
def test_bundles_in_low_precision(tiny, built, tmp_path):
    target, precision = built
    pytest.importorskip(target)
    path = tmp_path / "model.bundle"
    build_model(tiny.path, path, target, precision)
    with Detector(path) as bundle:
        results = [bundle(frame) for frame in tiny.frames]
    share = share_of_twins(*([of_result(x) for x in found] for found in (tiny.found, results)))
    assert share >= SHARES[built]
    found = tiny.precision(results)
    for kind, expected in tiny.precision(tiny.found).items():
        assert abs(found[kind] - expected) <= AP


def test_same_detections_in_pictures(tiny):
    """One by one, which says more than average precision; the bundled weights are trained."""
    parity.assert_parity(tiny.reference, tiny.frames[:20], [of_result(x) for x in tiny.found[:20]])
    assert min(tiny.precision(tiny.found).values()) > 0.6


@pytest.mark.parametrize("size", [(192, 256), (333, 201), (60, 80), (1080, 1920)])
def test_same_detections(tiny, size):
    frame, _ = shapes.image(3, split="val", size=size)
    parity.assert_parity(tiny.reference, [frame], [of_result(tiny.detector(frame))])


def test_pasted_masks_are_torchvisions(tiny):
    """Not on the fixed canvas but as torchvision's users call the model: the sizes are equal."""
    if tiny.name != "mask_rcnn":
        assert tiny.found[0].masks is None
        return
    frame, _ = shapes.image(3, split="val")
    image = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1).float() / 255

    def find(frames, k):
        model = tiny.model.eval() if k is None else parity.disturbed(tiny.model.eval(), k)
        with torch.no_grad():
            (found,) = model([image])
        found["masks"] = found["masks"][:, 0]
        return [{name: value.numpy() for name, value in found.items()}]

    result = tiny.detector(frame)
    spec = tiny.detector.spec
    crops = paste_probabilities(result.mask_probs, result.boxes, frame.shape[:2], spec.mask.paste)
    pasted = np.zeros((len(result), *frame.shape[:2]), np.float32)
    for whole, (x, y, probability) in zip(pasted, crops, strict=True):
        h, w = probability.shape
        whole[y : y + h, x : x + w] = probability
    detection = spec.detection
    reference = parity.Reference(find, detection.score_threshold, detection.max_detections)
    ours = {**of_result(result), "masks": pasted}
    parity.assert_parity(reference, [frame], [ours])
    clear = abs(pasted - 0.5) > 1e-3  # a probability of one half is on either side
    np.testing.assert_array_equal(result.masks[clear], pasted[clear] > 0.5)
