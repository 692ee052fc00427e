"""Heads that are convolutional and share their weights, as in C4 models.

A block of bottlenecks is applied to the RoI features of the boxes and to those of the masks. Of the
one feature map more candidates are taken than TensorRT's TopK gives.
"""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

from maskrt.calibration import Calibration
from maskrt.calibration.calibrator import save
from maskrt.export import BuildOptions, build_model, export
from maskrt.export.canonical import read_spec
from maskrt.export.passes import to_tensorrt
from maskrt.export.passes.split_topk import LIMIT
from maskrt.export.split import split_heads
from maskrt.runtime import Detector
from tests import parity
from tests.eager import on_canvas, picture, spread
from tests.export.passes.emulate import emulated
from tests.export.passes.graphs import kinds
from tests.export.passes.test_split_topk import ks as taken
from tests.export.passes.test_types import assert_typed
from tests.parity import File, assert_parity, eager, of_result
from tests.support.openvino import openvino_saturates

CANVAS = (320, 416)
GIVEN, WIDTH = 16, 32
CANDIDATES = 4500  # of 20 x 26 cells with 9 anchors
FRAMES = [picture((240, 320), seed) for seed in range(8)]


class Bottleneck(nn.Module):
    """A ResNet's, with its normalisation folded."""

    def __init__(self, given: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, 16, 1, stride)
        self.conv2 = nn.Conv2d(16, 16, 3, padding=1, groups=groups)
        self.conv3 = nn.Conv2d(16, WIDTH, 1)
        self.shortcut = nn.Conv2d(given, WIDTH, 1, stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        inner = self.conv2(self.conv1(x).relu()).relu()
        return (self.conv3(inner) + self.shortcut(x)).relu()


class Boxes(nn.Module):
    def __init__(self, res5: nn.Module) -> None:
        super().__init__()
        self.res5 = res5

    def forward(self, x):
        return self.res5(x).mean((2, 3))


class Masks(nn.Module):
    def __init__(self, res5: nn.Module) -> None:
        super().__init__()
        self.res5 = res5
        self.up = nn.ConvTranspose2d(WIDTH, 16, 2, 2)

    def forward(self, x):
        return self.up(self.res5(x)).relu()


def c4() -> MaskRCNN:
    """Plain and grouped convolutions."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 16, 4, 4), nn.ReLU(), nn.Conv2d(16, GIVEN, 4, 4))
    backbone.append(nn.ReLU()).out_channels = GIVEN
    res5 = nn.Sequential(Bottleneck(GIVEN, 2, 1), Bottleneck(WIDTH, 1, 4), Bottleneck(WIDTH, 1, 4))
    model = MaskRCNN(
        backbone,
        min_size=CANVAS[0],
        max_size=CANVAS[1],
        rpn_anchor_generator=AnchorGenerator(((32, 64, 128),), ((0.5, 1.0, 2.0),)),
        rpn_pre_nms_top_n_test=CANDIDATES,
        rpn_post_nms_top_n_test=60,
        box_detections_per_img=20,
        box_roi_pool=MultiScaleRoIAlign(["0"], 14, 2),
        box_head=Boxes(res5),
        box_predictor=FastRCNNPredictor(WIDTH, 4),
        mask_roi_pool=MultiScaleRoIAlign(["0"], 14, 2),
        mask_head=Masks(res5),
        mask_predictor=nn.Sequential(OrderedDict(mask_fcn_logits=nn.Conv2d(16, 4, 1))),
    )
    return spread(model, CANVAS)


@pytest.fixture(scope="module")
def model():
    return c4()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("c4") / "float.onnx"
    export(model, path, CANVAS)
    return path


@pytest.fixture(scope="module")
def calibration(exported):
    work = Calibration(exported)
    work.read_ranges(FRAMES, force=True)
    return work


@pytest.fixture(scope="module")
def files(exported, calibration):
    """Canonical files by precision."""
    quantised, _ = calibration.quantised()
    path = exported.with_name("int8.onnx")
    save(quantised, path)
    return {"float": exported, "int8": path}


def assert_same(built, path, kind, limits=parity.Limits()):  # noqa: B008
    """What is built finds what the canonical file finds; in INT8 most of it, of ten frames."""
    frames = [picture((240, 320), seed) for seed in range(20, 23 if kind == "float" else 30)]
    with Detector(built) as detector, Detector(path) as canonical:
        found = [detector(frame) for frame in frames]
        if kind == "int8":
            assert_most(found, [canonical(frame) for frame in frames])
            return
    for frame, result in zip(frames, found, strict=True):
        assert_parity(File(path).reference(), frame[None], [of_result(result)], limits)


def assert_most(found, expected):
    """Most detections have twins: engines round to other INT8 steps."""
    twins = total = 0
    for one, two in zip(found, expected, strict=True):
        total += len(two)
        for i, label in enumerate(two.labels):
            apart = np.maximum.reduce([
                np.abs(one.boxes - two.boxes[i]).max(1) / CANVAS[1],
                np.abs(one.scores - two.scores[i]),
                np.abs(one.mask_probs - two.mask_probs[i]).mean((1, 2)) - 1 / 255,  # bytes
                np.where(one.labels == label, 0, np.inf),
            ])  # fmt: skip
            twins += bool(apart.min(initial=np.inf) < 0.05)
    assert total > 40
    assert twins >= 0.7 * total, (twins, total)


def constants(path):
    return {tensor.name: list(tensor.dims) for tensor in onnx.load(path).graph.initializer}


def test_the_canonical_file_gives_eager_results(model, files):
    frame = picture((240, 390), seed=3)
    with Detector(files["float"]) as detector:
        ours = of_result(detector(frame))
    assert_parity(eager(on_canvas(model, CANVAS)), [frame], [ours])


def test_weights_are_stored_once(model, files):
    shared = sum(1 for _ in model.roi_heads.box_head.res5.parameters())
    assert sum("res5" in name for name in constants(files["float"])) == shared
    convolutions = shared // 2
    held = [name for name in constants(files["int8"]) if name.endswith("weight/quantised")]
    assert sum("res5" in name for name in held) == convolutions
    assert not any(name.endswith("res5.0.conv1.weight") for name in constants(files["int8"]))


def test_layers_can_be_told_apart(calibration):
    layers = calibration.layers
    assert len({layer.name for layer in layers}) == len(layers)
    first = [layer for layer in layers if "res5.0.conv1" in layer.name]
    assert [layer.stage for layer in first] == ["box head", "mask head"]
    assert not any(layer.kept for layer in first)
    for patterns, kept in (
        ([first[0].name], [True, False]),
        (["mask head"], [False, True]),
        ([first[0].weight.removesuffix(".weight")], [True, True]),
    ):
        chosen, _ = calibration.choose(patterns)
        assert [bool(x.kept) for x in chosen if "res5.0.conv1" in x.name] == kept
    mixed, _ = calibration.quantised(keep_fp16=["mask head"])
    names = {tensor.name for tensor in mixed.graph.initializer}
    assert {first[0].weight, f"{first[0].weight}/quantised"} <= names


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("kind", ["float", "int8"])
def test_bundles_for_cpus(files, kind, target, tmp_path):
    pytest.importorskip(target)
    if (target, kind) == ("openvino", "int8") and openvino_saturates():
        pytest.skip("OpenVINO's INT8 sums saturate on a CPU without VNNI")
    path = tmp_path / "model.bundle"
    build_model(files[kind], path, target)
    assert_same(path, files[kind], kind)


@pytest.mark.parametrize(
    ("kind", "precision"), [("float", "fp16"), ("int8", "int8+fp16"), ("int8", "int8+bf16")]
)
def test_bundles_for_gpus(files, kind, precision, tmp_path):
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    options = BuildOptions(compute_capabilities=("8.6",))
    path = tmp_path / "model.bundle"
    report = build_model(files[kind], path, "tensorrt-rtx", precision, options=options)
    assert set(report.sizes) == {"trunk", "box_head", "mask_head"}
    assert not report.notes


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_tensorrts_graph_has_int8_poolers(files, precision):
    canonical = onnx.load(files["int8"])
    result, _ = to_tensorrt(canonical, precision)
    assert_typed(result)
    types = kinds(result)
    pools = [node for node in result.graph.node if node.op_type == "MultilevelRoIAlign"]
    assert [types[pool.output[0]] for pool in pools] == ["INT8", "INT8"]
    for part in split_heads(result, read_spec(canonical, "the model")):
        onnx.checker.check_model(part)


@pytest.mark.parametrize("kind", ["float", "int8"])
def test_tensorrts_graph_gives_the_same(files, kind, tmp_path):
    canonical = onnx.load(files[kind])
    result = emulated(canonical, "fp32")
    assert taken(canonical) == [CANDIDATES]
    assert taken(result) == [LIMIT, CANDIDATES - LIMIT]
    path = tmp_path / "model.onnx"
    onnx.save(result, str(path))
    assert_same(path, files[kind], kind, parity.Limits(masks=1 / 255 + 1e-3))  # bytes
