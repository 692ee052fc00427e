"""Computes what does not depend on the frames.

Not by graphsurgeon's own folding: it takes inputs with a default for constants, reads Shape without
its ``start`` and ``end``, and needs ONNX Runtime, which prints on its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator
from onnx_graphsurgeon.exporters.onnx_exporter import OnnxExporter

from maskrt.export.passes.context import Context
from maskrt.export.passes.tensors import (
    element_type,
    inputs_of,
    is_constant,
    is_member,
    is_standard,
    replace_uses,
    values_of,
)

KEPT = {
    "Bernoulli",
    "DequantizeLinear",  # of weights: the engine wants to see the pair
    "DynamicQuantizeLinear",
    "Multinomial",
    "QuantizeLinear",
    "RandomNormalLike",
    "RandomUniformLike",
}
SMALL = 1 << 20
"""Bytes of a result that may be larger than what it is computed from."""


def fold_constants(graph: gs.Graph, context: Context) -> list[str]:
    """Constants folded, also those from static shapes; Identity and dead nodes taken out.

    A node that cannot be computed stays, with a note.
    """
    notes: list[str] = []
    for node in list(graph.nodes):
        if not is_standard(node):
            continue
        if node.op == "Constant":
            if not is_member(node.outputs[0], graph.outputs):
                _lower(node)
        elif node.op == "Identity":
            _bypass(graph, node)
        else:
            values = _of_shape(graph, node)
            if values is not None:
                _replace(node.outputs[0], values)
            elif _foldable(graph, node):
                _compute(graph, node, notes)
    graph.cleanup(recurse_functions=False)
    return notes


def _lower(node: gs.Node) -> None:
    ((name, value),) = node.attrs.items()
    if name == "value":
        values = values_of(value)
    elif name in ("value_float", "value_floats"):
        values = np.array(value, np.float32)
    elif name in ("value_int", "value_ints"):
        values = np.array(value, np.int64)
    else:  # strings and sparse tensors
        return
    _replace(node.outputs[0], values)


def _replace(tensor: gs.Tensor, values: np.ndarray) -> None:
    tensor.inputs.clear()
    tensor.to_constant(np.ascontiguousarray(values).reshape(values.shape))


def _bypass(graph: gs.Graph, node: gs.Node) -> None:
    source, target = node.inputs[0], node.outputs[0]
    if not is_member(target, graph.outputs):
        replace_uses(target, source)
        return
    producers = source.inputs
    if not producers or is_member(source, graph.outputs):
        return  # an input or a constant that is an output as well
    (producer,) = producers
    position = next(i for i, output in enumerate(producer.outputs) if output is source)
    node.inputs.clear()
    node.outputs.clear()
    replace_uses(source, target)
    producer.outputs[position] = target


def _foldable(graph: gs.Graph, node: gs.Node) -> bool:
    given = [tensor for _, tensor in inputs_of(node)]
    return (
        bool(given)
        and all(is_constant(tensor, graph) for tensor in given)
        and node.op not in KEPT
        and not list(node.subgraphs())
        and not any(is_member(tensor, graph.outputs) for tensor in node.outputs)
    )


def _compute(graph: gs.Graph, node: gs.Node, notes: list[str]) -> None:
    inputs = {tensor.name: values_of(tensor) for _, tensor in inputs_of(node)}
    try:
        results = _evaluate(graph, node, inputs)
    except Exception as error:  # the reference does not implement all of ONNX
        notes.append(f"{node.name} could not be folded: {type(error).__name__}: {error}")
        return
    read = sum(values.nbytes for values in inputs.values())
    if sum(values.nbytes for values in results) > max(SMALL, 4 * read):
        return
    named = [tensor for tensor in node.outputs if not tensor.is_empty()]
    for tensor, values in zip(named, results, strict=True):
        _replace(tensor, values)


def _evaluate(graph: gs.Graph, node: gs.Node, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)
        for name, x in inputs.items()
    ]
    outputs = [
        helper.make_tensor_value_info(tensor.name, element_type(tensor), None)
        if element_type(tensor) != TensorProto.UNDEFINED
        else onnx.ValueInfoProto(name=tensor.name)
        for tensor in node.outputs
        if not tensor.is_empty()
    ]
    proto = helper.make_graph([OnnxExporter.export_node(node)], "node", infos, outputs)
    opset = helper.make_opsetid("", graph.opset)
    model = helper.make_model(proto, opset_imports=[opset], ir_version=graph.ir_version)
    results: Any = ReferenceEvaluator(model).run(None, inputs)
    return [np.asarray(result) for result in results]


def _of_shape(graph: gs.Graph, node: gs.Node) -> np.ndarray | None:
    """The sides that a node reads of a tensor's shape, if they are all static."""
    if any(is_member(tensor, graph.outputs) for tensor in node.outputs):
        return None
    if node.op == "Shape":
        return _known(_sides(node))
    source = node.inputs[0].inputs[0] if node.inputs and node.inputs[0].inputs else None
    if source is None or source.op != "Shape" or not is_standard(source):
        return None
    sides = _sides(source)
    parameters = [tensor for _, tensor in inputs_of(node)][1:]
    if sides is None or not all(is_constant(tensor, graph) for tensor in parameters):
        return None
    return _chosen(node.op, sides, [values_of(tensor) for tensor in parameters])


def _chosen(op: str, sides: list[int | None], numbers: list[np.ndarray]) -> np.ndarray | None:
    """Of a Gather or a Slice of sides."""
    if op == "Gather":
        indices = np.asarray(numbers[0])
        picked = _known([sides[int(i)] for i in indices.ravel()])
        return None if picked is None else picked.reshape(indices.shape)
    if op == "Slice" and len(numbers) >= 2 and all(x.size == 1 for x in numbers):
        start, end, *rest = (int(x.ravel()[0]) for x in numbers)
        return _known(sides[start : end : rest[1] if len(rest) > 1 else 1])
    return None


def _sides(shape: gs.Node) -> list[int | None] | None:
    """What a Shape node gives, as far as it is static."""
    sides = shape.inputs[0].shape
    if sides is None:
        return None
    known = [side if isinstance(side, int) and side >= 0 else None for side in sides]
    return known[shape.attrs.get("start", 0) : shape.attrs.get("end", len(known))]


def _known(sides: list[int | None] | None) -> np.ndarray | None:
    if sides is None or None in sides:
        return None
    return np.array(sides, np.int64)
