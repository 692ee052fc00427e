"""The bundled trained models: through ONNX as good as eager, on pictures they have not seen."""

from __future__ import annotations

import pytest
import torch

from maskrt.calibration.coco_eval import evaluate
from maskrt.examples import shapes
from maskrt.export import build_model, export, load_model
from maskrt.runtime import Detections, Detector
from maskrt.runtime.masks import paste_probabilities
from tests.eager import detect, on_canvas
from tests.export.test_parity import assert_twins

CANVAS = (192, 256)
IMAGES = 60
TASKS = {
    "mask_rcnn": ("bbox", "segm"),
    "keypoint_rcnn": ("bbox", "keypoints"),
}


LIMITS = {
    ("onnxruntime", "fp32"): 0.001,
    ("openvino", "fp32"): 0.001,
    ("onnxruntime", "fp16"): 0.002,
    ("openvino", "bf16"): 0.005,
}
"""How far AP of a bundle may be from the canonical file's."""


@pytest.fixture(scope="module", params=TASKS)
def tiny(request, tmp_path_factory):
    """Name, eager model and detector of one of the tiny models."""
    model = load_model(
        f"maskrt.examples.shapes:{request.param}", shapes.WEIGHTS / f"{request.param}.pth"
    )
    path = tmp_path_factory.mktemp("tiny") / "model.onnx"
    export(model, path, CANVAS)
    return request.param, model, Detector(path)


def results_of_eager(model, frames, truth, spec):
    """Eager detections through the same Detections, and so the same pasting."""
    results = []
    for frame, entry in zip(frames, truth["images"], strict=True):
        (found,) = detect(model, [frame])
        points = found.get("keypoints")
        detections = Detections(
            found["boxes"], found["scores"], found["labels"], found.get("crops"), points,
            frame_size=frame.shape[:2], spec=spec,
        )  # fmt: skip
        results += detections.to_coco(entry["id"])
    return results


def results_of(detector, frames, truth):
    """COCO results of a detector."""
    results = []
    for frame, entry in zip(frames, truth["images"], strict=True):
        results += detector(frame).to_coco(entry["id"])
    return results


@pytest.mark.parametrize("built", LIMITS, ids="-".join)
def test_average_precision_of_bundles(tiny, built, tmp_path):
    target, precision = built
    if target == "openvino":
        pytest.importorskip("openvino")
    name, _, detector = tiny
    path = tmp_path / "model.bundle"
    build_model(detector.path, path, target, precision)
    frames, truth = shapes.dataset(
        IMAGES, split="val", seed=0, keypoint_task=name == "keypoint_rcnn"
    )
    with Detector(path) as bundle:
        ours = results_of(bundle, frames, truth)
    reference = results_of(detector, frames, truth)
    for kind in TASKS[name]:
        found = evaluate(truth, ours, (kind,))[f"{kind}/AP"]
        expected = evaluate(truth, reference, (kind,))[f"{kind}/AP"]
        assert abs(found - expected) <= LIMITS[built]


def test_same_average_precision(tiny):
    name, model, detector = tiny
    frames, truth = shapes.dataset(
        IMAGES, split="val", seed=0, keypoint_task=name == "keypoint_rcnn"
    )
    ours = results_of(detector, frames, truth)
    theirs = results_of_eager(on_canvas(model, CANVAS), frames, truth, detector.spec)
    for kind in TASKS[name]:
        through_onnx = evaluate(truth, ours, (kind,))[f"{kind}/AP"]
        eager = evaluate(truth, theirs, (kind,))[f"{kind}/AP"]
        assert abs(through_onnx - eager) <= 0.001
        assert eager > 0.6, "the bundled weights are trained"


@pytest.mark.parametrize("size", [(192, 256), (333, 201), (60, 80), (1080, 1920)])
def test_same_detections(tiny, size):
    name, model, detector = tiny
    frame, _ = shapes.image(3, split="val", size=size)
    (eager,) = detect(on_canvas(model, CANVAS), [frame])
    result = detector(frame)
    ours = {"boxes": result.boxes, "scores": result.scores, "labels": result.labels}
    if name == "mask_rcnn":
        ours["masks"] = result.mask_probs
    assert_twins(eager, ours)


def test_pasted_masks_are_torchvisions(tiny):
    """Not on the fixed canvas but as torchvision's users call the model: the sizes are equal."""
    name, model, detector = tiny
    if name != "mask_rcnn":
        assert detector(shapes.image(3, split="val")[0]).masks is None
        return
    frame, _ = shapes.image(3, split="val")
    image = torch.from_numpy(frame[..., ::-1].copy()).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        (eager,) = model.eval()([image])
    result = detector(frame)
    assert len(result) == len(eager["masks"]) > 3
    crops = paste_probabilities(
        result.mask_probs, result.boxes, frame.shape[:2], detector.spec.mask.paste
    )
    for (x, y, probability), expected in zip(crops, eager["masks"][:, 0], strict=True):
        h, w = probability.shape
        pasted = torch.zeros(frame.shape[:2])
        pasted[y : y + h, x : x + w] = torch.from_numpy(probability)
        torch.testing.assert_close(pasted, expected, atol=1e-3, rtol=0)
    assert (result.masks == (eager["masks"][:, 0] > 0.5).numpy()).mean() > 0.9999
