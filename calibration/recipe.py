"""Where a model's activations are quantised: explicit Q/DQ that engines can fuse.

The rules, which TensorRT's documentation and NVIDIA's quantisation toolkits agree on:

* the input of every INT8 layer;
* at a residual Add behind an INT8 layer the other branch, so that the Add becomes part of that
  layer's kernel;
* the maps that poolers read, all with one scale: the pooler mixes levels, and the RPN's head shares
  its weights among them;
* where a value is only moved (nearest Resize, MaxPool, Reshape) between two quantised tensors, both
  have one scale, so that it moves as INT8.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import onnx
from onnx import helper

from maskrt.calibration.layers import Layer
from maskrt.calibration.view import GraphView, Use
from maskrt.spec import DOMAIN

MOVES = {"Flatten", "Identity", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}


@dataclass
class Point:
    """A tensor that gets a pair of QuantizeLinear and DequantizeLinear."""

    tensor: str
    uses: list[Use] = field(default_factory=list)
    """What reads the pair's output; other readers keep reading the tensor itself."""
    group: int = 0
    """Points of one group have one scale."""


def place(view: GraphView, layers: Sequence[Layer], *, maps: bool = True) -> list[Point]:
    """The points of a model, in the graph's order.

    Args:
        view: of the canonical graph.
        layers: those that are not ``kept`` become INT8.
        maps: whether poolers read INT8 maps.
    """
    points: dict[str, Point] = {}

    def add(use: Use) -> None:
        name = use.node.input[use.position]
        point = points.setdefault(name, Point(name))
        if all(
            known.node is not use.node or known.position != use.position for known in point.uses
        ):
            point.uses.append(use)

    int8 = {id(node) for layer in layers if not layer.kept for node in layer.nodes}
    for node in view.nodes:
        if id(node) in int8:
            add(Use(node, 0))
    for use in _residuals(view, int8):
        add(use)
    shared: list[set[str]] = []
    if maps:
        pooled = [
            Use(pool, position)
            for pool in view.operators("MultilevelRoIAlign")
            for position in range(2, len(pool.input))
        ]
        for use in pooled:
            add(use)
        shared.append({use.node.input[use.position] for use in pooled})
    for name in list(points):
        node = view.producers.get(name)
        if node is not None and _moves(node) and node.input[0] in points:
            add(Use(node, 0))
            shared.append({name, node.input[0]})
    order = {name: i for i, node in enumerate(view.nodes) for name in node.output}
    found = sorted(points.values(), key=lambda point: order.get(point.tensor, -1))
    _number(found, shared)
    return found


def candidates(view: GraphView, layers: Sequence[Layer]) -> list[str]:
    """Tensors that are points for some choice of kept layers, in the graph's order."""
    names = {point.tensor for point in place(view, layers)}
    stages = {id(node) for layer in layers for node in layer.nodes}
    for node in view.nodes:
        inner = node.op_type == "Add" and node.domain != DOMAIN
        if inner and any(id(view.producers.get(name)) in stages for name in node.input):
            names |= {name for name in node.input if name in view.producers}
    return [name for node in view.nodes for name in node.output if name in names]


def _residuals(view: GraphView, int8: set[int]) -> Iterable[Use]:
    """At each Add behind an INT8 layer the branch that is no such layer, or the shorter one."""
    depths: dict[str, int] = {}
    for node in view.nodes:
        depth = max((depths.get(name, 0) for name in node.input), default=0)
        depth += id(node) in int8
        depths.update(dict.fromkeys(node.output, depth))
    for node in view.nodes:
        if node.op_type != "Add" or node.domain == DOMAIN:
            continue
        if any(name in view.constants for name in node.input):
            continue
        fused = [
            position
            for position, name in enumerate(node.input)
            if name in view.producers
            and id(view.producers[name]) in int8
            and len(view.readers[name]) == 1
        ]
        if len(fused) == 1:
            yield Use(node, 1 - fused[0])
        elif len(fused) == 2:
            yield Use(node, min(fused, key=lambda i: depths[node.input[i]]))


def _moves(node: onnx.NodeProto) -> bool:
    """Whether a node gives values of its first input as they are."""
    if node.domain == DOMAIN:
        return False
    if node.op_type == "Resize":
        mode = [a for a in node.attribute if a.name == "mode"]
        return not mode or helper.get_attribute_value(mode[0]) == b"nearest"
    return node.op_type in MOVES


def _number(points: list[Point], shared: list[set[str]]) -> None:
    """Groups: tensors that occur in one of the sets have one number."""
    number = {point.tensor: i for i, point in enumerate(points)}
    for names in shared:
        together = {number[name] for name in names}
        for name, i in number.items():
            if i in together:
                number[name] = min(together)
    for point in points:
        point.group = number[point.tensor]
