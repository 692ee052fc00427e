"""Which part of the model a node belongs to, found by the operators that it lies between."""

from __future__ import annotations

from collections.abc import Callable

import onnx

from maskrt.spec import DOMAIN

StageFinder = Callable[[str], str]
"""From a node's name to the part of the model, ``"mask head"``; empty where it is unknown."""

# what the nodes before an operator are
_BEFORE = {
    "Letterbox": "input",
    "Proposals": "region proposals",
    "MultilevelRoIAlign": "backbone",
    "DetectionNMS": "box head",
    "MaskSelect": "mask head",
    "KeypointDecode": "keypoint head",
}
_ITSELF = {
    "Letterbox": "letterbox",
    "Proposals": "region proposals",
    "MultilevelRoIAlign": "RoI pooling",
    "DetectionNMS": "detection",
    "MaskSelect": "mask selection",
    "KeypointDecode": "keypoint decoding",
}
_STAGES = ("trunk", "box_head", "mask_head", "keypoint_head")  # of a partitioned graph, by its name


def stage_finder(model: onnx.ModelProto) -> StageFinder:
    """A function that tells the part of the model from a node's name.

    It follows the graph from the node to the next operators of the domain ``maskrt``. A stage that
    was cut out of a model has none left: there the graph's name tells.
    """
    graph = model.graph
    named = {node.name: node for node in graph.node if node.name}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for tensor in node.input:
            readers.setdefault(tensor, []).append(node)
    connected = any(node.domain == DOMAIN for node in graph.node)
    whole = graph.name.replace("_", " ") if graph.name in _STAGES else ""

    def find(name: str) -> str:
        node = named.get(name)
        if node is None or whole:
            return whole
        if node.domain == DOMAIN:
            return _ITSELF.get(node.op_type, node.op_type)
        following = _next_operators(node, readers)
        return _name(following) if following else "outputs" * connected

    return find


def _next_operators(node: onnx.NodeProto, readers: dict[str, list[onnx.NodeProto]]) -> set[str]:
    found: set[str] = set()
    pending, seen = list(node.output), set(node.output)
    while pending:
        for reader in readers.get(pending.pop(), ()):
            if reader.domain == DOMAIN:
                found.add(reader.op_type)
                continue
            fresh = [tensor for tensor in reader.output if tensor not in seen]
            seen.update(fresh)
            pending += fresh
    return found


def _name(operators: set[str]) -> str:
    if "MultilevelRoIAlign" in operators:  # the maps that it reads are read by all that follows
        return _BEFORE["MultilevelRoIAlign"]
    return next((stage for operator, stage in _BEFORE.items() if operator in operators), "")
