"""Masks leave an engine as bytes: a quarter of what has to go from the GPU to the host."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from maskrt.export.passes.context import Context
from maskrt.export.passes.tensors import fresh_name

OUTPUT = "masks"


def byte_masks(graph: gs.Graph, context: Context) -> list[str]:
    """The output ``masks`` becomes uint8: 255 times the probability, rounded.

    TensorRT allows uint8 for inputs and outputs alone, behind a Cast from float32 or float16.
    """
    for output in graph.outputs:
        if output.name == OUTPUT and output.dtype != np.uint8:
            _as_bytes(graph, output)
    graph.toposort()
    return []


def _as_bytes(graph: gs.Graph, output: gs.Variable) -> None:
    producer = output.inputs[0]
    kind = output.dtype or np.float32
    wide = gs.Variable(fresh_name(graph, "mask_probabilities"), kind, output.shape)
    producer.outputs = [wide if tensor is output else tensor for tensor in producer.outputs]
    given = wide
    for op, value in (("Mul", 255.0), ("Add", 0.5)):  # the Cast cuts off
        constant = gs.Constant(fresh_name(graph, f"masks_{op}_by"), np.array(value, kind))
        result = gs.Variable(fresh_name(graph, f"masks_{op}"), kind, output.shape)
        node = gs.Node(op, result.name, inputs=[given, constant], outputs=[result])
        graph.nodes.append(node)
        given = result
    to = {"to": TensorProto.UINT8}
    cast = gs.Node("Cast", f"{given.name}_Cast", attrs=to, inputs=[given], outputs=[output])
    graph.nodes.append(cast)
    output.dtype = np.uint8
