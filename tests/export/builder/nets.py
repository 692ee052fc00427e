"""Small ONNX graphs to build engines of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

MASKRT = helper.make_opsetid("maskrt", 1)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: dict[str, Sequence[int | str]],
    outputs: Sequence[str],
    constants: dict[str, np.ndarray] | None = None,
    *,
    dtype: int = TensorProto.FLOAT,
    name: str = "net",
) -> onnx.ModelProto:
    """A model of these nodes; all inputs and outputs have one dtype."""
    made = helper.make_graph(
        list(nodes),
        name,
        [helper.make_tensor_value_info(n, dtype, shape) for n, shape in inputs.items()],
        [helper.make_tensor_value_info(n, dtype, None) for n in outputs],
        [numpy_helper.from_array(value, n) for n, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 18), MASKRT]
    return helper.make_model(made, opset_imports=opsets, ir_version=9)


def conv_net(
    dtype: type = np.float32, *, rows: int | str = 1, layers: int = 2, channels: int = 16
) -> onnx.ModelProto:
    """Convolutions with ReLU; ``rows`` a name: that dimension is dynamic."""
    rng = np.random.default_rng(0)
    nodes, constants, last = [], {}, "x"
    for i in range(layers):
        weights = rng.standard_normal((channels, channels, 3, 3)) * 0.1
        constants[f"w{i}"] = weights.astype(dtype)
        out = "y" if i == layers - 1 else f"r{i}"
        nodes.append(helper.make_node("Conv", [last, f"w{i}"], [f"c{i}"], f"conv{i}", pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{i}"], [out], f"relu{i}"))
        last = out
    tensor = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return graph(nodes, {"x": (rows, channels, 32, 32)}, ["y"], constants, dtype=tensor)


def one_node(
    op: str,
    name: str = "culprit",
    inputs: dict[str, Sequence[int | str]] | None = None,
    constants: dict[str, np.ndarray] | None = None,
    **attributes: object,
) -> onnx.ModelProto:
    """A model of one node, that reads its inputs and then its constants."""
    inputs = inputs or {"x": (1, 4, 8, 8)}
    node = helper.make_node(op, [*inputs, *(constants or {})], ["y"], name, **attributes)
    return graph([node], inputs, ["y"], constants)


def plugin_net() -> onnx.ModelProto:
    """A node of the domain maskrt without a function body, as surgery leaves it."""
    return one_node(
        "MaskSelect",
        "select",
        domain="maskrt",
        plugin_namespace="maskrt",
        plugin_version="1",
    )
