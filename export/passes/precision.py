"""FP16 and BF16 as Casts, in a graph where the inputs of every node have equal types.

Explicit Q/DQ stay between the layers that they belong to: their scales become 16-bit numbers, so
that what is dequantised has the type of its layer, without a Cast that would keep an engine from
computing the layer in INT8.

Such a graph is what strongly typed TensorRT networks want, from 10.3 to 11. ``regions`` says which
nodes compute in low precision; here each tensor gets its producer's type, and a Cast stands where a
reader wants another one.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from maskrt.errors import UnsupportedModelError
from maskrt.export.passes.context import Context
from maskrt.export.passes.regions import POOLERS, dense_nodes
from maskrt.export.passes.tensors import (
    FLOATS,
    element_type,
    fresh_name,
    is_float32,
    is_member,
    is_operator,
    is_quantiser,
    is_standard,
    replace_uses,
    values_of,
)
from maskrt.export.passes.weights import DTYPES, LABELS, LowConstants

LOW_SCALES = 19  # opset from which the scales of Q/DQ may have a 16-bit type
LOW = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
ALWAYS_FLOAT32 = {"Resize": (1, 2), "Upsample": (1,), "Dropout": (1,)}
"""Inputs that no precision changes: roi and scales, a ratio."""


def precision(graph: gs.Graph, context: Context) -> list[str]:
    """The dense parts in ``context.precision``, everything else as it was.

    Inputs and outputs of the graph keep their types. Parts that are in 16 bits already stay so.

    Raises:
        UnsupportedModelError: weights are not finite, a tensor's type is not known, or the dense
            parts hold a branch or a loop.
    """
    if context.precision == "fp32":
        return []
    notes: list[str] = []
    _check_types(graph)
    known = graph.tensors()
    if any(is_quantiser(node) for node in graph.nodes):
        _raise_opset(graph, LOW_SCALES)
    notes += [
        f"no tensor is called '{name}', which was to stay float32"
        for name in sorted(context.float32 - set(known))
    ]
    typing = _Typing(graph, context, notes)
    typing.retype_outputs()
    typing.retype_inputs()
    graph.cleanup(recurse_functions=False)
    return notes


def _check_types(graph: gs.Graph) -> None:
    for node in graph.nodes:
        for tensor in node.outputs:
            if not tensor.is_empty() and element_type(tensor) == TensorProto.UNDEFINED:
                raise UnsupportedModelError(
                    f"the type of the tensor '{tensor.name}' is not known: run "
                    "onnx.shape_inference on the model, or export it again"
                )


def _raise_opset(graph: gs.Graph, version: int) -> None:
    """What the dense parts consist of is the same in opsets 18 to 19, but for these types."""
    graph.opset = max(graph.opset, version)
    for entry in graph.import_domains or []:
        if entry.domain == "":
            entry.version = max(entry.version, version)


class _Typing:
    """One run of the pass."""

    def __init__(self, graph: gs.Graph, context: Context, notes: list[str]) -> None:
        self.graph = graph
        self.low = LOW[context.precision]
        self.dense = dense_nodes(graph, self.low, context.float32)
        self.constants = LowConstants(notes)
        self.wanted = {
            id(node): [self._wanted(node, i) for i in range(len(node.inputs))]
            for node in graph.nodes
        }
        self.casts: dict[tuple[int, int], gs.Tensor] = {}

    def _wanted(self, node: gs.Node, position: int) -> int | None:
        """The type that an input must have; None: any float, or not a float."""
        tensor = node.inputs[position]
        kind = element_type(tensor)
        if kind not in FLOATS:
            return None
        if is_standard(node) and node.op == "Cast":
            return None
        if is_operator(node, "MaskSelect") and position == 0:
            return None
        if id(node) not in self.dense or not is_float32(tensor):
            return kind
        if is_operator(node, *POOLERS):
            return self.low if self._is_map(node, position) else TensorProto.FLOAT
        return TensorProto.FLOAT if position in ALWAYS_FLOAT32.get(node.op, ()) else self.low

    @staticmethod
    def _is_map(node: gs.Node, position: int) -> bool:
        return position == 0 if node.op == "RoIAlign" else position >= 2

    def retype_outputs(self) -> None:
        """Dense nodes give low precision; what leaves the graph keeps its type through a Cast."""
        for node in list(self.graph.nodes):
            if id(node) not in self.dense:
                continue
            for position, tensor in enumerate(list(node.outputs)):
                if tensor.is_empty() or not is_float32(tensor):
                    continue
                given = tensor
                if is_member(tensor, self.graph.outputs):
                    name = fresh_name(self.graph, f"{tensor.name}/{LABELS[self.low]}")
                    given = gs.Variable(name, tensor.dtype, tensor.shape)
                    replace_uses(tensor, given)
                    node.outputs[position] = given
                    self._after(given, _cast(given, tensor, TensorProto.FLOAT))
                    self.casts[id(given), TensorProto.FLOAT] = tensor
                given.dtype = DTYPES[self.low]

    def retype_inputs(self) -> None:
        """A Cast, or a converted constant, where a reader wants another type."""
        for node in list(self.graph.nodes):
            for position, wanted in enumerate(self.wanted.get(id(node), ())):
                if wanted is not None:
                    self._give(node, position, wanted)
        for node in self.graph.nodes:
            if is_standard(node) and node.op == "Cast":
                source, target = node.inputs[0], node.outputs[0]
                if element_type(source) == element_type(target) and not is_member(
                    target, self.graph.outputs
                ):
                    replace_uses(target, source)
        self.constants.take_names(self.graph.outputs)

    def _give(self, node: gs.Node, position: int, wanted: int) -> None:
        tensor = node.inputs[position]
        if element_type(tensor) == wanted:
            return
        if isinstance(tensor, gs.Constant) and not is_member(tensor, self.graph.inputs):
            given = self.constants.get(tensor, values_of(tensor), wanted)
            if is_quantiser(node) and not np.all(values_of(given) > 0):
                raise UnsupportedModelError(
                    f"the scale '{tensor.name}' is too small for {LABELS[wanted]}: calibrate the "
                    f"model with  maskrt calibrate , or build it with float32 beside "
                    "its quantised layers"
                )
            node.inputs[position] = given
            return
        source = _before_casts(tensor)
        if element_type(source) == wanted:
            node.inputs[position] = source
            return
        node.inputs[position] = self._as(tensor, wanted)

    def _as(self, tensor: gs.Tensor, kind: int) -> gs.Tensor:
        key = (id(tensor), kind)
        made = self.casts.get(key)
        if made is None:
            name = fresh_name(self.graph, f"{tensor.name}/{LABELS[kind]}")
            made = gs.Variable(name, DTYPES[kind], tensor.shape)
            self._after(tensor, _cast(tensor, made, kind))
            self.casts[key] = made
        return made

    def _after(self, tensor: gs.Tensor, node: gs.Node) -> None:
        """Into the list of nodes, behind the one that gives the tensor."""
        position = 0
        if tensor.inputs:
            producer = tensor.inputs[0]
            position = 1 + next(i for i, n in enumerate(self.graph.nodes) if n is producer)
        self.graph.nodes.insert(position, node)


def _cast(source: gs.Tensor, target: gs.Tensor, kind: int) -> gs.Node:
    return gs.Node("Cast", target.name, {"to": int(kind)}, [source], [target])


def _before_casts(tensor: gs.Tensor) -> gs.Tensor:
    """What Casts between float types were given first."""
    while tensor.inputs:
        (producer,) = tensor.inputs
        if not is_standard(producer) or producer.op != "Cast":
            break
        source = producer.inputs[0]
        if element_type(source) not in FLOATS or element_type(tensor) not in FLOATS:
            break
        tensor = source
    return tensor
