"""A TopK of more entries than TensorRT takes becomes several that follow each other.

TensorRT and TensorRT-RTX take at most 3840. detectron2's models with a single feature map choose
6000 candidates of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import DTypeLike
from onnx import TensorProto

from maskrt.export.passes.context import Context
from maskrt.export.passes.tensors import (
    FLOATS,
    element_type,
    fresh_name,
    is_constant,
    is_standard,
    values_of,
)
from maskrt.export.passes.weights import DTYPES

LIMIT = 3840
Shape = list[int | str]


def split_topk(graph: gs.Graph, context: Context) -> list[str]:
    """TopK of the largest floats, k above ``LIMIT`` → several of at most ``LIMIT``, concatenated.

    What an earlier one has chosen is minus infinity for the next: all that is above the last chosen
    value, and of its equals those that do not lie behind the last chosen one, as ONNX says that the
    one that lies first is taken first. The result is the same, values and indices, as long as the
    values taken are above minus infinity. A library that takes equal values in another order may
    take one of them twice where two parts meet, or leave one out.

    For after ``precision``, which leaves what a TopK reads in float32. A TopK whose k or number of
    entries is not known, and one of the smallest, stays as it is, with a note.
    """
    notes: list[str] = []
    for node in list(graph.nodes):
        if not is_standard(node) or node.op != "TopK":
            continue
        k = int(values_of(node.inputs[1]).item()) if is_constant(node.inputs[1], graph) else None
        if k is not None and k <= LIMIT:
            continue
        axis = _axis(node)
        if k is None or axis is None or not node.attrs.get("largest", 1):
            notes.append(
                f"{node.name}: TensorRT takes at most {LIMIT} of a TopK, and this one cannot be "
                "split: only the largest floats of a dimension of known size can"
            )
            continue
        _Split(graph, node, axis).run(k)
    graph.cleanup(recurse_functions=False)
    return notes


def _axis(node: gs.Node) -> int | None:
    """From the front; None where the TopK is not of floats along a side of known size."""
    values = node.inputs[0]
    if element_type(values) not in FLOATS or not values.shape:
        return None
    axis = int(node.attrs.get("axis", -1)) % len(values.shape)
    return axis if isinstance(values.shape[axis], int) else None


@dataclass
class _Split:
    """Of one node."""

    graph: gs.Graph
    node: gs.Node
    axis: int

    def run(self, k: int) -> None:
        """Puts the new nodes where the old one stood; it has no outputs any more."""
        source = self.node.inputs[0]
        kind = DTYPES[element_type(source)]
        lowest = self._constant("lowest", np.array(-np.inf, kind))
        beside = [1] * (len(source.shape) - 1 - self.axis)
        entries = np.arange(source.shape[self.axis], dtype=np.int32)
        position = self._constant("position", entries.reshape(-1, *beside))
        parts: list[tuple[gs.Tensor, gs.Tensor]] = []
        left = source
        for taken in range(0, k, LIMIT):
            if parts:
                stays = self._stays(source, position, *parts[-1])
                left = self._op("Where", [stays, source, lowest], kind, source.shape)
            parts.append(self._topk(left, min(LIMIT, k - taken)))
        for output, of_parts in zip(list(self.node.outputs), zip(*parts, strict=True), strict=True):
            if not output.is_empty():
                self._insert(gs.Node("Concat", "", {"axis": self.axis}, [*of_parts], [output]))
        self.node.outputs.clear()

    def _topk(self, source: gs.Tensor, k: int) -> tuple[gs.Tensor, gs.Tensor]:
        name = fresh_name(self.graph, f"{self.node.name}/TopK")
        count = self._constant("k", np.array([k], np.int64))
        shape = self._with_side(source.shape, k)
        found = gs.Variable(name, source.dtype, shape)
        indices = gs.Variable(f"{name}/indices", np.dtype(np.int64), shape)
        attributes = {"axis": self.axis, "largest": 1, "sorted": 1}
        self._insert(gs.Node("TopK", name, attributes, [source, count], [found, indices]))
        return found, indices

    def _stays(
        self, source: gs.Tensor, position: gs.Tensor, found: gs.Tensor, indices: gs.Tensor
    ) -> gs.Tensor:
        """Where a value has not been taken; it is behind the last one that has."""
        side = self._with_side(source.shape, 1)
        value = self._last(found, side)
        index = self._last(indices, side)
        narrow = self._op("Cast", [index], np.int32, side, to=TensorProto.INT32)
        lower = self._op("Less", [source, value], np.bool_, source.shape)
        equal = self._op("Equal", [source, value], np.bool_, source.shape)
        later = self._op("Greater", [position, narrow], np.bool_, source.shape)
        behind = self._op("And", [equal, later], np.bool_, source.shape)
        return self._op("Or", [lower, behind], np.bool_, source.shape)

    def _last(self, tensor: gs.Tensor, side: Shape) -> gs.Tensor:
        ends = [LIMIT - 1, LIMIT, self.axis]
        numbers = [
            self._constant(name, np.array([value], np.int64))
            for name, value in zip(("first", "end", "axis"), ends, strict=True)
        ]
        return self._op("Slice", [tensor, *numbers], tensor.dtype, side)

    def _with_side(self, shape: Shape, side: int) -> Shape:
        return [*shape[: self.axis], side, *shape[self.axis + 1 :]]

    def _constant(self, name: str, values: np.ndarray) -> gs.Constant:
        return gs.Constant(fresh_name(self.graph, f"{self.node.name}/{name}"), values)

    def _op(
        self, op: str, inputs: list[gs.Tensor], kind: DTypeLike, shape: Shape, **attributes: int
    ) -> gs.Tensor:
        name = fresh_name(self.graph, f"{self.node.name}/{op}")
        made = gs.Variable(name, np.dtype(kind), shape)
        self._insert(gs.Node(op, name, attributes, inputs, [made]))
        return made

    def _insert(self, node: gs.Node) -> None:
        at = next(i for i, other in enumerate(self.graph.nodes) if other is self.node)
        self.graph.nodes.insert(at, node)
