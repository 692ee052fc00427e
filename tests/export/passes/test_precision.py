"""Which parts of a graph become low precision, and that all types agree."""

from __future__ import annotations

from collections import Counter

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from maskrt.errors import UnsupportedModelError
from maskrt.export.canonical import read_spec
from maskrt.export.passes import STAGES, Context, apply
from maskrt.export.passes.precision import precision as run_precision
from tests.export.passes.graphs import FLOAT, SPEC, constant, graph, kinds, node, ops
from tests.export.passes.test_types import assert_typed

RNG = np.random.default_rng(0)
LOW = {"fp16": "FLOAT16", "bf16": "BFLOAT16"}
X = ("x", FLOAT, [1, 4, 8, 8])
Y = ("y", FLOAT, None)
HALF = TensorProto.FLOAT16


def weights(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def lower(model, precision="fp16", float32=()):
    result, notes = apply(model, [run_precision], Context(SPEC, precision, frozenset(float32)))
    assert_typed(result)
    assert result.graph.input == model.graph.input
    assert result.graph.output == model.graph.output
    return result, notes


@pytest.mark.parametrize("precision", list(LOW))
def test_canonical_model(model, precision):
    result, notes = apply(model, STAGES, Context(read_spec(model, "model"), precision))
    assert_typed(result)
    types, low = kinds(result), LOW[precision]
    for made in result.graph.node:
        read = [types[name] for name in made.input if name]
        if made.op_type == "Conv":
            assert set(read) == {low}, made.name
        elif made.op_type == "Gemm":
            wanted = "FLOAT" if "predictor" in made.name else low
            assert set(read) == {wanted}, made.name
        elif made.op_type == "MultilevelRoIAlign":
            assert read == ["FLOAT", "INT32", low, low, low, low]
            assert types[made.output[0]] == low
        elif made.op_type in ("TopK", "GatherElements", "Proposals", "DetectionNMS"):
            assert low not in read, made.name
        elif made.op_type == "MaskSelect":
            assert read[0] == low
        elif made.op_type == "KeypointDecode":
            assert read[0] == "FLOAT"
    assert types["Letterbox:0"] == types["Letterbox:1"] == types["Letterbox:2"] == "FLOAT"
    assert not notes


def test_the_heatmaps_cast_stands_behind_the_last_layer(canonical):
    model = canonical("keypoints")
    spec = read_spec(model, "model")
    result, _ = apply(model, STAGES, Context(spec, "fp16"))
    tail = [made for made in result.graph.node if made.name.startswith("keypoint_head")][-3:]
    assert [made.op_type for made in tail] == ["ConvTranspose", "Cast", "Resize"]
    # TensorRT-RTX has no bfloat16 deconvolution
    result, _ = apply(model, STAGES, Context(spec, "bf16"))
    tail = [made for made in result.graph.node if made.name.startswith("keypoint_head")][-3:]
    assert [made.op_type for made in tail] == ["Cast", "ConvTranspose", "Resize"]


def test_no_names_are_looked_at(canonical):
    model = canonical("masks")
    counts = []
    for anonymous in (False, True):
        if anonymous:
            for i, made in enumerate(model.graph.node):
                made.name = f"n{i}"
        result, _ = apply(model, [*STAGES[:-1]], Context(read_spec(model, "model"), "fp16"))
        counts.append(Counter(kinds(result)[n.output[0]] for n in result.graph.node))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("precision", list(LOW))
def test_float32_is_left_alone(precision):
    model = graph([node("Conv", "x w", "y")], [X], [Y], {"w": weights(4, 4, 1, 1)})
    result, notes = apply(model, [run_precision], Context(SPEC))
    assert ops(result) == ["Conv"]
    assert not notes
    result, _ = lower(model, precision)
    assert ops(result) == ["Cast", "Conv", "Cast"]
    assert kinds(result)["w"] == LOW[precision], "the only copy of weights keeps their name"


def test_residual_of_float32_and_low():
    model = graph(
        [
            node("Conv", "x w", "a"),
            node("Relu", "a", "r"),
            node("Conv", "r w2", "b"),
            node("Add", "b x", "y"),
        ],
        [X],
        [Y],
        {"w": weights(4, 4, 1, 1), "w2": weights(4, 4, 1, 1)},
    )
    result, _ = lower(model)
    assert ops(result).count("Cast") == 2, "the input is cast once for two readers"
    assert ops(result) == ["Cast", "Conv", "Relu", "Conv", "Add", "Cast"]


def test_an_output_that_is_read_inside():
    model = graph([node("Conv", "x w", "y"), node("Relu", "y", "z")],
                  [X], [Y, ("z", FLOAT, None)], {"w": weights(4, 4, 1, 1)})  # fmt: skip
    result, _ = lower(model)
    assert ops(result).count("Cast") == 3
    relu = next(made for made in result.graph.node if made.op_type == "Relu")
    assert kinds(result)[relu.input[0]] == "FLOAT16"


def test_clip_bounds():
    bounds = {"low": np.array(0, np.float32), "high": np.array(np.finfo(np.float32).max)}
    model = graph([node("Clip", "x low high", "y")], [X], [Y], bounds)
    result, notes = lower(model)
    assert constant(result, "high") == np.finfo(np.float16).max
    assert constant(result, "high").dtype == np.float16
    assert "high: 1 of 1 values are beyond fp16's range" in notes[0]


def test_infinite_bound_stays():
    bounds = {"low": np.array(0, np.float32), "high": np.array(np.inf, np.float32)}
    result, notes = lower(graph([node("Clip", "x low high", "y")], [X], [Y], bounds))
    assert np.isinf(constant(result, "high"))
    assert not notes


@pytest.mark.parametrize("precision", list(LOW))
def test_normalisations(precision):
    four = {name: np.abs(weights(4)) for name in ("scale", "bias", "mean", "var")}
    model = graph(
        [
            node("BatchNormalization", "x scale bias mean var", "a"),
            node("InstanceNormalization", "a scale bias", "b"),
            node("Conv", "b w", "y"),
        ],
        [X],
        [Y],
        {**four, "w": weights(4, 4, 1, 1)},
    )
    result, _ = lower(model, precision)
    for name in four:
        assert kinds(result)[name] == LOW[precision]


@pytest.mark.parametrize("attribute", ["value", "value_float"])
def test_constant_nodes(attribute):
    value = onnx.numpy_helper.from_array(np.array(2, np.float32)) if attribute == "value" else 2.0
    model = graph([node("Constant", "", "two", **{attribute: value}), node("Mul", "x two", "y")],
                  [X], [Y])  # fmt: skip
    result, _ = lower(model)
    assert ops(result) == ["Cast", "Constant", "Cast", "Mul", "Cast"]
    folded, _ = apply(model, STAGES, Context(SPEC, "fp16"))
    assert ops(folded) == ["Cast", "Mul", "Cast"]


def test_resize_keeps_its_scales():
    model = graph(
        [node("Relu", "x", "a"), node("Resize", "a _ scales", "y", mode="nearest")],
        [X], [Y], {"scales": np.array([1, 1, 2, 2], np.float32)},
    )  # fmt: skip
    result, _ = lower(model)
    assert kinds(result)["scales"] == "FLOAT"
    assert ops(result) == ["Cast", "Relu", "Resize", "Cast"]


def test_initializer_of_low_and_float32_nodes():
    model = graph(
        [node("Mul", "x shared", "a"), node("Softmax", "a", "s"), node("Add", "s shared", "b"),
         node("Pow", "b shared", "y")],
        [X], [Y], {"shared": np.full(8, 2, np.float32)},
    )  # fmt: skip
    result, _ = lower(model)
    types = kinds(result)
    assert types["shared"] == "FLOAT"
    assert types["shared/fp16"] == "FLOAT16"
    assert [n.input[1] for n in result.graph.node if n.op_type in ("Mul", "Add", "Pow")] == [
        "shared/fp16", "shared/fp16", "shared",
    ]  # fmt: skip


def test_large_weights_are_clamped_and_reported():
    values = weights(4, 4, 1, 1)
    values[0, :2] = [[[1e6]], [[-7e4]]]
    model = graph([node("Conv", "x w", "y")], [X], [Y], {"w": values})
    result, notes = lower(model)
    low = constant(result, "w")
    assert low[0, 0, 0, 0] == 65504
    assert low[0, 1, 0, 0] == -65504
    assert np.isfinite(low).all()
    (note,) = notes
    assert note.startswith("w: 2 of 16 values are beyond fp16's range")
    assert "the largest is 1e+06" in note
    result, notes = lower(model, "bf16")
    assert not notes
    assert constant(result, "w").dtype == ml_dtypes.bfloat16


def test_vanishing_weights_are_reported():
    model = graph([node("Conv", "x w", "y")], [X], [Y], {"w": weights(4, 4, 1, 1) * 1e-10})
    _, notes = lower(model)
    assert notes == ["w: all 16 values are too small for fp16 and became zero"]
    _, notes = lower(
        graph([node("Conv", "x w", "y")], [X], [Y], {"w": np.zeros((4, 4, 1, 1), "f")})
    )
    assert not notes


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(bad):
    values = weights(4, 4, 1, 1)
    values[0, 0] = bad
    with pytest.raises(UnsupportedModelError, match="'w' hold NaN or infinity"):
        lower(graph([node("Conv", "x w", "y")], [X], [Y], {"w": values}))


def test_loops_are_refused():
    body = onnx.helper.make_graph(
        [node("Identity", "go", "go_on"), node("Relu", "v", "w")],
        "body",
        [onnx.helper.make_tensor_value_info("i", TensorProto.INT64, []),
         onnx.helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         onnx.helper.make_tensor_value_info("v", FLOAT, [1, 4, 8, 8])],
        [onnx.helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
         onnx.helper.make_tensor_value_info("w", FLOAT, [1, 4, 8, 8])],
    )  # fmt: skip
    model = graph([node("Loop", "n _ x", "y", body=body)], [X],
                  [("y", FLOAT, [1, 4, 8, 8])], {"n": np.array(2)})  # fmt: skip
    with pytest.raises(UnsupportedModelError, match="'y' is a Loop"):
        lower(model)


def test_half_precision_graphs_stay():
    model = graph(
        [
            node("Cast", "x", "half", to=HALF),
            node("Conv", "half w", "a"),
            node("Cast", "a", "wide", to=FLOAT),
            node("Relu", "wide", "r"),
            node("Cast", "r", "again", to=HALF),
            node("Conv", "again w", "b"),
            node("Cast", "b", "y", to=FLOAT),
        ],
        [X],
        [Y],
        {"w": weights(4, 4, 1, 1).astype(np.float16)},
    )
    result, _ = lower(model)
    assert ops(result) == ["Cast", "Conv", "Relu", "Conv", "Cast"]
    assert ops(apply(model, [run_precision], Context(SPEC))[0]) == ops(model)


def test_what_must_stay_float32():
    model = graph(
        [node("Conv", "x w", "a"), node("Relu", "a", "b"), node("Conv", "b w", "c"),
         node("Conv", "c w", "y")],
        [X], [Y], {"w": weights(4, 4, 1, 1)},
    )  # fmt: skip
    result, _ = lower(model, float32={"b"})
    types = kinds(result)
    # who reads a value that is beyond the range must read it in float32, too
    assert (types["a"], types["b"], types["c"]) == ("FLOAT16", "FLOAT", "FLOAT")
    assert ops(result) == ["Cast", "Conv", "Cast", "Relu", "Conv", "Cast", "Conv", "Cast"]


def test_indices_and_coordinates_stay():
    model = graph(
        [
            node("Conv", "x w", "maps"),
            node("ArgMax", "maps", "best", axis=1),
            node("Cast", "best", "place", to=FLOAT),
            node("Mul", "place step", "y"),
        ],
        [X],
        [Y],
        {"w": weights(4, 4, 1, 1), "step": np.array(70000, np.float32)},
    )
    result, notes = lower(model)
    assert kinds(result)["place"] == kinds(result)["step"] == "FLOAT"
    assert not notes


def test_types_must_be_known():
    model = graph([node("Foreign", "x", "y0", domain="maskrt"), node("Relu", "y0", "y")],
                  [X], [("y", FLOAT, [1])])  # fmt: skip
    with pytest.raises(UnsupportedModelError, match="type of the tensor 'y0' is not known"):
        apply(model, [run_precision], Context(SPEC, "fp16"))


def test_types_are_inferred_where_they_can_be():
    model = graph([node("Conv", "x w", "a"), node("Relu", "a", "y")],
                  [X], [Y], {"w": weights(4, 4, 1, 1)})  # fmt: skip
    expected = lower(model)[0]
    del model.graph.value_info[:]
    assert lower(model)[0] == expected


UNARY = ["Relu", "Sigmoid", "Softmax", "Exp", "Identity", "Tanh", "Neg"]
BINARY = ["Add", "Mul", "Sub", "Max"]


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from(list(LOW)))
def test_types_agree_in_any_graph(data, precision):
    """Random chains and joins, with shared constants, outputs amid them and float32 tensors."""
    tensors, nodes = ["x", "shared"], []
    for i in range(data.draw(st.integers(1, 12))):
        op = data.draw(st.sampled_from([*UNARY, *BINARY, "Conv", "Concat"]))
        pick = st.sampled_from([t for t in tensors if t != "shared"])
        first, second = data.draw(pick), data.draw(st.sampled_from(tensors))
        if op == "Conv":
            nodes.append(node("Conv", f"{first} w", f"t{i}"))
        elif op == "Concat":
            nodes.append(node("Concat", f"{first} {data.draw(pick)}", f"twice{i}", axis=1))
            nodes.append(node("Slice", f"twice{i} zero four one", f"t{i}"))
        elif op in BINARY:
            nodes.append(node(op, f"{first} {second}", f"t{i}"))
        else:
            nodes.append(node(op, first, f"t{i}"))
        tensors.append(f"t{i}")
    made = [name for name in tensors if name.startswith("t")]
    outputs = data.draw(st.sets(st.sampled_from(made), min_size=1)) | {made[-1]}
    float32 = data.draw(st.sets(st.sampled_from(made), max_size=2))
    model = graph(
        nodes,
        [X],
        [(name, FLOAT, None) for name in sorted(outputs)],
        {
            "w": weights(4, 4, 1, 1),
            "shared": weights(4, 1, 1),
            "zero": np.array([0]),
            "four": np.array([4]),
            "one": np.array([1]),
        },
    )
    result, _ = lower(model, precision, float32)
    casts = [made for made in result.graph.node if made.op_type == "Cast"]
    keys = [(made.input[0], made.attribute[0].i) for made in casts]
    assert len(keys) == len(set(keys))
    types = kinds(result)
    for name in float32 & set(types):
        assert types[name] == "FLOAT"
    x = RNG.standard_normal((1, 4, 8, 8)).astype(np.float32)
    reference = onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})
    if precision == "fp16" and max(np.abs(r).max() for r in reference) < 100:
        low = onnx.reference.ReferenceEvaluator(result).run(None, {"x": x})
        for found, expected in zip(low, reference, strict=True):
            np.testing.assert_allclose(found, expected, atol=0.5, rtol=0.1)
