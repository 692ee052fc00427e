"""Finding the places where a canonical graph is cut, and cutting there."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx_graphsurgeon as gs

from maskrt.errors import UnsupportedModelError
from maskrt.spec import DOMAIN, ModelSpec, RoIPoolSpec


def operators(graph: gs.Graph) -> dict[str, list[gs.Node]]:
    """The ``maskrt`` nodes by operator."""
    found: dict[str, list[gs.Node]] = {}
    for node in graph.nodes:
        if node.domain == DOMAIN:
            found.setdefault(node.op, []).append(node)
    return found


def only(nodes: dict[str, list[gs.Node]], op: str) -> gs.Node:
    """The graph's one node of an operator.

    Raises:
        UnsupportedModelError: there are none, or several.
    """
    found = nodes.get(op, [])
    if len(found) != 1:
        raise UnsupportedModelError(
            f"the graph has {len(found)} nodes {op} of the domain '{DOMAIN}', expected one: give "
            "it a canonical file, written by  maskrt export"
        )
    return found[0]


def pool_before(tensor: gs.Tensor) -> gs.Node:
    """The pooler that the head behind a tensor reads.

    Raises:
        UnsupportedModelError: there is none.
    """
    pending, seen = [tensor], set()
    while pending:
        for node in pending.pop().inputs:
            if id(node) in seen:
                continue
            seen.add(id(node))
            if node.op == "MultilevelRoIAlign" and node.domain == DOMAIN:
                return node
            pending += node.inputs
    raise UnsupportedModelError(f"no pooler lies before the tensor '{tensor.name}'")


def feature_maps(pool: RoIPoolSpec, node: gs.Node) -> dict[str, gs.Tensor]:
    """The maps that a pooler reads: ``features/0`` is the backbone's first."""
    names = [f"features/{position}" for position in pool.features]
    return dict(zip(names, node.inputs[2:], strict=True))


def head_pools(spec: ModelSpec, nodes: dict[str, list[gs.Node]]) -> dict[str, gs.Node]:
    """The poolers of the heads that follow the detections: ``mask`` and ``keypoint``."""
    pools = {}
    if spec.mask:
        pools["mask"] = pool_before(only(nodes, "MaskSelect").inputs[0])
    if spec.keypoint:
        pools["keypoint"] = pool_before(only(nodes, "KeypointDecode").inputs[0])
    return pools


def extract(
    graph: gs.Graph,
    inputs: dict[str, gs.Tensor],
    outputs: dict[str, gs.Tensor],
    *,
    across: Iterable[str] = (),
) -> None:
    """Keeps what lies between some tensors; they get their roles as names.

    Args:
        graph: is changed.
        inputs: by role; what came before them goes.
        outputs: by role.
        across: ``maskrt`` operators that may lie in between.

    Raises:
        UnsupportedModelError: the outputs depend on something else, too.
    """
    first = {id(tensor) for tensor in inputs.values()}
    given = {id(tensor) for tensor in graph.inputs} if across else set()
    kept: set[int] = set()
    pending = [tensor for tensor in outputs.values() if id(tensor) not in first]
    while pending:
        tensor = pending.pop()
        if not tensor.inputs and isinstance(tensor, gs.Variable) and id(tensor) not in given:
            raise UnsupportedModelError(
                f"{graph.name}: it depends on '{tensor.name}', which no operator before it gives"
            )
        for node in tensor.inputs:
            if node.domain == DOMAIN and node.op not in across:
                raise UnsupportedModelError(
                    f"{graph.name}: it reads '{tensor.name}', an output of {node.op}, which a "
                    "stage of its own cannot"
                )
            if id(node) not in kept:
                kept.add(id(node))
                pending += [t for t in node.inputs if id(t) not in first and t.name]
    graph.nodes = [node for node in graph.nodes if id(node) in kept]
    for tensor in inputs.values():
        tensor.inputs.clear()
    for tensors in (inputs, outputs):
        for role, tensor in tensors.items():
            tensor.name = role
    graph.inputs, graph.outputs = list(inputs.values()), list(outputs.values())


def free_rows(graph: gs.Graph, rows: int) -> None:
    """Lets nodes take any number of RoIs where a constant holds the present one.

    Raises:
        UnsupportedModelError: a node is bound to that number.
    """
    for node in graph.nodes:
        constants = [tensor for tensor in node.inputs[1:] if isinstance(tensor, gs.Constant)]
        if node.op == "Reshape" and constants and constants[0].values[0] == rows:
            free = np.concatenate([[0], constants[0].values[1:]]).astype(np.int64)
            node.inputs[1] = gs.Constant(f"{node.name}/free_shape", free)
            node.attrs.pop("allowzero", None)  # 0: as it comes in
        elif node.op == "Resize" and len(node.inputs) > 3 and constants[-1].values[0] == rows:
            pairs = zip(constants[-1].values, node.inputs[0].shape, strict=True)
            factors = np.array([size / side for size, side in pairs], np.float32)
            node.inputs = [*node.inputs[:2], gs.Constant(f"{node.name}/scales", factors)]
        elif node.op == "Expand" and constants and constants[0].values[0] == rows:
            raise UnsupportedModelError(
                f"the node {node.name} spreads a tensor over just {rows} RoIs: a head has to take "
                "any number of them"
            )


def forget_shapes(graph: gs.Graph) -> None:
    """Of what lies between inputs and outputs: they are inferred anew."""
    kept = {id(tensor) for tensor in graph.inputs}
    for tensor in graph.tensors().values():
        if isinstance(tensor, gs.Variable) and id(tensor) not in kept:
            tensor.shape = None
