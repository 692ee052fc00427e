"""Fully connected layers that read RoI features channels last, as the pooler leaves them.

In low precision the poolers give kHWC8, which are the bytes of [N, p, q, C] where C is a multiple
of 8. A layer that wants [N, C·p·q] would have TensorRT reorder them for every RoI; reordering the
layer's weights once costs nothing.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import NDArray

from maskrt.export.passes.context import Context
from maskrt.export.passes.tensors import (
    fresh_name,
    is_constant,
    is_member,
    is_operator,
    is_quantiser,
    is_standard,
    values_of,
)

GRANULE = 8  # channels of kHWC8


def permute_fc(graph: gs.Graph, context: Context) -> list[str]:
    """After each pooler, [N, C, p, q] → Reshape → Gemm becomes Transpose → Reshape → Gemm.

    Q/DQ may stand before the Gemm and behind its weights. Only in low precision, and only where the
    structure is exactly that; otherwise a note.
    """
    if context.precision == "fp32" and not any(is_quantiser(node) for node in graph.nodes):
        return []
    notes: list[str] = []
    for pool in [n for n in graph.nodes if is_operator(n, "MultilevelRoIAlign", "RoIAlign")]:
        pooled = pool.outputs[0]
        for flatten in list(pooled.outputs):
            if not is_standard(flatten) or flatten.op not in ("Reshape", "Flatten"):
                continue
            reason = _obstacle(graph, pooled, flatten)
            if reason:
                notes.append(f"{flatten.name}: RoI features are reordered at run time: {reason}")
            else:
                _permute(graph, pooled, flatten)
    return notes


def permute_weight(
    weight: NDArray[np.generic], sides: tuple[int, int, int], axis: int
) -> NDArray[np.generic]:
    """Weights of a layer on flat [C, p, q] for flat [p, q, C].

    Args:
        weight: of rank 2; its axis ``axis`` has C·p·q entries.
        sides: (C, p, q).
        axis: 0 as in MatMul, 1 as in Gemm with ``transB``.
    """
    order = np.arange(int(np.prod(sides))).reshape(sides).transpose(1, 2, 0).ravel()
    return np.ascontiguousarray(np.take(weight, order, axis=axis))


def _obstacle(graph: gs.Graph, pooled: gs.Tensor, flatten: gs.Node) -> str:
    """Why the layer cannot be changed; empty: it can."""
    flat = flatten.outputs[0]
    reason = ""
    if pooled.shape is None or flat.shape is None or len(pooled.shape) != 4:
        return "their shape is not known"
    channels, height, width = pooled.shape[1:]
    if not all(isinstance(side, int) for side in (channels, height, width)):
        reason = f"their shape {pooled.shape} is dynamic"
    elif channels % GRANULE:
        reason = f"{channels} channels are no multiple of {GRANULE}"
    elif len(flat.shape) != 2 or flat.shape[1] != channels * height * width:
        reason = f"they become {flat.shape}, not one row for each RoI"
    elif is_member(flat, graph.outputs):
        reason = "they are an output of the graph"
    layers = _layers(flat)
    return reason or next(filter(None, (_unlike_fc(graph, t, n) for t, n in layers)), "")


def _layers(flat: gs.Tensor) -> list[tuple[gs.Tensor, gs.Node]]:
    """What reads flat features, also through Q/DQ per tensor, and the tensor that it reads."""
    found = []
    for reader in flat.outputs:
        scale = reader.inputs[1] if is_quantiser(reader) else None
        if isinstance(scale, gs.Constant) and values_of(scale).size == 1:
            found += _layers(reader.outputs[0])
        else:
            found.append((flat, reader))
    return found


def _unlike_fc(graph: gs.Graph, flat: gs.Tensor, layer: gs.Node) -> str:
    """Why a reader of flat features is no layer whose weights can be reordered."""
    plain = is_standard(layer) and layer.inputs[0] is flat and len(layer.inputs) >= 2
    if not plain or layer.op not in ("Gemm", "MatMul") or layer.attrs.get("transA"):
        return f"{layer.name} ({layer.op}) reads them"
    axis = _inner_axis(layer)
    source, position = _stored(layer)
    weight = source.inputs[position]
    if not is_constant(weight, graph) or len(weight.shape) != 2:
        return f"{layer.name} has no constant weights"
    if source is not layer and source.attrs.get("axis", 1) % 2 == axis:
        return f"the weights of {layer.name} have a scale for each feature"
    return ""


def _inner_axis(layer: gs.Node) -> int:
    """Of the weights: the one that is summed over."""
    return 1 if layer.op == "Gemm" and layer.attrs.get("transB") else 0


def _stored(layer: gs.Node) -> tuple[gs.Node, int]:
    """Which input of which node the weights are: of the layer, or of what dequantises them."""
    producers = layer.inputs[1].inputs
    if producers and is_standard(producers[0]) and producers[0].op == "DequantizeLinear":
        return producers[0], 0
    return layer, 1


def _permute(graph: gs.Graph, pooled: gs.Tensor, flatten: gs.Node) -> None:
    rows, channels, height, width = pooled.shape
    last = gs.Variable(
        fresh_name(graph, f"{pooled.name}/channels_last"),
        pooled.dtype,
        [rows, height, width, channels],
    )
    transpose = gs.Node("Transpose", last.name, {"perm": [0, 2, 3, 1]}, [pooled], [last])
    graph.nodes.insert(_position(graph, flatten), transpose)
    flatten.inputs[0] = last
    for _, layer in _layers(flatten.outputs[0]):
        source, position = _stored(layer)
        weight = source.inputs[position]
        values = permute_weight(values_of(weight), (channels, height, width), _inner_axis(layer))
        name = fresh_name(graph, f"{weight.name}/channels_last")
        permuted = gs.Constant(name, values)
        if source is not layer and len(source.outputs[0].outputs) > 1:  # others read them, too
            own = gs.Variable(f"{name}/dequantised", source.outputs[0].dtype, weight.shape)
            inputs = [permuted, *source.inputs[1:]]
            graph.nodes.insert(
                _position(graph, source),
                gs.Node(source.op, name, dict(source.attrs), inputs, [own]),
            )
            layer.inputs[1] = own
        else:
            source.inputs[position] = permuted


def _position(graph: gs.Graph, node: gs.Node) -> int:
    return next(i for i, other in enumerate(graph.nodes) if other is node)
