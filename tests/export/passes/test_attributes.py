"""One source of attributes: canonical nodes, plugin nodes and the C++ plugins agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from onnx import helper

from maskrt.attributes import OPERATORS, operator_attributes
from maskrt.export.canonical import read_spec
from maskrt.export.passes import TENSORRT, Context, apply, to_tensorrt
from maskrt.export.trace import OPERATORS as TRACED
from tests.plugins import registry_probe
from tests.plugins.building import BUILD, build
from tests.plugins.test_registry import REGISTRIES, TENSORRTS

ADDED_BY_PARSER = {"plugin_version", "plugin_namespace"}


def attributes_of(node):
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def equal(found, expected):
    if isinstance(expected, str):
        return found == expected.encode()
    return np.array_equal(np.asarray(found, np.float32), np.asarray(expected, np.float32))


def assert_equal(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert equal(found[name], value), name


def by_role(model):
    """Nodes of a graph; the pools in the order in which the model runs them."""
    pools = iter(["box_pool", "mask_pool" if model_has(model, "MaskSelect") else "keypoint_pool"])
    single = {op: role for role, op in OPERATORS.items() if op != "MultilevelRoIAlign"}
    return {
        next(pools) if node.op_type == "MultilevelRoIAlign" else single[node.op_type]: node
        for node in model.graph.node
        if node.domain == "maskrt"
    }


def model_has(model, op):
    return any(node.op_type == op for node in model.graph.node)


def test_canonical_nodes_carry_exactly_these(model):
    expected = operator_attributes(read_spec(model, "model"))
    nodes = by_role(model)
    assert set(nodes) == set(expected)
    for role, node in nodes.items():
        assert node.op_type == OPERATORS[role]
        assert_equal(attributes_of(node), expected[role])


def test_order_is_that_of_the_operators_arguments(model):
    names = {op: name for name, op in TRACED.items()}
    for role, attributes in operator_attributes(read_spec(model, "model")).items():
        schema = getattr(torch.ops.maskrt, names[OPERATORS[role]]).default._schema
        arguments = [a.name for a in schema.arguments if "Tensor" not in str(a.type)]
        assert list(attributes) == arguments


def test_whose_rule_resizes_reaches_the_plugin(canonical):
    model = canonical("masks")
    (letterbox,) = (n for n in model.graph.node if n.op_type == "Letterbox")
    (resize,) = (a for a in letterbox.attribute if a.name == "resize")
    resize.s = b"detectron2"
    spec = read_spec(model, "model")
    spec = replace(spec, canvas=replace(spec.canvas, resize="detectron2"))
    result, _ = apply(model, TENSORRT, Context(spec))
    (plugin,) = (n for n in result.graph.node if n.op_type == "Letterbox")
    assert attributes_of(plugin)["resize"] == b"detectron2"


@pytest.fixture(scope="module", params=TENSORRTS)
def creators(request):
    """What the creators in a registry of a real TensorRT take."""
    registry = REGISTRIES[request.param]
    if registry.missing():
        pytest.skip(registry.missing())
    build(BUILD, ["maskrt_plugins_emulated"])
    library = BUILD / "libmaskrt_plugins_emulated.so"
    run = subprocess.run(
        [sys.executable, registry_probe.__file__, registry.module, str(library)],
        input="[]",
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        env=os.environ | ({"PYTHONPATH": str(registry.folder)} if registry.folder else {}),
    )
    return json.loads(run.stdout)["creators"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_plugins_have_a_field_for_each(model, creators, precision):
    plugins, _ = to_tensorrt(model, precision)
    for node in plugins.graph.node:
        if node.domain != "maskrt":
            continue
        creator = creators[node.op_type]
        fields = {name: kind for name, kind, _ in creator["fields"]}
        for name, value in attributes_of(node).items():
            if name in ADDED_BY_PARSER:
                continue
            first = value[0] if isinstance(value, list) else value
            kind = {bytes: "CHAR", int: "INT32", float: "FLOAT32"}[type(first)]
            assert fields.get(name) == kind, f"{node.op_type}.{name}"
        given = attributes_of(node)
        assert given["plugin_version"].decode() == creator["version"]
        assert given["plugin_namespace"].decode() == creator["namespace"]
