"""Questions about a canonical ONNX graph: who gives a tensor, who reads it, how large it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import onnx
from onnx import TensorProto, helper

from maskrt.errors import UnsupportedModelError
from maskrt.spec import DOMAIN


@dataclass(frozen=True)
class Use:
    """One input of a node."""

    node: onnx.NodeProto
    position: int


class GraphView:
    """A graph with its edges both ways.

    Args:
        model: with the shapes of its tensors, or ones that can be inferred; not changed.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes = list(graph.node)
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.producers = {name: node for node in self.nodes for name in node.output if name}
        self.readers: dict[str, list[Use]] = {}
        for node in self.nodes:
            for position, name in enumerate(node.input):
                if name:
                    self.readers.setdefault(name, []).append(Use(node, position))
        known = {value.name for value in [*graph.value_info, *graph.output]}
        if not set(self.producers) <= known:
            graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        values = [*graph.input, *graph.value_info, *graph.output]
        self._types = {value.name: value.type.tensor_type for value in values}

    def shape(self, name: str) -> list[int | str] | None:
        """Numbers and symbols; None: not known."""
        if name in self.constants:
            return list(self.constants[name].dims)
        kind = self._types.get(name)
        if kind is None or not kind.HasField("shape"):
            return None
        return [
            dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or "?")
            for dim in kind.shape.dim
        ]

    def is_float(self, name: str) -> bool:
        """Whether a tensor's type is float32."""
        kind = self._types.get(name)
        return kind is not None and kind.elem_type == TensorProto.FLOAT

    def operators(self, op: str) -> list[onnx.NodeProto]:
        """The ``maskrt`` nodes of an operator."""
        return [node for node in self.nodes if node.domain == DOMAIN and node.op_type == op]

    def only(self, op: str) -> onnx.NodeProto:
        """The one node of an operator.

        Raises:
            UnsupportedModelError: there are none, or several.
        """
        found = self.operators(op)
        if len(found) != 1:
            raise UnsupportedModelError(
                f"the graph has {len(found)} nodes {op} of the domain '{DOMAIN}', expected one: "
                "give it a canonical file, written by  maskrt export"
            )
        return found[0]

    def back(self, starts: Iterable[str]) -> Iterator[onnx.NodeProto]:
        """Standard nodes from which the tensors come, back to ``maskrt`` nodes; nearest first."""
        pending, seen = list(starts), set()
        while pending:
            node = self.producers.get(pending.pop(0))
            if node is None or id(node) in seen or node.domain == DOMAIN:
                continue
            seen.add(id(node))
            yield node
            pending += [name for name in node.input if name]


def attribute(node: onnx.NodeProto, name: str, default: int) -> int:
    """A number among a node's attributes."""
    for entry in node.attribute:
        if entry.name == name:
            return int(helper.get_attribute_value(entry))
    return default
