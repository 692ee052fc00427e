"""The graph of plugin nodes: what is in it, and that a real TensorRT parser takes it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from maskrt.export.canonical import read_spec
from maskrt.export.passes import TENSORRT, Context, apply, to_tensorrt
from maskrt.spec import METADATA_KEY
from tests.export.passes.conftest import MODELS
from tests.export.passes.standins import replace_plugins

PRECISIONS = ["fp32", "fp16", "bf16"]
FORBIDDEN = {"Loop", "If", "Scan", "NonZero", "NonMaxSuppression", "Identity", "Constant"}
MISSING = importlib.util.find_spec("tensorrt_rtx_bindings") is None
needs_parser = pytest.mark.skipif(
    MISSING,
    reason="no TensorRT-RTX: pip install --no-deps tensorrt-rtx-cu13-{libs,bindings}",
)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_left(model, precision):
    before = model.SerializeToString(deterministic=True)
    result, _ = to_tensorrt(model, precision)
    assert model.SerializeToString(deterministic=True) == before, "the argument was changed"
    onnx.checker.check_model(result)
    counts = Counter(node.op_type for node in result.graph.node)
    assert not FORBIDDEN & set(counts)
    assert not [op for op in counts if op.startswith("Scatter")]
    plugins = [node for node in result.graph.node if node.domain == "maskrt"]
    assert 5 <= len(plugins) <= 7
    assert not result.functions
    assert {opset.domain: opset.version for opset in result.opset_import} == {"": 18, "maskrt": 1}
    assert [p.key for p in result.metadata_props] == [METADATA_KEY]
    assert result.metadata_props == model.metadata_props


@pytest.mark.parametrize("precision", PRECISIONS)
def test_interface_stays_and_thresholds_are_real_inputs(model, precision):
    result, notes = to_tensorrt(model, precision)
    assert result.graph.input == model.graph.input
    for ours, theirs in zip(result.graph.output, model.graph.output, strict=True):
        expected = onnx.ValueInfoProto()
        expected.CopyFrom(theirs)
        if ours.name == "masks":
            expected.type.tensor_type.elem_type = TensorProto.UINT8
        assert ours == expected
    assert not {t.name for t in result.graph.initializer} & {v.name for v in result.graph.input}
    assert any("score_threshold (0.05 by default)" in note for note in notes)


def test_same_input_same_bytes(model):
    first, second = (to_tensorrt(model, "fp16")[0] for _ in range(2))
    assert first.SerializeToString() == second.SerializeToString()


@pytest.mark.parametrize("name", MODELS)
def test_every_tensor_has_a_type_and_a_name_of_its_own(name, plugin_graph):
    result = plugin_graph(name, "fp16")
    graph = result.graph
    typed = [v.name for v in [*graph.value_info, *graph.output]]
    made = [name for node in graph.node for name in node.output]
    assert sorted(typed) == sorted(made)
    assert len({node.name for node in graph.node}) == len(graph.node)
    assert not [t.name for t in graph.initializer if t.name.startswith("val_")]


@pytest.mark.parametrize("name", MODELS)
def test_no_casts_that_cancel_or_repeat(name, plugin_graph):
    for precision in PRECISIONS:
        result = plugin_graph(name, precision)
        casts = [node for node in result.graph.node if node.op_type == "Cast"]
        outputs = {node.output[0] for node in casts}
        assert not [node.name for node in casts if node.input[0] in outputs]
        keys = [(node.input[0], node.attribute[0].i) for node in casts]
        assert len(keys) == len(set(keys))


@needs_parser
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", PRECISIONS)
def test_tensorrt_takes_it(name, plugin_graph, precision, tmp_path):
    """It is parsed to the types that the graph notes, and built."""
    result = plugin_graph(name, precision)
    parsed = parse(replace_plugins(result), tmp_path, build=True)
    assert parsed.returncode == 0, parsed.stderr
    network = json.loads(parsed.stdout)
    names = {"FLOAT": "FLOAT", "HALF": "FLOAT16", "BF16": "BFLOAT16"}
    noted = {
        v.name: TensorProto.DataType.Name(v.type.tensor_type.elem_type)
        for v in [*result.graph.value_info, *result.graph.output]
    }
    compared = 0
    for tensor, kind in network["tensors"].items():
        if tensor in noted and kind in names:
            assert noted[tensor] == names[kind], tensor
            compared += 1
    assert compared > 90, "types in the graph are TensorRT's"
    assert list(network["inputs"]) == ["frames", "score_threshold", "nms_threshold"]
    assert network["inputs"]["frames"][0] == "UINT8"
    assert network["inputs"]["score_threshold"] == ["FLOAT", []]
    kinds = [kind for kind, _ in network["outputs"].values()]
    last = "UINT8" if "masks" in network["outputs"] else "FLOAT"
    assert kinds == ["INT32", "FLOAT", "FLOAT", "INT32", last]
    assert network["plan"] > 1 << 20


def widen_weights(graph):
    """A convolution whose weights have another type than what it reads."""
    name = [node for node in graph.node if node.op_type == "Conv"][5].input[1]
    tensor = next(t for t in graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), name))


def skip_cast(graph):
    """A predictor in float32 that reads low precision."""
    cast = next(n for n in graph.node if n.op_type == "Cast" and "box_head" in n.output[0])
    for node in graph.node:
        node.input[:] = [cast.input[0] if x == cast.output[0] else x for x in node.input]


def mix_residual(graph):
    """An addition of float16 and float32."""
    add = next(node for node in graph.node if node.op_type == "Add")
    wide = onnx.helper.make_node("Cast", [add.input[0]], ["wide"], "wide", to=TensorProto.FLOAT)
    add.input[0] = "wide"
    graph.node.insert(list(graph.node).index(add), wide)


@needs_parser
@pytest.mark.parametrize("fault", [widen_weights, skip_cast, mix_residual])
def test_the_parser_refuses_a_mistyped_graph(plugin_graph, fault, tmp_path):
    result = plugin_graph("masks", "fp16")
    fault(result.graph)
    assert parse(replace_plugins(result), tmp_path).returncode == 1


def test_stand_ins_refuse_what_plugins_do_not_take(plugin_graph):
    result = plugin_graph("masks", "fp16")
    nms = next(node for node in result.graph.node if node.op_type == "DetectionNMS")
    logits = next(v for v in result.graph.value_info if v.name == nms.input[0])
    logits.type.tensor_type.elem_type = TensorProto.FLOAT16
    with pytest.raises(TypeError, match="FLOAT16"):
        replace_plugins(result)


def test_context_says_what_stays_float32(canonical):
    model = canonical("masks")
    name = next(n.output[0] for n in model.graph.node if n.op_type == "Add")
    result, _ = to_tensorrt(model, "fp16", frozenset({name}))
    kinds = {v.name: v.type.tensor_type.elem_type for v in result.graph.value_info}
    assert kinds[name] == TensorProto.FLOAT
    readers = [n for n in result.graph.node if name in n.input]
    assert all(kinds[n.output[0]] == TensorProto.FLOAT for n in readers if n.op_type != "Cast")
    assert replace_plugins(result)


def test_unknown_names_are_noted(canonical):
    _, notes = to_tensorrt(canonical("masks"), "fp16", frozenset({"nobody"}))
    assert any("nobody" in note for note in notes)


def test_a_list_of_passes_is_all_there_is(canonical):
    model = canonical("masks")
    spec = read_spec(model, "model")
    same, _ = apply(model, TENSORRT, Context(spec, "bf16"))
    assert same == to_tensorrt(model, "bf16")[0]


def parse(
    model: onnx.ModelProto, folder: Path, *, build: bool = False
) -> subprocess.CompletedProcess[str]:
    """The outcome of ``parse.py`` on a model."""
    file = folder / "model.onnx"
    onnx.save(model, str(file))
    script = Path(__file__).with_name("parse.py")
    command = [sys.executable, str(script), str(file), *(["--build"] if build else [])]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
