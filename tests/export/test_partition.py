"""Cutting canonical graphs into dense stages."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from maskrt.errors import UnsupportedModelError
from maskrt.export.canonical import load_canonical
from maskrt.export.partition import partition
from maskrt.export.passes import STAGES, STAGES_RTX, Context, apply
from maskrt.spec import DOMAIN
from tests.support.tiers import quick


def bare(path):
    """A canonical model without function bodies, and its spec."""
    model, spec = load_canonical(path)
    del model.functions[:]
    return model, spec


@pytest.fixture(
    params=[("mask_rcnn", 1), ("mask_rcnn", (1, 3)), ("keypoint_rcnn", 1), ("keypoint_rcnn", 2)],
    ids=str,
)
def model(request, canonical):
    return bare(canonical(*request.param))


def test_stages_and_their_interfaces(model):
    graph, spec = model
    stages = {stage.name: stage for stage in partition(graph, spec)}
    head = "mask_head" if spec.mask else "keypoint_head"
    assert list(stages) == ["trunk", "box_head", head]
    lead = "B" if spec.batch.dynamic else str(spec.batch.max)
    shapes = {
        (stage.name, tensor.name): (tensor.dtype, tensor.shape)
        for stage in stages.values()
        for tensor in (*stage.inputs, *stage.outputs)
    }
    candidates = str(sum(level.top_k for level in spec.rpn.levels))
    assert shapes["trunk", "image"] == ("float32", (lead, "3", "192", "256"))
    assert shapes["trunk", "indices"] == ("int32", (lead, candidates))
    assert shapes["trunk", "features/3"] == ("float32", (lead, "64", "6", "8"))
    assert shapes["box_head", "box_features"] == ("float32", ("N", "64", "7", "7"))
    assert shapes["box_head", "logits"] == ("float32", ("N", str(len(spec.labels))))
    last = stages[head].outputs[0]
    side = spec.mask.size if spec.mask else spec.keypoint.heatmap
    assert last.shape[0] == "N"
    assert last.shape[2:] == tuple(map(str, side))


def test_stages_are_dense(model):
    for stage in partition(*model):
        onnx.checker.check_model(stage.model, full_check=True)
        assert all(node.domain != DOMAIN for node in stage.model.graph.node)
        operators = {node.op_type for node in stage.model.graph.node}
        assert not operators & {"Loop", "If", "NonZero", "NonMaxSuppression", "ScatterElements"}


@pytest.mark.parametrize("rows", quick([5], [1, 5, 200], "other numbers of rows"))
def test_heads_take_any_number_of_rois(model, rows):
    rng = np.random.default_rng(0)
    for stage in partition(*model)[1:]:
        session = onnxruntime.InferenceSession(stage.model.SerializeToString())
        (given,) = stage.inputs
        features = rng.standard_normal(given.sides(0, rows)).astype(np.float32)
        together = session.run(None, {given.name: features})
        one_by_one = [session.run(None, {given.name: row[None]}) for row in features]
        for i, output in enumerate(stage.outputs):
            assert together[i].shape == output.sides(0, rows)
            alone = np.concatenate([outputs[i] for outputs in one_by_one])
            np.testing.assert_allclose(together[i], alone, atol=2e-4)


def test_channels_last_holds_the_same_values(model):
    rng = np.random.default_rng(0)
    linear, last = partition(*model), partition(*model, layout="channels_last")
    for one, other in zip(linear, last, strict=True):
        sides = one.inputs[0].sides(1, 7)
        x = rng.standard_normal(sides).astype(np.float32)
        moved = x.transpose(0, 2, 3, 1) if other.inputs[0].layout == "channels_last" else x
        results = [
            onnxruntime.InferenceSession(stage.model.SerializeToString()).run(
                None, {stage.inputs[0].name: np.ascontiguousarray(values)}
            )
            for stage, values in ((one, x), (other, moved))
        ]
        for a, b, tensor in zip(*results, other.outputs, strict=True):
            is_map = tensor.name.startswith("features/")
            assert (tensor.layout == "channels_last") == is_map
            np.testing.assert_allclose(a.transpose(0, 2, 3, 1) if is_map else a, b, atol=2e-4)


def test_the_model_is_not_changed(canonical):
    graph, spec = bare(canonical("mask_rcnn"))
    before = graph.SerializeToString(deterministic=True)
    partition(graph, spec)
    assert graph.SerializeToString(deterministic=True) == before


def test_a_head_that_is_bound_to_its_rois(canonical):
    graph, spec = bare(canonical("mask_rcnn"))
    select = next(node for node in graph.graph.node if node.op_type == "MaskSelect")
    rows = spec.detection.max_detections
    shape = onnx.numpy_helper.from_array(np.array([rows, 1, 1, 1]), "bound")
    graph.graph.initializer.append(shape)
    spread = onnx.helper.make_node("Expand", [select.input[0], "bound"], ["spread"], "Spread")
    position = list(graph.graph.node).index(select)
    graph.graph.node.insert(position, spread)
    select.input[0] = "spread"
    with pytest.raises(UnsupportedModelError, match="any number of them"):
        partition(graph, spec)


def test_a_stage_that_reads_another_operator(canonical):
    graph, spec = bare(canonical("mask_rcnn"))
    nodes = {node.op_type: node for node in graph.graph.node}
    select, letterbox = nodes["MaskSelect"], nodes["Letterbox"]
    add = onnx.helper.make_node("Add", [select.input[0], letterbox.output[0]], ["sum"], "Strange")
    graph.graph.node.insert(list(graph.graph.node).index(select), add)
    select.input[0] = "sum"
    with pytest.raises(
        UnsupportedModelError, match=r"mask_head: it reads .* an output of Letterbox"
    ):
        partition(graph, spec)


@pytest.mark.parametrize("missing", ["Proposals", "DetectionNMS", "MaskSelect"])
def test_a_graph_without_an_operator(canonical, missing):
    graph, spec = bare(canonical("mask_rcnn"))
    (node,) = (node for node in graph.graph.node if node.op_type == missing)
    node.domain = "elsewhere"
    with pytest.raises(UnsupportedModelError, match=f"0 nodes {missing}"):
        partition(graph, spec)


def test_low_precision_reads_roi_features_as_the_pooler_leaves_them(canonical):
    """No reordering before the first fully connected layer: its weights are, instead."""
    model, spec = load_canonical(canonical("mask_rcnn"))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 64, 7, 7)).astype(np.float16)
    results = []
    for passes, layout in ((STAGES, "linear"), (STAGES_RTX, "channels_last")):
        lowered, _ = apply(model, passes, Context(spec, "fp16"))
        box_head = partition(lowered, spec, layout=layout)[1]
        operators = [node.op_type for node in box_head.model.graph.node]
        assert "Transpose" not in operators
        given = x if layout == "linear" else np.ascontiguousarray(x.transpose(0, 2, 3, 1))
        session = onnxruntime.InferenceSession(box_head.model.SerializeToString())
        results.append(session.run(None, {"box_features": given}))
    for linear, last in zip(*results, strict=True):
        np.testing.assert_allclose(linear, last, atol=0.02)
