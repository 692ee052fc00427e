"""The common model, Mask R-CNN R50-FPN with random weights, through surgery and a real parser."""

from __future__ import annotations

import json

import onnx
import pytest
import torch
from torchvision.models.detection import maskrcnn_resnet50_fpn

from maskrt.export import export
from maskrt.export.passes import to_tensorrt
from tests.export.passes.standins import replace_plugins
from tests.export.passes.test_tensorrt_graph import needs_parser, parse
from tests.export.passes.test_types import assert_typed

CONVOLUTIONS = 53 + 8 + 3 * 5 + 4 + 1  # backbone, FPN, RPN of five levels, mask head and predictor


@pytest.fixture(scope="module")
def canonical_resnet50(tmp_path_factory):
    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).eval()
    path = tmp_path_factory.mktemp("resnet50") / "model.onnx"
    export(model, path, (320, 448))
    return onnx.load(str(path))


@needs_parser
@pytest.mark.slow(reason="full width")
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_graph_and_parser(canonical_resnet50, precision, tmp_path):
    result, notes = to_tensorrt(canonical_resnet50, precision)
    assert_typed(result)
    kinds = [node.op_type for node in result.graph.node]
    assert sum(node.domain == "maskrt" for node in result.graph.node) == 6
    assert not {"Loop", "If", "NonZero", "NonMaxSuppression"} & set(kinds)
    assert kinds.count("Cast") < 22
    assert len(notes) == 1, "the thresholds, and nothing out of range"
    parsed = parse(replace_plugins(result), tmp_path)
    assert parsed.returncode == 0, parsed.stderr
    types = json.loads(parsed.stdout)["tensors"]
    low = {"fp16": "HALF", "bf16": "BF16"}[precision]
    layers = [node for node in result.graph.node if node.op_type == "Conv"]
    assert len(layers) == CONVOLUTIONS
    assert {types[node.output[0]] for node in layers} == {low}
