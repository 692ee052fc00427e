"""A TopK of more entries than TensorRT takes: the same result from several."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from maskrt.export import BuildOptions
from maskrt.export.builder import build_engine
from maskrt.export.passes import STAGES, STAGES_RTX, Context, apply
from maskrt.export.passes.split_topk import LIMIT, split_topk
from tests.export.passes.graphs import FLOAT, SPEC, graph, kinds, node, ops
from tests.export.passes.test_types import assert_typed

RNG = np.random.default_rng(0)
INT64, HALF = TensorProto.INT64, TensorProto.FLOAT16
FORBIDDEN = {"If", "Loop", "NonZero", "ScatterElements", "ScatterND"}


def topk(shape, k, kind=FLOAT, **attributes):
    """Both outputs of one TopK."""
    return graph(
        [node("TopK", "x k", "values indices", **attributes)],
        [("x", kind, shape)],
        [("values", kind, None), ("indices", INT64, None)],
        {"k": np.array([k])},
    )


def run(model, x):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})


def split(model):
    result, notes = apply(model, [split_topk], Context(SPEC))
    assert_typed(result)
    assert not FORBIDDEN & set(ops(result))
    assert [(o.name, o.type) for o in result.graph.output] == [
        (o.name, o.type) for o in model.graph.output
    ]
    return result, notes


def ks(model):
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return [int(constants[n.input[1]][0]) for n in model.graph.node if n.op_type == "TopK"]


def extremes(shape):
    """Of finite numbers, and infinity; few, so that there are many ties."""
    largest = np.finfo(np.float32).max
    numbers = np.array([-largest, -1, -1e-45, -0.0, 0.0, 1e-45, largest, np.inf], np.float32)
    return RNG.choice(numbers, shape)


DATA = {
    "any": lambda shape: RNG.standard_normal(shape).astype(np.float32),
    "many ties": lambda shape: RNG.integers(-9, 9, shape).astype(np.float32),
    "all equal": lambda shape: np.zeros(shape, np.float32),
    "extremes": extremes,
    "ascending": lambda shape: np.sort(RNG.standard_normal(shape), -1).astype(np.float32),
}


@pytest.mark.parametrize("data", list(DATA))
@pytest.mark.parametrize(
    ("shape", "k", "attributes", "parts"),
    [
        ((2, 10_000), 6000, {"axis": 1}, [3840, 2160]),
        ((1, 9000), 9000, {}, [3840, 3840, 1320]),
        ((2, 5000, 3), 2 * 1920 + 1, {"axis": -2, "sorted": 1, "largest": 1}, [3840, 1]),
        ((4200, 2), 4100, {"axis": 0}, [3840, 260]),
    ],
)
def test_the_same_result(data, shape, k, attributes, parts):
    model = topk(shape, k, **attributes)
    result, notes = split(model)
    assert not notes
    assert ks(result) == parts
    x = DATA[data](shape)
    for found, expected in zip(run(result, x), run(model, x), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_float16():
    model = topk((1, 5000), 4000, HALF)
    result, _ = split(model)
    x = RNG.integers(-200, 200, (1, 5000)).astype(np.float16)
    for found, expected in zip(run(result, x), run(model, x), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_what_is_small_enough_stays():
    model = topk((1, 5000), LIMIT)
    result, notes = split(model)
    assert ops(result) == ["TopK"]
    assert not notes


@pytest.mark.parametrize(
    ("shape", "kind", "attributes"),
    [
        ((1, 5000), FLOAT, {"largest": 0}),
        ((1, "n"), FLOAT, {}),
        ((1, 5000), INT64, {}),
    ],
)
def test_what_cannot_be_split_is_told(shape, kind, attributes):
    result, notes = split(topk(shape, 4000, kind, **attributes))
    assert ops(result) == ["TopK"]
    assert notes == [
        "values: TensorRT takes at most 3840 of a TopK, and this one cannot be split: only the "
        "largest floats of a dimension of known size can"
    ]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_after_precision_all_of_it_is_float32(precision):
    """Objectness as a trunk gives it: in low precision up to the TopK."""
    weights = RNG.standard_normal((8, 3, 1, 1)).astype(np.float32)
    model = graph(
        [
            node("Conv", "x w", "map"),
            node("Reshape", "map shape", "flat"),
            node("TopK", "flat k", "objectness indices", axis=1),
        ],
        [("x", FLOAT, [1, 3, 32, 32])],
        [("objectness", FLOAT, None), ("indices", INT64, None)],
        {"w": weights, "shape": np.array([1, -1]), "k": np.array([5000])},
    )
    result, _ = apply(model, STAGES_RTX, Context(SPEC, precision))
    assert_typed(result)
    types = kinds(result)
    low = {"fp32": "FLOAT", "fp16": "FLOAT16", "bf16": "BFLOAT16"}[precision]
    for made in result.graph.node:
        if made.op_type == "Conv":
            assert types[made.input[0]] == low
        if made.op_type in ("TopK", "Where", "Less", "Equal", "Concat"):
            assert {types[name] for name in made.input} <= {"FLOAT", "INT64", "BOOL"}, made.name
    assert ops(apply(model, STAGES, Context(SPEC, precision))[0]).count("TopK") == 1


@pytest.mark.parametrize("kind", [FLOAT, HALF], ids=["fp32", "fp16"])
def test_tensorrt_rtx_builds_it(kind):
    """Objectness of a level of 50 x 84 cells with 15 anchors each."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="TensorRT-RTX is not installed")
    result, _ = split(topk((1, 63_000), 6000, kind, axis=1))
    options = BuildOptions(compute_capabilities=("8.6",))
    assert build_engine(result, "tensorrt-rtx", name="net", options=options)
