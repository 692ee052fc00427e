"""INT8 models on their way to engines: Q/DQ stay beside their layers, whatever the rest is."""

from __future__ import annotations

import itertools
import json
from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from maskrt.calibration.coco_eval import evaluate
from maskrt.errors import UnsupportedModelError
from maskrt.examples import shapes
from maskrt.export.canonical import read_spec
from maskrt.export.passes import STAGES, STAGES_RTX, Context, apply
from maskrt.export.passes.int8_pools import int8_pools
from maskrt.export.passes.precision import precision as lower_precision
from maskrt.export.passes.tidy import tidy
from maskrt.plugins.ops import multilevel_roi_align
from maskrt.runtime import Detector
from tests.export.passes.emulate import emulated
from tests.export.passes.graphs import FLOAT, SPEC, constant, graph, kinds, node, ops
from tests.export.passes.standins import replace_plugins
from tests.export.passes.test_numerics import run_for
from tests.export.passes.test_tensorrt_graph import needs_parser, parse
from tests.export.passes.test_types import assert_typed
from tests.parity import of_result, share_of_twins
from tests.support.tiers import quick

NAMES = ["masks", "masks, batch 1 to 3", "keypoints"]
LOW = {"fp32": "FLOAT", "fp16": "FLOAT16", "bf16": "BFLOAT16"}
LINEAR = ("Conv", "Gemm")
ALLOWED = {"fp16": 0.01, "bf16": 0.02}
"""Average precision that may be lost beside the canonical INT8 model, on few pictures."""
SAME = 0.97
"""Of detections in float32: a value half way between two INT8 steps goes to either."""


def producers(model):
    return {name: made for made in model.graph.node for name in made.output}


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("name", NAMES)
def test_layers_read_what_is_dequantised(quantised, plugin_graph, name, precision):
    before = quantised(name)
    layers = sum(made.op_type in LINEAR for made in before.graph.node)
    result = plugin_graph(name, precision, int8=True)
    onnx.checker.check_model(result)
    assert_typed(result)
    types, made_by = kinds(result), producers(result)
    found = 0
    for made in result.graph.node:
        if made.op_type not in LINEAR or made.input[1] not in made_by:
            continue
        found += 1
        for tensor in made.input[:2]:
            assert made_by[tensor].op_type == "DequantizeLinear"
            assert types[tensor] == LOW[precision]
            assert types[made_by[tensor].input[0]] == "INT8"
            assert types[made_by[tensor].input[1]] == LOW[precision]
    kept = [n for n in result.graph.node if n.op_type in LINEAR and n.input[1] not in made_by]
    assert found + len(kept) == layers
    assert found == sum(
        n.op_type in LINEAR and n.input[1] in producers(before) for n in before.graph.node
    )
    opset = {entry.domain: entry.version for entry in result.opset_import}[""]
    assert opset == (18 if precision == "fp32" else 19)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_scales_are_the_same_numbers(quantised, plugin_graph, precision):
    before = quantised("masks")
    result = plugin_graph("masks", precision, int8=True)

    def scales(model):
        values = {t.name: t for t in model.graph.initializer}
        return sorted(
            numpy_helper.to_array(values[made.input[1]]).astype(np.float32).ravel().tolist()
            for made in model.graph.node
            if made.op_type == "DequantizeLinear"
        )

    # poolers take two pairs over as attributes, one of them for all maps
    assert [s for s in scales(before) if len(s) > 1] == [s for s in scales(result) if len(s) > 1]
    stored = Counter(t.data_type for t in before.graph.initializer)
    after = Counter(t.data_type for t in result.graph.initializer)
    assert after[TensorProto.INT8] >= stored[TensorProto.INT8] // 2
    big = [t for t in result.graph.initializer if np.prod(t.dims) > 20000]
    assert {t.data_type for t in big} == {TensorProto.INT8}


