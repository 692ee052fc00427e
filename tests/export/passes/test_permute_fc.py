"""The layer behind a pooler reads RoI features channels last."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from maskrt.export.passes import Context, apply
from maskrt.export.passes.permute_fc import permute_fc, permute_weight
from tests.export.passes.graphs import FLOAT, SPEC, constant, graph, node, ops

LOW = Context(SPEC, "fp16")


def pooled(layer, weight, *, channels=8, flatten=None, more=()):
    """maps, rois → RoIAlign → flatten → layer."""
    return graph(
        [
            node("RoIAlign", "x rois batch", "pooled", domain="maskrt",
                 coordinate_transformation_mode="half_pixel", output_height=3, output_width=2),
            flatten or node("Flatten", "pooled", "flat"),
            layer,
            *more,
        ],
        [("x", FLOAT, [1, channels, 16, 16]), ("rois", FLOAT, ["N", 4]),
         ("batch", onnx.TensorProto.INT64, ["N"])],
        [("y", FLOAT, None)],
        {"w": weight, "shape": np.array([-1, channels * 6]), "rows": np.array([-1, channels])},
        known=[("pooled", FLOAT, ["N", channels, 3, 2])],
    )  # fmt: skip


def dense(model, features):
    """What the layers behind the pooler give."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.node[0]
    del cut.graph.input[:]
    shape = list(features.shape)
    cut.graph.input.append(onnx.helper.make_tensor_value_info("pooled", FLOAT, shape))
    return onnx.reference.ReferenceEvaluator(cut).run(["y"], {"pooled": features})[0]


@pytest.mark.parametrize("flatten", ["Flatten", "Reshape"])
@pytest.mark.parametrize("kind", ["Gemm, transposed", "Gemm", "MatMul"])
def test_before_and_after(kind, flatten):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((48, 5)).astype(np.float32)
    layer = node("MatMul", "flat w", "y")
    if kind != "MatMul":
        layer = node("Gemm", "flat w", "y", transB=int(kind != "Gemm"))
    flat = (
        node("Flatten", "pooled", "flat")
        if flatten == "Flatten"
        else node("Reshape", "pooled shape", "flat")
    )
    model = pooled(layer, weight.T.copy() if kind == "Gemm, transposed" else weight, flatten=flat)
    result, notes = apply(model, [permute_fc], LOW)
    assert not notes
    assert ops(result) == ["RoIAlign", "Transpose", *ops(model)[1:]]
    assert list(result.graph.node[1].attribute[0].ints) == [0, 2, 3, 1]
    features = rng.standard_normal((4, 8, 3, 2)).astype(np.float32)
    np.testing.assert_allclose(
        dense(result, features), dense(model, features), rtol=1e-5, atol=1e-5
    )
    assert not np.array_equal(constant(result, "w/channels_last"), constant(model, "w"))


def test_weights_of_two_layers():
    weight = np.random.default_rng(0).standard_normal((48, 5)).astype(np.float32)
    model = pooled(node("MatMul", "flat w", "a"), weight,
                   more=[node("MatMul", "flat w", "b"), node("Add", "a b", "y")])  # fmt: skip
    result, _ = apply(model, [permute_fc], LOW)
    assert ops(result).count("Transpose") == 1
    features = np.random.default_rng(1).standard_normal((4, 8, 3, 2)).astype(np.float32)
    np.testing.assert_allclose(
        dense(result, features), dense(model, features), rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (pooled(node("MatMul", "flat w", "y"), np.ones((36, 5), np.float32), channels=6),
         "6 channels"),
        (pooled(node("Relu", "flat", "y"), np.ones(1, np.float32)), "y (Relu) reads them"),
        (pooled(node("MatMul", "flat w", "y"), np.ones((8, 5), np.float32),
                flatten=node("Reshape", "pooled rows", "flat")), "not one row for each RoI"),
        (pooled(node("Gemm", "flat w", "y", transA=1), np.ones((4, 5), np.float32)),
         "(Gemm) reads"),
    ],
)  # fmt: skip
def test_another_structure_is_noted(model, reason):
    result, notes = apply(model, [permute_fc], LOW)
    assert ops(result) == ops(model)
    assert len(notes) == 1
    assert reason in notes[0]


def test_not_in_float32():
    model = pooled(node("MatMul", "flat w", "y"), np.ones((48, 5), np.float32))
    result, notes = apply(model, [permute_fc], Context(SPEC))
    assert ops(result) == ops(model)
    assert not notes


def test_permuted_weights():
    sides = (8, 3, 2)
    features = np.random.default_rng(0).standard_normal((4, *sides))
    weight = np.random.default_rng(1).standard_normal((48, 5))
    expected = features.reshape(4, -1) @ weight
    last = features.transpose(0, 2, 3, 1).reshape(4, -1)
    np.testing.assert_allclose(last @ permute_weight(weight, sides, 0), expected)
    np.testing.assert_allclose(last @ permute_weight(weight.T, sides, 1).T, expected)
