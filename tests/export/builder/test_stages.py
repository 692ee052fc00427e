"""Which part of a model a node belongs to."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper

from maskrt.export.builder import stage_finder
from tests.export.builder.nets import graph


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    """As a canonical file is connected, with one dense node for each part."""
    ops = [
        ("", "Relu", "in", "frames", "f"),
        ("maskrt", "Letterbox", "letterbox", "f", "image"),
        ("", "Conv", "body", "image", "map"),
        ("", "Conv", "rpn", "map", "candidates"),
        ("maskrt", "Proposals", "proposals", "candidates", "rois"),
        ("maskrt", "MultilevelRoIAlign", "pool", "rois map", "features"),
        ("", "Gemm", "fc", "features", "logits"),
        ("maskrt", "DetectionNMS", "detect", "logits rois", "boxes"),
        ("maskrt", "MultilevelRoIAlign", "pool2", "boxes map", "features2"),
        ("", "Conv", "mask", "features2", "m"),
        ("", "Relu", "mask2", "m", "m2"),
        ("maskrt", "MaskSelect", "select", "m2", "masks"),
        ("maskrt", "MultilevelRoIAlign", "pool3", "boxes map", "features3"),
        ("", "Conv", "points", "features3", "heatmaps"),
        ("maskrt", "KeypointDecode", "decode", "heatmaps", "keypoints"),
        ("", "Cast", "out", "masks", "bytes"),
    ]
    nodes = [helper.make_node(o, i.split(), [out], n, domain=d) for d, o, n, i, out in ops]
    return graph(nodes, {"frames": (1,)}, ["bytes", "keypoints"])


@pytest.mark.parametrize(
    ("node", "stage"),
    [
        ("in", "input"),
        ("letterbox", "letterbox"),
        ("body", "backbone"),
        ("rpn", "region proposals"),
        ("proposals", "region proposals"),
        ("pool", "RoI pooling"),
        ("fc", "box head"),
        ("detect", "detection"),
        ("mask", "mask head"),
        ("mask2", "mask head"),
        ("select", "mask selection"),
        ("points", "keypoint head"),
        ("decode", "keypoint decoding"),
        ("out", "outputs"),
        ("no such node", ""),
    ],
)
def test_by_the_operators_around_it(model: onnx.ModelProto, node: str, stage: str) -> None:
    assert stage_finder(model)(node) == stage


def test_of_a_stage_by_the_name_of_its_graph() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    for name, stage in {"trunk": "trunk", "box_head": "box head", "main_graph": ""}.items():
        assert stage_finder(graph(nodes, {"x": (1,)}, ["y"], name=name))("relu") == stage