@pytest.mark.parametrize("precision", LOW)
def test_poolers_are_int8(plugin_graph, precision):
    result = plugin_graph("masks", precision, int8=True)
    types, made_by = kinds(result), producers(result)
    pools = [made for made in result.graph.node if made.op_type == "MultilevelRoIAlign"]
    assert len(pools) == 2
    for pool in pools:
        assert {types[name] for name in pool.input[2:]} == {"INT8"}
        assert {made_by[name].op_type for name in pool.input[2:]} == {"QuantizeLinear"}
        assert types[pool.output[0]] == "INT8"
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in pool.attribute}
        assert len(attributes["feature_scales"]) == 4
        assert len(set(attributes["feature_scales"])) == 1
        assert attributes["output_scale"] > 0
    (flat,) = [
        n for n in result.graph.node if n.op_type == "Transpose" and types[n.input[0]] == "INT8"
    ]
    assert flat.input[0] == pools[0].output[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_native_operator_gives_what_the_pairs_gave(quantised, plugin_graph, name):
    """On INT8 maps with the attributes' scales: what the canonical graph quantises behind it."""
    before = quantised(name)
    spec = read_spec(before, name)
    made_by = producers(before)
    nodes = [n for n in before.graph.node if n.op_type == "MultilevelRoIAlign"]
    result = plugin_graph(name, "fp16", int8=True)
    pools = [n for n in result.graph.node if n.op_type == "MultilevelRoIAlign"]
    roles = [spec.box_pool, spec.mask.pool if spec.mask else spec.keypoint.pool]
    frames = shapes.image(3, split="val")[0][None]
    for old, new, pool in zip(nodes, pools, roles, strict=True):
        maps = [made_by[tensor].input[0] for tensor in old.input[2:]]
        flat = next(n for n in before.graph.node if old.output[0] in n.input)
        reader = old.output[0] if flat.op_type == "QuantizeLinear" else flat.output[0]
        (pair,) = [n for n in before.graph.node if reader in n.input]
        assert pair.op_type == "QuantizeLinear"
        names = [old.input[0], old.input[1], *maps, pair.output[0]]
        rois, count, *features, expected = run_for(before, names, frames)
        given = {a.name: onnx.helper.get_attribute_value(a) for a in new.attribute}
        found = multilevel_roi_align(
            rois,
            features,
            output_size=pool.output_size,
            spatial_scales=pool.spatial_scales,
            sampling_ratio=pool.sampling_ratio,
            aligned=pool.aligned,
            counts=count,
            min_level=pool.min_level,
            canonical_size=pool.canonical_size,
            canonical_level=pool.canonical_level,
            epsilon=pool.epsilon,
            log_epsilon=pool.log_epsilon,
            feature_scales=given["feature_scales"],
            output_scale=given["output_scale"],
        )
        assert found.dtype == expected.dtype == np.int8
        difference = np.abs(found.reshape(expected.shape).astype(int) - expected)
        assert np.abs(expected).max() > 60
        assert difference.max() <= 1
        assert (difference > 0).mean() < 1e-3  # values half way between two steps


@pytest.mark.parametrize("passes", [STAGES, STAGES_RTX], ids=["linear", "channels last"])
def test_stages_keep_float_poolers(quantised, passes):
    result, _ = apply(quantised("masks"), passes, Context(SPEC, "fp16"))
    types = kinds(result)
    for pool in (n for n in result.graph.node if n.op_type == "MultilevelRoIAlign"):
        assert {types[name] for name in [*pool.input[2:], *pool.output]} == {"FLOAT16"}


SURVIVING = [("masks", "fp16")]


@pytest.mark.parametrize(
    ("name", "precision"),
    quick(
        SURVIVING,
        itertools.product(("masks", "keypoints"), LOW),
        "average precision with every rounding emulated",
    ),
)
def test_detections_survive(quantised, name, precision, tmp_path):
    """The plugin graph with real rounding behind each node, INT8 poolers included."""
    frames, truth = shapes.dataset(24, split="val", seed=1, keypoint_task=name == "keypoints")
    kinds_of_iou = ("bbox", "segm") if name == "masks" else ("bbox", "keypoints")

    def found_by(model):
        path = tmp_path / "model.onnx"
        onnx.save(model, str(path))
        with Detector(path) as detector:
            return [detector(frame) for frame in frames]

    def average_precision(results):
        found = []
        for result, entry in zip(results, truth["images"], strict=True):
            found += result.to_coco(entry["id"])
        figures = evaluate(truth, found, kinds_of_iou)
        return {kind: figures[f"{kind}/AP"] for kind in kinds_of_iou}

    before, after = found_by(quantised(name)), found_by(emulated(quantised(name), precision))
    if precision == "fp32":
        ones, twos = ([of_result(x) for x in results] for results in (before, after))
        assert share_of_twins(ones, twos) >= SAME
        return
    found = average_precision(after)
    for kind, value in average_precision(before).items():
        assert value > 0.6
        assert found[kind] > value - ALLOWED[precision], (kind, found, value)


@needs_parser
@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow(reason="nine builds; float graphs of each precision are quick")
def test_a_real_parser_takes_it(plugin_graph, name, precision, tmp_path):
    result = plugin_graph(name, precision, int8=True)
    parsed = parse(replace_plugins(result), tmp_path, build=True)
    assert parsed.returncode == 0, parsed.stderr
    network = json.loads(parsed.stdout)
    assert network["plan"] > 1 << 20
    types = Counter(network["tensors"].values())
    assert types["INT8"] > 50
    if precision != "fp32":
        assert types[{"fp16": "HALF", "bf16": "BF16"}[precision]] > 200


def pair(name, source="", scale="s"):
    source = source or name
    return [
        node("QuantizeLinear", f"{source} {scale} z", f"{name}_q"),
        node("DequantizeLinear", f"{name}_q {scale} z", f"{name}_d"),
    ]


def pooled(readers, constants=None, extra=(), outputs=("y",)):
    """Two maps → pooler → what reads its features."""
    attributes = {"domain": "maskrt", "output_height": 3, "output_width": 2}
    return graph(
        [*pair("a"), *pair("b"), *extra,
         node("MultilevelRoIAlign", "rois count a_d b_d", "pooled", **attributes), *readers],
        [("a", FLOAT, [1, 16, 16, 16]), ("b", FLOAT, [1, 16, 8, 8]), ("rois", FLOAT, [1, 4, 4]),
         ("count", TensorProto.INT32, [1])],
        [(name, FLOAT, None) for name in outputs],
        {"s": np.array(0.5, np.float32), "t": np.array(0.25, np.float32),
         "z": np.array(0, np.int8), "w": np.ones((4, 16, 1, 1), np.float32),
         "rows": np.array([-1, 96]), **(constants or {})},
        known=[("pooled", FLOAT, [4, 16, 3, 2])],
    )  # fmt: skip


def test_a_pooler_between_pairs():
    model = pooled([*pair("pooled", scale="t"), node("Conv", "pooled_d w", "y")])
    result, _ = apply(model, [int8_pools], Context(SPEC))
    assert ops(result) == [
        "QuantizeLinear", "QuantizeLinear", "MultilevelRoIAlign", "DequantizeLinear", "Conv",
    ]  # fmt: skip
    pool = result.graph.node[2]
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in pool.attribute}
    assert attributes["feature_scales"] == [0.5, 0.5]
    assert attributes["output_scale"] == 0.25
    assert kinds(result)[pool.output[0]] == "INT8"


