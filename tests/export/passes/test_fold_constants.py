"""What does not depend on the frames is computed once."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from maskrt.export.passes import Context, apply
from maskrt.export.passes.fold_constants import fold_constants
from tests.export.passes.graphs import FLOAT, SPEC, constant, graph, node, ops

X = ("x", FLOAT, ["B", 3, 4, 5])
I64 = onnx.TensorProto.INT64


def fold(model):
    return apply(model, [fold_constants], Context(SPEC))


def run(model, **feeds):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, feeds)


def test_arithmetic_of_constants():
    model = graph(
        [
            node("Constant", "", "half", value_float=0.5),
            node("Constant", "", "pair", value_floats=[1.0, 3.0]),
            node("Mul", "half pair", "product"),
            node("ReduceSum", "product", "sum", keepdims=0),
            node("Mul", "x sum", "y"),
        ],
        [X],
        [("y", FLOAT, ["B", 3, 4, 5])],
    )
    result, notes = fold(model)
    assert ops(result) == ["Mul"]
    assert constant(result, "sum").dtype == np.float32
    assert constant(result, "sum") == 2
    assert not notes
    x = np.random.default_rng(0).random((2, 3, 4, 5), np.float32)
    np.testing.assert_array_equal(run(model, x=x)[0], run(result, x=x)[0])


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [({"start": 1}, [3, 4, 5]), ({"start": 1, "end": 3}, [3, 4]), ({"start": -1}, [5])],
)
def test_part_of_a_shape(attributes, expected):
    model = graph([node("Shape", "x", "y0", **attributes), node("Add", "y0 one", "y")],
                  [X], [("y", I64, [len(expected)])], {"one": np.array(1)})  # fmt: skip
    result, _ = fold(model)
    assert ops(result) == ["Add"], "what the graph gives out is still computed"
    assert constant(result, "y0").tolist() == expected


def test_dynamic_shape_stays():
    model = graph([node("Shape", "x", "shape"), node("Cast", "shape", "y", to=FLOAT)],
                  [X], [("y", FLOAT, [4])])  # fmt: skip
    assert ops(fold(model)[0]) == ["Shape", "Cast"]


@pytest.mark.parametrize("through", ["Gather", "Slice"])
def test_static_sides_of_a_dynamic_shape(through):
    pick = {
        "Gather": node("Gather", "shape indices", "sides"),
        "Slice": node("Slice", "shape start end", "sides"),
    }
    model = graph(
        [
            node("Shape", "x", "shape"),
            pick[through],
            node("Concat", "sides minus", "target", axis=0),
            node("Reshape", "x target", "y"),
        ],
        [X],
        [("y", FLOAT, None)],
        {
            "indices": np.array([1, 3]),
            "start": np.array([1]),
            "end": np.array([3]),
            "minus": np.array([-1]),
        },
    )
    result, _ = fold(model)
    assert ops(result) == ["Reshape"]
    assert constant(result, "target").tolist() == (
        [3, 5, -1] if through == "Gather" else [3, 4, -1]
    )
    x = np.zeros((2, 3, 4, 5), np.float32)
    assert run(model, x=x)[0].shape == run(result, x=x)[0].shape


def test_identities_and_dead_nodes_go():
    model = graph(
        [
            node("Identity", "x", "same"),
            node("Relu", "same", "r"),
            node("Identity", "r", "y"),
            node("Exp", "x", "unused"),
        ],
        [X],
        [("y", FLOAT, ["B", 3, 4, 5])],
        {"forgotten": np.ones(3, np.float32)},
    )
    result, _ = fold(model)
    assert ops(result) == ["Relu"]
    assert result.graph.output[0].name == "y"
    assert result.graph.node[0].output[0] == "y"
    assert not result.graph.initializer


def test_an_input_given_out_stays():
    model = graph([node("Identity", "x", "y")], [X], [("y", FLOAT, ["B", 3, 4, 5])])
    assert ops(fold(model)[0]) == ["Identity"]


def test_inputs_with_a_default_are_no_constants():
    model = graph(
        [node("Mul", "factor two", "twice"), node("Mul", "x twice", "y")],
        [X, ("factor", FLOAT, [])],
        [("y", FLOAT, ["B", 3, 4, 5])],
        {"factor": np.array(3, np.float32), "two": np.array(2, np.float32)},
    )
    result, _ = fold(model)
    assert ops(result) == ["Mul", "Mul"]
    x = np.ones((1, 3, 4, 5), np.float32)
    assert run(result, x=x, factor=np.array(5, np.float32))[0].max() == 10


def test_what_would_grow_is_left():
    model = graph(
        [node("Expand", "one shape", "big"), node("Add", "x big", "y")],
        [("x", FLOAT, [1])],
        [("y", FLOAT, None)],
        {"one": np.ones(1, np.float32), "shape": np.array([1024, 1024])},
    )
    assert ops(fold(model)[0]) == ["Expand", "Add"]


def test_weights_stay_quantised():
    model = graph(
        [node("DequantizeLinear", "w scale", "wide"), node("MatMul", "x wide", "y")],
        [("x", FLOAT, [2, 3])],
        [("y", FLOAT, [2, 4])],
        {"w": np.ones((3, 4), np.int8), "scale": np.array(0.1, np.float32)},
    )
    assert ops(fold(model)[0]) == ["DequantizeLinear", "MatMul"]


def test_prints_nothing(canonical, capfd):
    for name in ("masks", "masks, batch 1 to 3"):
        result, notes = apply(canonical(name), [fold_constants], Context(SPEC))
        assert not notes
        assert len(result.functions) == 5
    captured = capfd.readouterr()
    assert captured.out + captured.err == ""


def test_dynamic_batch_keeps_what_it_needs(canonical):
    result, _ = apply(canonical("masks, batch 1 to 3"), [fold_constants], Context(SPEC))
    assert ops(result).count("Shape") == 3
    result, _ = apply(canonical("masks"), [fold_constants], Context(SPEC))
    assert "Shape" not in ops(result)
