"""Small graphs by hand, for the tests of single passes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from maskrt.spec import (
    CanvasSpec,
    DetectionSpec,
    ModelSpec,
    RoIPoolSpec,
    RPNLevelSpec,
    RPNSpec,
)

FLOAT = TensorProto.FLOAT
SPEC = ModelSpec(
    labels=("background", "thing"),
    canvas=CanvasSpec(64, 64),
    rpn=RPNSpec((RPNLevelSpec((4, 4), (16, 16), ((-8.0, -8.0, 8.0, 8.0),), 16),), 8),
    box_pool=RoIPoolSpec((7, 7), (0,), (1 / 16,), 2, False, 4),
    detection=DetectionSpec(5),
)
Tensor = tuple[str, int, Sequence[int | str] | None]


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """Inputs and outputs by name, with spaces between; "_" for one that is left out."""
    names = ["" if name == "_" else name for name in inputs.split()]
    domain = attributes.pop("domain", "")
    first = outputs.split(maxsplit=1)[0]
    return helper.make_node(op, names, outputs.split(), first, domain=domain, **attributes)


def graph(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    constants: dict[str, np.ndarray] | None = None,
    *,
    known: Sequence[Tensor] = (),
    opset: int = 18,
) -> onnx.ModelProto:
    """A checked model with types inferred; ``known`` are the tensors that inference cannot see."""
    made = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(*tensor) for tensor in inputs],
        [helper.make_tensor_value_info(*tensor) for tensor in outputs],
        [numpy_helper.from_array(x, name) for name, x in (constants or {}).items()],
        value_info=[helper.make_tensor_value_info(*tensor) for tensor in known],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("maskrt", 1)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=10)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    onnx.checker.check_model(model)
    return model


def kinds(model: onnx.ModelProto) -> dict[str, str]:
    """The type of each tensor, by name, as the graph notes it."""
    infos = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    found = {value.name: value.type.tensor_type.elem_type for value in infos}
    found.update({tensor.name: tensor.data_type for tensor in model.graph.initializer})
    return {name: TensorProto.DataType.Name(kind) for name, kind in found.items()}


def ops(model: onnx.ModelProto) -> list[str]:
    """The operators in order."""
    return [node.op_type for node in model.graph.node]


def constant(model: onnx.ModelProto, name: str) -> np.ndarray:
    """An initializer's values."""
    return numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name))
