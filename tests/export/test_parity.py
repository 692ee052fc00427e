"""Exported models against eager torchvision, and bundles against exported models."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
import torchvision

from maskrt.export import build_model, export
from maskrt.runtime.bundle import BundleSession
from tests.eager import detect, on_canvas, picture, spread
from tests.runtime.test_bundle import assert_same

SCORE, BOX, MASK = 1e-4, 0.05, 1e-3
CANVASES = {"landscape": (224, 320), "portrait": (320, 224)}
FRAMES = {
    "landscape": (240, 330),
    "portrait": (333, 201),
    "tiny": (12, 17),
    "huge": (2160, 3840),
}


class Exported:
    """A model, eager on the canvas and as an ONNX file in plain ONNX Runtime."""

    def __init__(self, model, canvas, path) -> None:
        export(model, path, canvas, batch=(1, 2))
        self.path = path
        self.bundles = {}
        self.session = onnxruntime.InferenceSession(str(path))
        self.eager = on_canvas(model, canvas)
        self.names = [output.name for output in self.session.get_outputs()]

    def bundle(self, target):
        """A session of a bundle of the file."""
        if target not in self.bundles:
            path = self.path.with_suffix(f".{target}.bundle")
            build_model(self.path, path, target)
            self.bundles[target] = BundleSession(path)
        return self.bundles[target]

    def run(self, frames):
        results = self.session.run(None, {"frames": np.stack(frames)})
        outputs = dict(zip(self.names, results, strict=True))
        for name in self.names[1:]:
            for b, count in enumerate(outputs["num_detections"]):
                assert not outputs[name][b, count:].any(), f"{name} is not zero padded"
        return [
            {name: outputs[name][b, :count] for name in self.names[1:]}
            for b, count in enumerate(outputs["num_detections"])
        ]


@pytest.fixture(scope="module", params=["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"])
def models(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("parity")
    torch.manual_seed(0)
    built = torchvision.models.get_model(
        request.param,
        weights=None,
        weights_backbone=None,
        rpn_pre_nms_top_n_test=400,
        rpn_post_nms_top_n_test=300,
    )
    return {
        name: Exported(spread(built, canvas), canvas, folder / f"{name}.onnx")
        for name, canvas in CANVASES.items()
    }


def assert_twins(eager, ours):
    """Each eager detection has its own twin, and there are no others."""
    assert len(ours["boxes"]) == len(eager["boxes"]) > 0
    free = set(range(len(ours["boxes"])))
    for i, (box, score, label) in enumerate(
        zip(eager["boxes"], eager["scores"], eager["labels"], strict=True)
    ):
        distance = {
            j: np.abs(ours["boxes"][j] - box).max() for j in free if ours["labels"][j] == label
        }
        assert distance, f"no twin of detection {i}, label {label}, score {score}"
        j = min(distance, key=distance.get)
        free.remove(j)
        assert distance[j] <= BOX, f"box of detection {i}: off by {distance[j]} px"
        assert abs(ours["scores"][j] - score) <= SCORE
        if "masks" in ours:
            np.testing.assert_allclose(ours["masks"][j], eager["crops"][i], atol=MASK, rtol=0)


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("canvas", CANVASES)
def test_single_frames(models, canvas, frame):
    image = picture(FRAMES[frame], seed=len(frame))
    assert_twins(detect(models[canvas].eager, [image])[0], models[canvas].run([image])[0])


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("canvas", CANVASES)
def test_bundles(models, canvas, frame, target):
    if target == "openvino":
        pytest.importorskip("openvino")
    frames = np.stack([picture(FRAMES[frame], seed=len(frame) + i) for i in range(2)])
    bundle = models[canvas].bundle(target)
    for batch in (frames[:1], frames):
        names = models[canvas].names
        results = models[canvas].session.run(None, {"frames": batch})
        expected = dict(zip(names, results, strict=True))
        assert_same(expected, bundle.run(batch, 0.05, 0.5))


@pytest.mark.parametrize("canvas", CANVASES)
def test_batch_of_two(models, canvas):
    images = [picture((240, 330), seed=7), picture((240, 330), seed=8)]
    eager = detect(models[canvas].eager, images)
    ours = models[canvas].run(images)
    assert not np.array_equal(eager[0]["boxes"], eager[1]["boxes"])
    for one, two in zip(eager, ours, strict=True):
        assert_twins(one, two)


def test_detections_spread(models):
    """The random weights are worth testing with: many classes, sizes and scores."""
    found = [models["landscape"].run([picture((240, 330), seed)])[0] for seed in (7, 8, 9)]
    joined = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    sides = (joined["boxes"][:, 2:] - joined["boxes"][:, :2]).min(1)
    assert len(sides) > 20
    assert len(set(joined["labels"])) >= 5
    assert sides.max() > 4 * sides.min()
    assert joined["scores"].max() > 2 * joined["scores"].min()
    assert joined["masks"].std() > 0.05
