"""Standard nodes in place of plugin nodes, so that a parser without plugins takes the whole graph.

Each stand-in reads all inputs of its plugin and gives outputs of the plugin's types and shapes. The
types of the inputs are held against what the plugins take (plugins/README.md) when it is made, as a
stand-in would take anything.
"""

from __future__ import annotations

import re

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT, HALF, BF16 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16
INT8, UINT8 = TensorProto.INT8, TensorProto.UINT8
INT32, INT64 = TensorProto.INT32, TensorProto.INT64
MAPS = {FLOAT, HALF, BF16}
INPUTS = {
    "Letterbox": [{UINT8}],
    "Proposals": [{FLOAT}, {FLOAT}, {INT32}, {FLOAT}],
    "MultilevelRoIAlign": [{FLOAT}, {INT32}],
    "RoIAlign": [MAPS, {FLOAT}, {INT32, INT64}],
    "DetectionNMS": [{FLOAT}, {FLOAT}, {FLOAT}, {INT32}, {FLOAT}, {FLOAT}, {FLOAT}],
    "MaskSelect": [MAPS, {INT32}, {INT32}],
    "KeypointDecode": [MAPS, {FLOAT}, {INT32}, {FLOAT}],
}
OUTPUTS = {
    "Letterbox": [FLOAT, FLOAT, FLOAT],
    "Proposals": [FLOAT, INT32],
    "DetectionNMS": [FLOAT, FLOAT, INT32, INT32],
    "MaskSelect": [FLOAT],
    "KeypointDecode": [FLOAT],
}
SYMBOLIC = re.compile(r"(?:(\d+)\*)?(B)")


def replace_plugins(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without nodes of the domain ``maskrt``.

    Raises:
        TypeError: a plugin would not take an input, or not give an output of the type noted.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    infos = [*graph.input, *graph.output, *graph.value_info]
    kinds = {value.name: value.type.tensor_type.elem_type for value in infos}
    shapes = {
        value.name: [d.dim_value or d.dim_param for d in value.type.tensor_type.shape.dim]
        for value in infos
    }
    kinds.update({tensor.name: tensor.data_type for tensor in graph.initializer})
    nodes: list[onnx.NodeProto] = []
    batch = graph.input[0].name
    for node in graph.node:
        if node.domain != "maskrt":
            nodes.append(node)
            continue
        check_types(node, kinds)
        nodes += _stand_in(graph, node, kinds, shapes, batch)
    del graph.node[:]
    graph.node.extend(nodes)
    kept = [imported for imported in changed.opset_import if imported.domain != "maskrt"]
    del changed.opset_import[:]
    changed.opset_import.extend(kept)
    onnx.checker.check_model(changed)
    return changed


def check_types(node: onnx.NodeProto, kinds: dict[str, int]) -> None:
    """Whether a plugin takes the types of its inputs and gives those of its outputs."""
    found = [kinds[name] for name in node.input]
    allowed = list(INPUTS[node.op_type])
    outputs = list(OUTPUTS.get(node.op_type, []))
    if node.op_type == "MultilevelRoIAlign":
        maps = MAPS | {INT8} if _has_scales(node, len(found) - 2) else MAPS
        allowed += [{found[2]} & maps] * (len(found) - 2)
        outputs = [found[2]]
    if node.op_type == "RoIAlign":
        outputs = [found[0]]
    for attribute in node.attribute:
        if attribute.name in ("image_type", "masks_type"):
            outputs[0] = {b"float32": FLOAT, b"float16": HALF}[attribute.s]
    for name, kind, choice in zip(node.input, found, allowed, strict=True):
        if kind not in choice:
            raise TypeError(f"{node.name}: input {name}: {TensorProto.DataType.Name(kind)}")
    for name, kind in zip(node.output, outputs, strict=True):
        if kinds[name] != kind:
            noted = TensorProto.DataType.Name(kinds[name])
            raise TypeError(f"{node.name}: output {name} is noted as {noted}")


def _has_scales(node: onnx.NodeProto, maps: int) -> bool:
    """Whether the attributes are there without which the plugin refuses INT8."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    scales = attributes.get("feature_scales", [])
    return len(scales) == maps and min(scales) > 0 and attributes.get("output_scale", 0) > 0


def _stand_in(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    kinds: dict[str, int],
    shapes: dict[str, list[int | str]],
    batch: str,
) -> list[onnx.NodeProto]:
    """The sum of the means of all inputs, spread over the outputs' shapes."""
    made: list[onnx.NodeProto] = []

    def add(op: str, inputs: list[str], **attributes: object) -> str:
        output = f"{node.name}/stand_in_{len(made)}"
        made.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def constant(values: object) -> str:
        name = f"{node.name}/stand_in_constant_{len(graph.initializer)}"
        graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    total = ""
    for name in node.input:
        wide = add("Cast", [name], to=FLOAT)
        mean = add("ReduceMean", [wide], keepdims=0) if _rank(name, shapes, graph) else wide
        total = add("Add", [total, mean]) if total else mean
    for name in node.output:
        known = shapes[_followed(name, shapes, graph)]
        sides = [_side(side, batch, add, constant) for side in known]
        spread = add("Expand", [total, add("Concat", sides, axis=0)])
        made.append(helper.make_node("Cast", [spread], [name], f"{name}/cast", to=kinds[name]))
    return made


def _followed(name: str, shapes: dict[str, list[int | str]], graph: onnx.GraphProto) -> str:
    """The tensor, or what elementwise operators make of it, where its own shape is not noted."""
    while not shapes.get(name):
        name = next(node.output[0] for node in graph.node if name in node.input)
    return name


def _rank(name: str, shapes: dict[str, list[int | str]], graph: onnx.GraphProto) -> int:
    if name in shapes:
        return len(shapes[name])
    return next(len(t.dims) for t in graph.initializer if t.name == name)


def _side(side, batch, add, constant):  # type: ignore[no-untyped-def]
    """A number, or a multiple of the batch's size, as a tensor of shape [1]."""
    if isinstance(side, int):
        return constant([side])
    found = SYMBOLIC.fullmatch(side)
    assert found, side
    size = add("Shape", [batch], start=0, end=1)
    return add("Mul", [size, constant([int(found[1])])]) if found[1] else size
