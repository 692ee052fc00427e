"""Exported models against eager torchvision, and bundles against exported models.

torchvision's architectures with few and narrow layers: a graph has the same kinds of nodes, and
what is proved is the same. At full width ``test_torchvisions_own_builders`` runs them and, all of
them, ``benchmarks/support``.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import (
    FastRCNNConvFCHead,
    FastRCNNPredictor,
    TwoMLPHead,
)
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.resnet import Bottleneck, ResNet
from torchvision.ops import FrozenBatchNorm2d

from maskrt.export import build_model, export
from maskrt.runtime.bundle import BundleSession
from tests.eager import on_canvas, picture, spread
from tests.parity import File, Found, assert_parity, assert_same_outputs, eager, live
from tests.support.tiers import quick

CANVASES = {"landscape": (224, 320), "portrait": (320, 224)}
FRAMES = {"landscape": (240, 330), "portrait": (333, 201), "small": (60, 85)}
FEW = {"rpn_pre_nms_top_n_test": 400, "rpn_post_nms_top_n_test": 300}
WIDTH = 32


class Narrow(ResNet):
    """A ResNet of four bottlenecks with an eighth of the channels, in torchvision's order."""

    def _make_layer(self, block, planes, blocks, stride=1, dilate=False):
        return super()._make_layer(block, planes // 8, blocks, stride, dilate)


def backbone(norm: type[nn.Module]) -> nn.Module:
    body = Narrow(Bottleneck, [1, 1, 1, 1], norm_layer=norm)
    layers = {f"layer{i}": str(i - 1) for i in (1, 2, 3, 4)}
    channels = [body.inplanes // 8 << i for i in range(4)]
    return BackboneWithFPN(body, layers, channels, WIDTH)


def version_1() -> MaskRCNN:
    return MaskRCNN(
        backbone(FrozenBatchNorm2d),
        None,
        box_head=TwoMLPHead(WIDTH * 49, 64),
        box_predictor=FastRCNNPredictor(64, 91),
        mask_head=MaskRCNNHeads(WIDTH, [WIDTH] * 4, 1),
        mask_predictor=MaskRCNNPredictor(WIDTH, WIDTH, 91),
        **FEW,
    )


def version_2() -> MaskRCNN:
    norm = nn.BatchNorm2d
    return MaskRCNN(
        backbone(norm),
        None,
        rpn_head=RPNHead(WIDTH, 3, conv_depth=2),
        box_head=FastRCNNConvFCHead((WIDTH, 7, 7), [WIDTH] * 4, [64], norm_layer=norm),
        box_predictor=FastRCNNPredictor(64, 91),
        mask_head=MaskRCNNHeads(WIDTH, [WIDTH] * 4, 1, norm_layer=norm),
        mask_predictor=MaskRCNNPredictor(WIDTH, WIDTH, 91),
        **FEW,
    )


def whole(name: str) -> MaskRCNN:
    builder = torchvision.models.get_model
    return builder(name, weights=None, weights_backbone=None, **FEW)


class Exported:
    """A model, eager on the canvas and as an ONNX file."""

    def __init__(self, build, canvas, folder) -> None:
        torch.manual_seed(0)
        model = spread(build(), canvas)
        path = folder / "model.onnx"
        export(model, path, canvas, batch=(1, 2))
        self.file = File(path)
        self.eager = eager(on_canvas(model, canvas))

    def bundle(self, target):
        """A session of a bundle of the file."""
        path = self.file.path.with_suffix(f".{target}.bundle")
        build_model(self.file.path, path, target)
        return BundleSession(path)

    def run(self, frames) -> list[Found]:
        return live(self.file.outputs(np.stack(frames)))

    def assert_eager(self, *frames) -> None:
        assert_parity(self.eager, frames, self.run(frames))


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """Layers this small gain nothing from more threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(
    scope="module",
    params=quick([version_1], [version_1, version_2], "another export; detectron2's are quick"),
    ids=lambda build: build.__name__,
)
def model(request, tmp_path_factory):
    return Exported(request.param, CANVASES["landscape"], tmp_path_factory.mktemp("parity"))


@pytest.mark.parametrize("frame", FRAMES)
def test_frames(model, frame):
    model.assert_eager(picture(FRAMES[frame], seed=len(frame)))


def test_batch_of_two(model):
    one, two = picture((240, 330), seed=7), picture((240, 330), seed=8)
    first, second = model.run([one, two])
    assert not np.array_equal(first["boxes"], second["boxes"])
    model.assert_eager(one, two)


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_bundles(model, target):
    pytest.importorskip(target)
    bundle = model.bundle(target)
    frames = np.stack([picture(FRAMES["landscape"], seed=7 + i) for i in range(2)])
    for batch in (frames[:1], frames):
        assert_same_outputs(model.file, bundle.run(batch, 0.05, 0.5), batch, at_least=4)


def test_detections_spread(model):
    """The random weights are worth testing with: many classes, sizes and scores."""
    found = [model.run([picture((240, 330), seed)])[0] for seed in (7, 8, 9)]
    joined = {name: np.concatenate([one[name] for one in found]) for name in found[0]}
    sides = (joined["boxes"][:, 2:] - joined["boxes"][:, :2]).min(1)
    assert len(sides) > 20
    assert len(set(joined["labels"])) >= 5
    assert sides.max() > 4 * sides.min()
    assert joined["scores"].max() > 2 * joined["scores"].min()
    assert joined["masks"].std() > 0.05


@pytest.mark.slow(reason="another export; portrait frames are quick")
def test_a_portrait_canvas(tmp_path):
    """With frames of both orientations, and one much larger than it."""
    model = Exported(version_1, CANVASES["portrait"], tmp_path)
    for size in (*FRAMES.values(), (2160, 3840)):
        model.assert_eager(picture(size, seed=size[0]))


@pytest.mark.slow(reason="torchvision's own builders at full width and depth")
@pytest.mark.parametrize("name", ["maskrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn_v2"])
def test_torchvisions_own_builders(name, tmp_path):
    model = Exported(partial(whole, name), CANVASES["landscape"], tmp_path)
    frame = picture(FRAMES["portrait"], seed=3)
    model.assert_eager(frame)
    for target in ("onnxruntime", "openvino"):
        bundle = model.bundle(target)
        assert_same_outputs(model.file, bundle.run(frame[None], 0.05, 0.5), frame[None], at_least=4)
