"""Layers are found by structure, and by default the right ones keep a higher precision."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from maskrt.calibration.layers import find_layers, keep
from maskrt.calibration.view import GraphView
from maskrt.errors import MaskrtError, UnsupportedModelError
from maskrt.examples import shapes
from maskrt.export.canonical import load_canonical
from tests.calibration.graphs import PARAMS


def layers_of(path):
    model, spec = load_canonical(path)
    return find_layers(GraphView(model), spec), spec


def renamed(path, output):
    """The same graph under names that say nothing."""
    model = onnx.load(path)
    names = {}
    held = {value.name for value in [*model.graph.input, *model.graph.output]}

    def name_of(old):
        return old if not old or old in held else names.setdefault(old, f"t{len(names)}")

    for node in model.graph.node:
        node.name = f"n{id(node)}"
        for tensors in (node.input, node.output):
            tensors[:] = [name_of(name) for name in tensors]
    for entry in [*model.graph.initializer, *model.graph.value_info]:
        entry.name = name_of(entry.name)
    onnx.save(model, str(output))
    return output


def test_the_mask_model(canonical):
    layers, _ = layers_of(canonical("mask_rcnn"))
    kept = {layer.name: layer.kept for layer in layers if layer.kept}
    assert kept == {
        "backbone.backbone.stem.0": "stem",
        "rpn_head.cls_logits": "predictor",
        "rpn_head.bbox_pred": "predictor",
        "box_head.predictor.cls_score": "predictor",
        "box_head.predictor.bbox_pred": "predictor",
        "mask_head.predictor.conv5_mask": "predictor",
        "mask_head.predictor.mask_fcn_logits": "predictor",
    }
    by_stage = {
        stage: sum(layer.stage == stage for layer in layers)
        for stage in ("trunk", "box head", "mask head")
    }
    assert by_stage == {"trunk": 30, "box head": 4, "mask head": 6}
    rpn = next(layer for layer in layers if layer.name == "rpn_head.conv.0.0")
    assert len(rpn.nodes) == 4  # one for each map, with the same weights


def test_the_keypoint_model_keeps_its_deconvolution(canonical):
    layers, _ = layers_of(canonical("keypoint_rcnn"))
    head = [layer for layer in layers if layer.stage == "keypoint head"]
    assert [bool(layer.kept) for layer in head] == [False] * 6 + [True]
    assert {node.op_type for node in head[-1].nodes} == {"ConvTranspose"}


@pytest.mark.parametrize("name", PARAMS)
def test_every_structure(structure, name):
    layers, spec = layers_of(structure(name))
    kept = [layer for layer in layers if layer.kept]
    assert sum(layer.kept == "stem" for layer in kept) == 1
    stages = {layer.stage for layer in layers}
    assert stages == {"trunk", "box head"} | ({"mask head"} if spec.mask else set()) | (
        {"keypoint head"} if spec.keypoint else set()
    )
    for stage in stages:
        assert any(layer.kept == "predictor" for layer in kept if layer.stage == stage)
    share = sum(layer.macs for layer in layers if not layer.kept) / sum(
        layer.macs for layer in layers
    )
    assert share > 0.9
    weights = [layer.weight for layer in layers]
    assert len(set(weights)) == len(weights)


def test_names_mean_nothing(canonical, tmp_path):
    layers, _ = layers_of(canonical("mask_rcnn"))
    others, _ = layers_of(renamed(canonical("mask_rcnn"), tmp_path / "renamed.onnx"))
    assert [(a.stage, a.macs, a.kept, len(a.nodes)) for a in layers] == [
        (b.stage, b.macs, b.kept, len(b.nodes)) for b in others
    ]


def test_macs_are_those_that_torch_performs(canonical):
    """Hooks on the trained model's own layers, for one frame of the canvas' size."""
    layers, spec = layers_of(canonical("mask_rcnn"))
    model = shapes.mask_rcnn().eval()
    counted: dict[str, int] = {}

    def count(name, module, output):
        per_output = module.weight[0].numel()
        if isinstance(module, nn.ConvTranspose2d):  # each input is spread
            per_output = module.weight[0].numel() * module.weight.shape[0] / output.shape[1]
            per_output /= module.stride[0] * module.stride[1]
        counted[name] = counted.get(name, 0) + int(output.numel() * per_output)

    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            module.register_forward_hook(lambda m, i, o, name=name: count(name, m, o))
    with torch.inference_mode():
        features = model.backbone(torch.zeros(1, 3, spec.canvas.height, spec.canvas.width))
        model.rpn.head(list(features.values()))
        pooled = torch.zeros(spec.rpn.num_rois, 64, *spec.box_pool.output_size)
        model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))
        pooled = torch.zeros(spec.detection.max_detections, 64, *spec.mask.pool.output_size)
        model.roi_heads.mask_predictor(model.roi_heads.mask_head(pooled))
    assert sorted(counted.values()) == sorted(layer.macs for layer in layers)


def test_patterns(canonical):
    layers, _ = layers_of(canonical("mask_rcnn"))
    chosen = keep(layers, ["*fpn.layer_blocks*", "mask head"], "as asked")
    asked = {layer.name for layer in chosen if layer.kept == "as asked"}
    assert len([name for name in asked if "fpn.layer_blocks" in name]) == 4
    assert len([name for name in asked if name.startswith("mask_head")]) == 4
    assert {layer.name for layer in chosen if layer.kept == "stem"}  # reasons stay
    assert keep(layers, ["feature maps"], "as asked") == layers


def test_a_pattern_that_matches_nothing(canonical):
    layers, _ = layers_of(canonical("mask_rcnn"))
    with pytest.raises(MaskrtError, match=r"no layer is called 'layer9\*'.*backbone.*mask head"):
        keep(layers, ["layer9*"], "as asked")


def test_computed_weights_are_left_alone(canonical):
    model, spec = load_canonical(canonical("mask_rcnn"))
    node = next(n for n in model.graph.node if n.op_type == "Gemm")
    weight = node.input[1]
    model.graph.node.insert(0, onnx.helper.make_node("Neg", [weight], ["computed"]))
    node.input[1] = "computed"
    found = [layer for layer in find_layers(GraphView(model), spec) if not layer.weight]
    assert [layer.kept for layer in found] == ["its weights are computed"]


def test_no_canonical_graph():
    graph = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> g (float[1] x) => (float[1] y) {y = Relu(x)}'
    )
    view = GraphView(graph)
    with pytest.raises(UnsupportedModelError, match="0 nodes Proposals"):
        view.only("Proposals")
    assert np.array_equal(view.shape("x"), [1])