def test_through_a_reshape():
    flat = [
        node("Reshape", "pooled rows", "flat"),
        *pair("f", "flat", "t"),
        node("Relu", "f_d", "y"),
    ]
    result, _ = apply(pooled(flat), [int8_pools], Context(SPEC))
    assert ops(result)[2:] == ["MultilevelRoIAlign", "Reshape", "DequantizeLinear", "Relu"]
    assert kinds(result)[result.graph.node[3].output[0]] == "INT8"


@pytest.mark.parametrize(
    ("readers", "constants"),
    [
        ([node("Relu", "pooled", "y")], {}),
        ([*pair("p", "pooled", "t"), node("Relu", "pooled", "r"), node("Add", "p_d r", "y")], {}),
        ([*pair("p", "pooled", "t"), *pair("q", "pooled", "s"), node("Add", "p_d q_d", "y")], {}),
        ([*pair("p", "pooled", "t"), node("Relu", "p_d", "y")], {"z": np.array(3, np.int8)}),
    ],
    ids=["no pair", "a float reader", "two scales", "a zero point"],
)
def test_poolers_that_stay(readers, constants):
    model = pooled(readers, constants)
    result, notes = apply(model, [int8_pools], Context(SPEC))
    assert ops(result) == ops(model)
    assert not notes
    assert kinds(result)["pooled"] == "FLOAT"


