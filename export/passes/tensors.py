"""Small questions about graphsurgeon's nodes and tensors that several passes ask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto
from onnx_graphsurgeon.exporters.onnx_exporter import dtype_to_onnx

from maskrt.spec import DOMAIN

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
QUANTISED = (TensorProto.INT8, TensorProto.FLOAT8E4M3FN)
QUANTISERS = ("QuantizeLinear", "DequantizeLinear")


def is_standard(node: gs.Node) -> bool:
    """Of ONNX itself."""
    return node.domain in (None, "", "ai.onnx")


def is_operator(node: gs.Node, *ops: str) -> bool:
    """One of these operators of ours."""
    return node.domain == DOMAIN and node.op in ops


def element_type(tensor: gs.Tensor) -> int:
    """Of ``TensorProto.DataType``; UNDEFINED where it is not known."""
    if tensor.is_empty() or tensor.dtype is None:
        return TensorProto.UNDEFINED
    return int(dtype_to_onnx(tensor.dtype))


def is_quantiser(node: gs.Node) -> bool:
    """QuantizeLinear or DequantizeLinear."""
    return is_standard(node) and node.op in QUANTISERS


def is_float32(tensor: gs.Tensor) -> bool:
    """Whether a tensor's type is the one that precision changes."""
    return element_type(tensor) == TensorProto.FLOAT


def is_constant(tensor: gs.Tensor, graph: gs.Graph) -> bool:
    """Whether its value can never change: an input with a default is no constant."""
    return isinstance(tensor, gs.Constant) and not is_member(tensor, graph.inputs)


def is_member(tensor: gs.Tensor, tensors: Iterable[gs.Tensor]) -> bool:
    """By identity: graphsurgeon's own comparison is by name."""
    return any(tensor is other for other in tensors)


def inputs_of(node: gs.Node) -> Iterator[tuple[int, gs.Tensor]]:
    """Position and tensor of each input that is given."""
    for position, tensor in enumerate(list(node.inputs)):
        if not tensor.is_empty():
            yield position, tensor


def replace_uses(old: gs.Tensor, new: gs.Tensor) -> None:
    """Every node that reads ``old`` reads ``new``; graph outputs are left as they are."""
    for node in list(old.outputs):
        for position, tensor in inputs_of(node):
            if tensor is old:
                node.inputs[position] = new


def values_of(tensor: gs.Constant) -> np.ndarray:
    """Of a constant, without a copy of it staying in the graph."""
    held = tensor._values
    return held.load() if isinstance(held, gs.ir.tensor.LazyValues) else held


def fresh_name(graph: gs.Graph, wanted: str) -> str:
    """The name, or the name with a number, that no tensor of the graph has."""
    taken = graph.tensors()
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}_{number}"
    return name
