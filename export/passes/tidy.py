"""A graph that reads well in a viewer, and is the same bytes each time."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Iterator

import onnx_graphsurgeon as gs

from maskrt.export.passes.context import Context
from maskrt.export.passes.tensors import inputs_of, is_member
from maskrt.spec import DOMAIN

COUNTER_NAME = re.compile(r"(val_)?\d+|onnx::\w+")
"""Names of constants that say nothing."""
INPUT_ROLES = {
    "Clip": ("input", "min", "max"),
    "Concat": (),
    "Conv": ("input", "weight", "bias"),
    "ConvTranspose": ("input", "weight", "bias"),
    "Expand": ("input", "shape"),
    "Gather": ("input", "indices"),
    "Gemm": ("input", "weight", "bias"),
    "MatMul": ("input", "weight"),
    "Reshape": ("input", "shape"),
    "Resize": ("input", "roi", "scales", "sizes"),
    "Slice": ("input", "starts", "ends", "axes", "steps"),
    "TopK": ("input", "k"),
    "Unsqueeze": ("input", "axes"),
}


def tidy(graph: gs.Graph, context: Context) -> list[str]:
    """Nodes in order, close to what they read; unique names for all; a line about the graph.

    Tensors that another node computes keep their names: they are those of the canonical graph.
    """
    graph.cleanup(recurse_functions=False)
    _sort(graph)
    _name_nodes(graph)
    _name_tensors(graph)
    kinds = Counter(node.op for node in graph.nodes if node.domain == DOMAIN)
    operators = ", ".join(f"{n} {op}" if n > 1 else op for op, n in sorted(kinds.items()))
    graph.doc_string = f"maskrt, {context.precision}; operators of the domain '{DOMAIN}': " + (
        operators or "none"
    )
    return []


def _sort(graph: gs.Graph) -> None:
    """Topologically; of the nodes that are ready, the first in the present order comes first."""
    position = {id(node): i for i, node in enumerate(graph.nodes)}
    waits = {id(node): len(_producers(node, position)) for node in graph.nodes}
    ready = [position[key] for key, count in waits.items() if not count]
    heapq.heapify(ready)
    order: list[gs.Node] = []
    while ready:
        node = graph.nodes[heapq.heappop(ready)]
        order.append(node)
        readers = {id(reader) for output in node.outputs for reader in output.outputs}
        for key in readers & position.keys():
            waits[key] -= 1
            if not waits[key]:
                heapq.heappush(ready, position[key])
    if len(order) == len(graph.nodes):  # not with subgraphs that read outer tensors
        graph.nodes = order
    else:
        graph.toposort()


def _producers(node: gs.Node, among: dict[int, int]) -> set[int]:
    found = {id(producer) for _, tensor in inputs_of(node) for producer in tensor.inputs}
    return found & among.keys()


def _name_nodes(graph: gs.Graph) -> None:
    taken: set[str] = set()
    for node in graph.nodes:
        base = node.name or _first_output(node) or node.op
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        node.name = name


def _first_output(node: gs.Node) -> str:
    return next((tensor.name for tensor in node.outputs if tensor.name), "")


def _name_tensors(graph: gs.Graph) -> None:
    """Constants without a telling name are called after the first node that reads them."""
    taken = set(graph.tensors())
    for node, position, constant in _constants(graph):
        if not COUNTER_NAME.fullmatch(constant.name):
            continue
        roles = INPUT_ROLES.get(node.op, ())
        role = roles[position] if position < len(roles) else f"constant{position}"
        base = f"{node.name}/{role}"
        name, number = base, 1
        while name in taken:
            number += 1
            name = f"{base}_{number}"
        taken.add(name)
        constant.name = name


def _constants(graph: gs.Graph) -> Iterator[tuple[gs.Node, int, gs.Constant]]:
    for node in graph.nodes:
        for position, tensor in inputs_of(node):
            if isinstance(tensor, gs.Constant) and not is_member(tensor, graph.inputs):
                yield node, position, tensor