def test_a_map_without_a_pair():
    model = pooled([*pair("pooled", scale="t"), node("Relu", "pooled_d", "y")])
    pool = next(n for n in model.graph.node if n.op_type == "MultilevelRoIAlign")
    pool.input[3] = "b"
    result, _ = apply(model, [int8_pools], Context(SPEC))
    assert kinds(result)["pooled"] == "FLOAT"


def test_scales_that_vanish_are_refused():
    model = graph(
        [*pair("x"), node("Conv", "x_d w", "y")],
        [("x", FLOAT, [1, 4, 8, 8])],
        [("y", FLOAT, None)],
        {"s": np.array(1e-12, np.float32), "z": np.array(0, np.int8),
         "w": np.ones((4, 4, 1, 1), np.float32)},
    )  # fmt: skip
    with pytest.raises(UnsupportedModelError, match="scale 's' is too small for fp16: calibrate"):
        apply(model, [lower_precision], Context(SPEC, "fp16"))


def test_weights_of_layers_in_two_precisions():
    """What dequantises weights stays float32 where a float32 layer reads them, too."""
    model = graph(
        [node("DequantizeLinear", "w s", "wide"), node("Conv", "x wide", "a"),
         node("Exp", "a", "b"), node("Conv", "b wide", "y")],
        [("x", FLOAT, [1, 4, 8, 8])],
        [("y", FLOAT, None)],
        {"s": np.array(0.5, np.float32), "w": np.ones((4, 4, 1, 1), np.int8)},
    )  # fmt: skip
    for kept in (frozenset(), frozenset({"y"})):
        result, _ = apply(model, [lower_precision, tidy], Context(SPEC, "fp16", kept))
        assert_typed(result)
        x = np.full((1, 4, 8, 8), 0.1, np.float32)
        session = onnxruntime.InferenceSession(result.SerializeToString())
        expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
        found = session.run(None, {"x": x})
        np.testing.assert_allclose(found[0], expected[0], rtol=5e-3)


@pytest.mark.parametrize("transposed", [0, 1])
def test_layers_behind_pairs_read_channels_last(transposed):
    from maskrt.export.passes.permute_fc import permute_fc

    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (5, 96) if transposed else (96, 5)).astype(np.int8)
    scales = rng.uniform(0.01, 0.02, 5).astype(np.float32)
    readers = [
        node("Reshape", "pooled rows", "flat"),
        *pair("f", "flat", "t"),
        node("DequantizeLinear", "w8 ws", "wide", axis=1 - transposed),
        node("Gemm", "f_d wide", "y", transB=transposed),
    ]
    model = pooled(readers, {"w8": weight, "ws": scales})
    result, notes = apply(model, [permute_fc], Context(SPEC, "fp16"))
    assert not notes
    assert ops(result).count("Transpose") == 1
    features = rng.normal(0, 5, (4, 16, 3, 2)).astype(np.float32)
    given = []
    for tested in (model, result):
        cut = onnx.utils.Extractor(tested).extract_model(["pooled"], ["y"])
        session = onnxruntime.InferenceSession(cut.SerializeToString())
        given.append(session.run(None, {"pooled": features})[0])
    np.testing.assert_allclose(given[1], given[0], rtol=1e-5, atol=1e-4)
    assert constant(result, "w8/channels_last").dtype == np.int8
