"""Which nodes of a graph compute in low precision: found by structure, never by names.

Features flow from the image and from the poolers; what computes on them is dense. Everything else
is float32: coordinates, decode, NMS, what leads from the dense parts to an operator that wants
float32 by moving data only, and the layers that predict class logits and box deltas.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_graphsurgeon as gs
from onnx import TensorProto

from maskrt.errors import UnsupportedModelError
from maskrt.export.passes.tensors import (
    FLOATS,
    QUANTISED,
    element_type,
    inputs_of,
    is_operator,
    is_standard,
)

POOLERS = ("MultilevelRoIAlign", "RoIAlign")
MOVEMENT = {
    "Cast",
    "Concat",
    "DepthToSpace",
    "Expand",
    "Flatten",
    "Gather",
    "GatherElements",
    "GatherND",
    "Identity",
    "Pad",
    "Reshape",
    "Resize",
    "Slice",
    "Split",
    "Squeeze",
    "Tile",
    "TopK",
    "Transpose",
    "Unsqueeze",
    "Upsample",
}
"""Ops that move values, or interpolate them as Resize does."""
LINEAR = {"Conv", "ConvTranspose", "Einsum", "Gemm", "MatMul"}
SENSITIVE = {
    "CumSum",
    "Exp",
    "Log",
    "LogSoftmax",
    "NonMaxSuppression",
    "Pow",
    "ReduceLogSumExp",
    "ReduceL2",
    "ReduceSumSquare",
    "RoiAlign",  # the standard one: its RoIs have its features' type
    "Softmax",
    "Sqrt",
    "TopK",
}
"""Ops whose range or order suffers in 16 bits."""
UNSUPPORTED: dict[int, set[str]] = {
    TensorProto.BFLOAT16: {"ConvTranspose", "HardSigmoid", "HardSwish"}
}
"""Ops that an engine cannot run in a type: TensorRT-RTX 1.7 builds no bfloat16 deconvolution, and
its parser refuses MobileNet's activations in it."""
FLOAT32_INPUTS = {
    "Proposals": (0, 1),  # objectness, deltas
    "DetectionNMS": (0, 1),  # logits, deltas
    "KeypointDecode": (0,),  # heatmaps
}
IMAGE_RANK = 3
"""Of float inputs of a graph from this rank on: features; scalars are thresholds."""


def dense_nodes(graph: gs.Graph, low: int, float32: frozenset[str]) -> set[int]:
    """Ids of the nodes that compute in low precision; poolers among them.

    Args:
        graph: sorted topologically.
        low: the type, of ``TensorProto``.
        float32: names of tensors whose producers and readers stay float32.

    Raises:
        UnsupportedModelError: the dense parts hold a branch or a loop.
    """
    features, coordinates = _flow(graph)
    unsuited = SENSITIVE | UNSUPPORTED.get(low, set())
    kept = _kept(graph, unsuited, float32)
    dense: set[int] = set()
    for node in graph.nodes:
        reads = [t for _, t in inputs_of(node) if id(t) in features]
        if not reads or id(node) in kept:
            continue
        if is_operator(node, *POOLERS):
            dense.add(id(node))
            continue
        if not is_standard(node) or node.op == "Cast":
            continue
        if list(node.subgraphs()):
            raise UnsupportedModelError(
                f"the node '{node.name}' is a {node.op}, which low precision cannot enter: build "
                "with --precision fp32, or export the model without it"
            )
        if not any(id(t) in coordinates for _, t in inputs_of(node)):
            dense.add(id(node))
    return dense | _weights(graph, dense)


def _weights(graph: gs.Graph, dense: set[int]) -> set[int]:
    """Ids of the nodes that dequantise weights for layers in low precision alone."""
    return {
        id(node)
        for node in graph.nodes
        if is_standard(node)
        and node.op == "DequantizeLinear"
        and isinstance(node.inputs[0], gs.Constant)
        and node.outputs[0].outputs
        and all(id(reader) in dense for reader in node.outputs[0].outputs)
    }


def _flow(graph: gs.Graph) -> tuple[set[int], set[int]]:
    """Ids of tensors that are features, and of those that are, or come from, coordinates."""
    features = {
        id(tensor)
        for tensor in graph.inputs
        if element_type(tensor) in FLOATS and len(tensor.shape or []) >= IMAGE_RANK
    }
    coordinates: set[int] = set()
    for node in graph.nodes:
        if is_operator(node, "Letterbox"):
            image, *others = node.outputs
            features.add(id(image))
            coordinates |= set(map(id, others))
        elif is_operator(node, *POOLERS) or (is_standard(node) and node.op == "RoiAlign"):
            features.add(id(node.outputs[0]))
        elif not is_standard(node) or node.op in ("TopK", "NonMaxSuppression"):
            coordinates |= {id(t) for t in node.outputs if element_type(t) in FLOATS}
        else:
            outputs = {id(t) for t in node.outputs if _carries(t)}
            reads = [id(t) for _, t in inputs_of(node)]
            if any(tensor in coordinates for tensor in reads):
                coordinates |= outputs
            elif any(tensor in features for tensor in reads):
                features |= outputs
    return features, coordinates


def _carries(output: gs.Tensor) -> bool:
    """Whether an output holds values of the kind that the node reads, not indices or shapes."""
    return element_type(output) in FLOATS or element_type(output) in QUANTISED


def _kept(graph: gs.Graph, unsuited: set[str], float32: frozenset[str]) -> set[int]:
    """Ids of the nodes that stay float32 whatever flows into them."""
    kept: set[int] = set()
    for node in graph.nodes:
        named = [t.name for t in [*node.inputs, *node.outputs] if not t.is_empty()]
        if float32.intersection(named) or (is_standard(node) and node.op in unsuited):
            kept.add(id(node))
        if node.op in FLOAT32_INPUTS and is_operator(node, *FLOAT32_INPUTS):
            starts = [node.inputs[i] for i in FLOAT32_INPUTS[node.op]]
            if node.op == "DetectionNMS":
                kept |= _back(starts, until=lambda n: n.op in LINEAR, inclusive=True)
            else:
                kept |= _back(starts, until=lambda n: n.op not in MOVEMENT, inclusive=False)
    return kept


def _back(
    starts: Iterable[gs.Tensor], until: Callable[[gs.Node], bool], *, inclusive: bool
) -> set[int]:
    """Ids of standard nodes from which float32 values reach the tensors, back to a kind of node."""
    found: set[int] = set()
    pending = list(starts)
    while pending:
        for node in pending.pop().inputs:
            if id(node) in found or not is_standard(node):
                continue
            last = until(node)
            if not last or inclusive:
                found.add(id(node))
            if not last:
                pending += [t for _, t in inputs_of(node) if element_type(t) in FLOATS]
    return found
