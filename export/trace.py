"""Tracing the fixed-shape graph to a canonical ONNX model."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import onnx
import torch
from onnx import TensorProto, defs, helper
from onnxscript import values

from maskrt.errors import UnsupportedModelError
from maskrt.export import ops  # noqa: F401  (registers the ops)
from maskrt.export.functions import OPSET, function_for
from maskrt.export.graph import RCNN
from maskrt.export.naming import name_nodes
from maskrt.spec import DOMAIN, DOMAIN_VERSION, METADATA_KEY

IR_VERSION = 10
TENSOR_TYPES = [f"tensor({t})" for t in ("uint8", "int32", "int64", "float", "float16")]
OPERATORS = {
    "letterbox": "Letterbox",
    "proposals": "Proposals",
    "multilevel_roi_align": "MultilevelRoIAlign",
    "detection_nms": "DetectionNMS",
    "mask_select": "MaskSelect",
    "keypoint_decode": "KeypointDecode",
}


def trace(module: RCNN) -> onnx.ModelProto:
    """A canonical model, checked: standard ops, ``maskrt`` nodes with their bodies, and the spec.

    Raises:
        UnsupportedModelError: torch cannot export a dense part of the model.
    """
    spec = module.spec
    canvas = spec.canvas
    batch = spec.batch.opt if not spec.batch.dynamic else max(2, spec.batch.min)
    frames = torch.zeros(batch, canvas.height + 8, canvas.width + 16, 3, dtype=torch.uint8)
    dims: dict[int, Any] = {1: torch.export.Dim("H"), 2: torch.export.Dim("W")}
    if spec.batch.dynamic:
        dims[0] = torch.export.Dim("B", min=spec.batch.min, max=spec.batch.max)
    thresholds = {
        "score_threshold": spec.detection.score_threshold,
        "nms_threshold": spec.detection.nms_threshold,
    }
    try:
        with torch.no_grad(), _quiet():
            program = torch.onnx.export(
                module,
                (frames, *(torch.tensor(value) for value in thresholds.values())),
                input_names=["frames", *thresholds],
                output_names=[output.name for output in spec.outputs],
                dynamic_shapes=(dims, None, None),
                custom_translation_table={
                    _overload(name): _translation(name) for name in OPERATORS
                },
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UnsupportedModelError(
            "torch.onnx could not export the model's dense parts (backbone or heads): "
            f"{_root(error)}"
        ) from error
    if program is None:
        raise UnsupportedModelError("torch.onnx gave no model")
    model = program.model_proto
    model.ir_version = IR_VERSION
    name_nodes(model)
    _add_functions(model)
    _add_defaults(model, thresholds)
    metadata = model.metadata_props.add()
    metadata.key, metadata.value = METADATA_KEY, spec.to_json()
    onnx.checker.check_model(model)
    return model


def _overload(name: str) -> Any:
    return getattr(torch.ops.maskrt, name).default


def _translation(name: str) -> Any:
    """How the exporter writes one of our ops: tensors become inputs, the rest attributes."""
    schema = _overload(name)._schema
    operator = OPERATORS[name]

    def convert(*arguments: Any) -> Any:
        inputs: list[Any] = []
        attributes: dict[str, Any] = {}
        for argument, value in zip(schema.arguments, arguments, strict=True):
            kind = str(argument.type)
            if kind == "Tensor":
                inputs.append(value)
            elif kind == "List[Tensor]":
                inputs.extend(value)
            else:
                attributes[argument.name] = int(value) if isinstance(value, bool) else value
        signature = _signature(operator, len(inputs), len(schema.returns), attributes)
        write = values.Op(values.Opset(DOMAIN, DOMAIN_VERSION), operator, signature)
        return write(*inputs, **attributes)

    return convert


def _signature(name: str, inputs: int, outputs: int, attributes: dict[str, Any]) -> defs.OpSchema:
    parameter, attribute = defs.OpSchema.FormalParameter, defs.OpSchema.Attribute
    types = [f"I{i}" for i in range(inputs)] + [f"O{i}" for i in range(outputs)]
    return defs.OpSchema(
        name,
        DOMAIN,
        DOMAIN_VERSION,
        inputs=[parameter(f"x{i}", f"I{i}") for i in range(inputs)],
        outputs=[parameter(f"y{i}", f"O{i}") for i in range(outputs)],
        type_constraints=[(t, TENSOR_TYPES, "") for t in types],
        attributes=[
            attribute(key, getattr(defs.OpSchema.AttrType, _kind(value)), "")
            for key, value in attributes.items()
        ],
    )


def _kind(value: Any) -> str:
    scalar = value[0] if isinstance(value, (list, tuple)) else value
    name = {int: "INT", float: "FLOAT", str: "STRING"}[type(scalar)]
    return name + ("S" if isinstance(value, (list, tuple)) else "")


def _add_functions(model: onnx.ModelProto) -> None:
    """Appends the body of each canonical operator that the graph uses."""
    used: dict[str, onnx.NodeProto] = {}
    for node in model.graph.node:
        if node.domain != DOMAIN:
            continue
        first = used.setdefault(node.op_type, node)
        if len(first.input) != len(node.input):
            raise UnsupportedModelError(
                f"the model's {node.op_type} nodes have {len(first.input)} and {len(node.input)} "
                "inputs: expected poolers that read the same number of feature maps"
            )
    model.functions.extend(function_for(used[name]) for name in sorted(used))


def _add_defaults(model: onnx.ModelProto, thresholds: dict[str, float]) -> None:
    """Inputs that are initializers too are optional (ONNX IR, "Graphs")."""
    for name, value in thresholds.items():
        tensor = helper.make_tensor(name, TensorProto.FLOAT, [], [value])
        model.graph.initializer.append(tensor)


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {error}".splitlines()[0]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on its own progress."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
