"""Poolers that read INT8 maps and give INT8 RoI features.

Under explicit quantisation TensorRT tells a plugin no scales: it gets the output of QuantizeLinear
itself, and the scales as attributes. So a fourth of the bytes of float32 maps is read, and the head
behind the pooler starts in INT8 without another pass over the RoI features.
"""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from maskrt.export.passes.context import Context
from maskrt.export.passes.tensors import (
    element_type,
    fresh_name,
    is_member,
    is_operator,
    is_standard,
    replace_uses,
    values_of,
)

MOVEMENT = ("Flatten", "Reshape", "Transpose")


def int8_pools(graph: gs.Graph, context: Context) -> list[str]:
    """MultilevelRoIAlign between Q/DQ takes and gives INT8, with scales as attributes.

    Where all its maps are dequantised per tensor, and all that reads its RoI features quantises
    them with one scale; elsewhere it goes on reading dequantised maps. DequantizeLinear moves
    behind the reshapes, to the layer that it belongs to.
    """
    for pool in [n for n in graph.nodes if is_operator(n, "MultilevelRoIAlign")]:
        pairs = [_dequantiser(tensor) for tensor in pool.inputs[2:]]
        quantisers = _quantisers(graph, pool.outputs[0])
        scales = {_scale(node) for node in quantisers or ()}
        known = [pair for pair in pairs if pair is not None]
        if len(known) < len(pairs) or len(scales) != 1:
            continue
        pool.inputs = [*pool.inputs[:2], *(pair.inputs[0] for pair in known)]
        pool.attrs["feature_scales"] = [_scale(pair) for pair in known]
        pool.attrs["output_scale"] = scales.pop()
        _make_int8(graph, pool.outputs[0])
    graph.cleanup(recurse_functions=False)
    return []


def _dequantiser(tensor: gs.Tensor) -> gs.Node | None:
    """What dequantises a map from INT8, per tensor."""
    node = tensor.inputs[0] if tensor.inputs else None
    if node is None or not is_standard(node) or node.op != "DequantizeLinear":
        return None
    return node if _plain(node) and element_type(node.inputs[0]) == TensorProto.INT8 else None


def _plain(node: gs.Node) -> bool:
    """Whether there is one scale, known here, and no zero point but 0."""
    _, scale, *zero = node.inputs
    if not isinstance(scale, gs.Constant) or values_of(scale).size != 1:
        return False
    return all(isinstance(z, gs.Constant) and not np.any(values_of(z)) for z in zero)


def _scale(node: gs.Node) -> float:
    return float(np.asarray(values_of(node.inputs[1]), np.float32).reshape(()))


def _quantisers(graph: gs.Graph, tensor: gs.Tensor) -> list[gs.Node] | None:
    """What quantises RoI features to INT8 behind reshapes; None: something else reads them."""
    if is_member(tensor, graph.outputs):
        return None
    found: list[gs.Node] = []
    for node in tensor.outputs:
        if not is_standard(node) or node.inputs[0] is not tensor:
            return None
        if node.op in MOVEMENT:
            behind = _quantisers(graph, node.outputs[0])
            if behind is None:
                return None
            found += behind
        elif (
            node.op == "QuantizeLinear"
            and _plain(node)
            and element_type(node.outputs[0]) == TensorProto.INT8
        ):
            found.append(node)
        else:
            return None
    return found


def _make_int8(graph: gs.Graph, tensor: gs.Tensor) -> None:
    """RoI features and what reshapes make of them in INT8; what quantised them goes."""
    tensor.name = fresh_name(graph, f"{tensor.name}/int8")
    tensor.dtype = np.dtype(np.int8)
    for node in list(tensor.outputs):
        if node.op == "QuantizeLinear":
            replace_uses(node.outputs[0], tensor)
            node.outputs.clear()
        else:
            _make_int8(graph, node.outputs[0])
