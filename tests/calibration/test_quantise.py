"""The written Q/DQ: what engines expect, and the numbers that they stand for."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from maskrt.calibration.layers import find_layers, keep
from maskrt.calibration.quantise import quantise
from maskrt.calibration.recipe import place
from maskrt.calibration.scales import FORMATS
from maskrt.calibration.view import GraphView
from maskrt.examples import shapes
from maskrt.export.canonical import load_canonical
from tests.calibration.graphs import PARAMS

LARGEST = 20.0


def quantised(path, patterns=(), format="int8"):
    model, spec = load_canonical(path)
    view = GraphView(model)
    layers = keep(find_layers(view, spec), patterns, "as asked")
    points = place(view, layers)
    largest = {point.tensor: LARGEST for point in points}
    return quantise(model, layers, points, largest, FORMATS[format]), layers, points


@pytest.mark.parametrize("name", PARAMS)
def test_the_contract(structure, name):
    model, layers, points = quantised(structure(name))
    onnx.checker.check_model(model, full_check=True)
    view = GraphView(model)
    constants = {name: numpy_helper.to_array(t) for name, t in view.constants.items()}
    low = [layer for layer in layers if not layer.kept]
    weights = [n for n in view.nodes if n.op_type == "DequantizeLinear" and n.input[0] in constants]
    assert len(weights) == len(low)
    for node in weights:
        values, scales, zeros = (constants[name] for name in node.input)
        (axis,) = (a.i for a in node.attribute if a.name == "axis")
        assert values.dtype == zeros.dtype == np.int8
        assert scales.shape == zeros.shape == (values.shape[axis],)
        assert not zeros.any()
        assert (scales > 0).all()
        reader = view.readers[node.output[0]][0]
        assert reader.position == 1
        outputs = view.shape(reader.node.output[0])[1]
        assert outputs == values.shape[axis]
    pairs = [n for n in view.nodes if n.op_type == "QuantizeLinear"]
    assert len(pairs) == len(points)
    for node in pairs:
        (reader,) = view.readers[node.output[0]]
        assert reader.node.op_type == "DequantizeLinear"
        assert list(reader.node.input[1:]) == list(node.input[1:])
        assert constants[node.input[1]].shape == ()
        assert constants[node.input[2]] == 0
        assert constants[node.input[2]].dtype == np.int8
    for layer in low:
        assert layer.weight not in view.constants  # not stored twice


def test_float_weights_go_and_others_stay(canonical):
    before = onnx.load(canonical("mask_rcnn"))
    model, layers, _ = quantised(canonical("mask_rcnn"), ["mask head"])
    original = {t.name: t for t in before.graph.initializer}
    after = {t.name: t for t in model.graph.initializer}
    for layer in layers:
        if layer.kept:
            assert after[layer.weight] == original[layer.weight]
    biases = [t for name, t in original.items() if name.endswith("bias")]
    assert biases
    for tensor in biases:
        assert after[tensor.name] == tensor
    assert {"score_threshold", "nms_threshold"} <= set(after)  # inputs keep their defaults
    assert model.ByteSize() < before.ByteSize() / 2
    assert [b.name for b in model.functions] == [b.name for b in before.functions]


def test_all_kept_is_the_model_itself(canonical):
    model, _, points = quantised(canonical("mask_rcnn"), ["*"])
    before, _ = load_canonical(canonical("mask_rcnn"))
    assert {use.node.op_type for point in points for use in point.uses} == {"MultilevelRoIAlign"}
    pairs = [n for n in model.graph.node if n.op_type.endswith("Linear")]
    assert len(pairs) == 2 * len(points)
    assert len(model.graph.node) == len(before.graph.node) + len(pairs)


def test_it_runs_and_numbers_are_within_a_step(canonical):
    """Behind a pair stand the values before it, to half a step, where they are in the range."""
    model, _, points = quantised(canonical("mask_rcnn"))
    names = [
        name for point in points[:12] for name in (point.tensor, f"{point.tensor}/dequantised")
    ]
    for name in names:
        model.graph.output.append(onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    frame, _ = shapes.image(0, seed=0, split="val")
    found = session.run(names, {"frames": frame[None]})
    step = LARGEST / 127
    for before, after in zip(found[::2], found[1::2], strict=True):
        inside = np.abs(before) < LARGEST
        assert inside.mean() > 0.99
        difference = np.abs(after - before)[inside].max()
        assert step / 8 < difference <= step * 0.51


def test_fp8(canonical):
    model, layers, points = quantised(canonical("mask_rcnn"), format="fp8")
    onnx.checker.check_model(model, full_check=True)
    imports = {entry.domain: entry.version for entry in model.opset_import}
    assert imports[""] == 19
    stored = [t for t in model.graph.initializer if t.data_type == TensorProto.FLOAT8E4M3FN]
    low = sum(not layer.kept for layer in layers)
    assert len(stored) == 2 * low + len(points)  # weights, and zero points of all
