"""Runs a graph of TensorRT plugin nodes, in its precision, on any CPU.

Low precision is emulated: nodes compute in float32 and each of their results is rounded to what the
graph says, by a Cast there and one back. ONNX Runtime's own float16 would not show an overflow: it
computes in float32 too, and drops the rounding between nodes. Plugin nodes get the bodies of the
canonical operators.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from maskrt.export.functions import function_for
from maskrt.export.passes import to_tensorrt
from maskrt.export.passes.context import GraphPrecision

LOW = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
DEFAULTS = ("score_threshold", "nms_threshold")


def emulated(
    canonical: onnx.ModelProto, precision: GraphPrecision, float32: frozenset[str] = frozenset()
) -> onnx.ModelProto:
    """What ``to_tensorrt`` makes of a canonical model, as a float32 model for ONNX Runtime."""
    model, _ = to_tensorrt(canonical, precision, float32)
    wide = widened(model, [t for t in canonical.graph.initializer if t.name in DEFAULTS])
    return _with_probabilities(wide)


def _with_probabilities(model: onnx.ModelProto) -> onnx.ModelProto:
    """Masks from bytes to probabilities, as the runtime reads them."""
    graph = model.graph
    for output in graph.output:
        if output.type.tensor_type.elem_type != TensorProto.UINT8:
            continue
        producer = next(node for node in graph.node if output.name in node.output)
        producer.output[:] = ["masks/bytes"]
        scale = numpy_helper.from_array(np.array(1 / 255, np.float32), "masks/scale")
        graph.initializer.append(scale)
        wide = helper.make_node("Cast", ["masks/bytes"], ["masks/wide"], to=TensorProto.FLOAT)
        graph.node.append(wide)
        graph.node.append(helper.make_node("Mul", ["masks/wide", scale.name], [output.name]))
        output.type.tensor_type.elem_type = TensorProto.FLOAT
    return model


def widened(
    model: onnx.ModelProto, defaults: list[onnx.TensorProto] | None = None
) -> onnx.ModelProto:
    """The same graph in float32, with rounding where a result has a low type."""
    graph = model.graph
    infos = [*graph.value_info, *graph.input, *graph.output]
    kinds = {value.name: value.type.tensor_type.elem_type for value in infos}
    nodes: list[onnx.NodeProto] = []
    constants: list[onnx.TensorProto] = []
    for node in graph.node:
        plain = onnx.NodeProto()
        plain.CopyFrom(node)
        if node.domain == "maskrt":
            _as_canonical(plain)
        rounded = [name for name in node.output if kinds.get(name) in LOW]
        if node.op_type == "Cast":
            source = TensorProto.FLOAT if kinds.get(node.input[0]) in LOW else None
            if rounded or (source and node.attribute[0].i == TensorProto.FLOAT):
                plain = helper.make_node("Identity", node.input, node.output, node.name)
                if rounded and source is None and kinds.get(node.input[0]) != TensorProto.FLOAT:
                    plain = helper.make_node("Cast", node.input, node.output, to=TensorProto.FLOAT)
        plain.output[:] = [f"{n}/raw" if n in rounded else n for n in node.output]
        nodes += _with_scales(plain, node, constants)
        for name in rounded:
            low, raw = f"{name}/low", f"{name}/raw"
            nodes.append(helper.make_node("Cast", [raw], [low], to=kinds[name]))
            nodes.append(helper.make_node("Cast", [low], [name], to=TensorProto.FLOAT))
    initializers = [_wide(tensor) for tensor in graph.initializer] + constants + (defaults or [])
    wide = helper.make_graph(nodes, "emulated", graph.input, graph.output, initializers)
    # in float32 nothing needs more, and the bodies' opset must be the graph's
    opsets = [helper.make_opsetid(o.domain, min(o.version, 18)) for o in model.opset_import]
    result = helper.make_model(wide, opset_imports=opsets, ir_version=model.ir_version)
    result.metadata_props.extend(model.metadata_props)
    ours = {node.op_type: node for node in nodes if node.domain == "maskrt"}
    result.functions.extend(function_for(node) for node in ours.values())
    onnx.checker.check_model(result)
    return result


def _wide(tensor: onnx.TensorProto) -> onnx.TensorProto:
    if tensor.data_type not in LOW:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _with_scales(
    plain: onnx.NodeProto, node: onnx.NodeProto, constants: list[onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """An INT8 pooler as its body between DequantizeLinear and QuantizeLinear."""
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type != "MultilevelRoIAlign" or "feature_scales" not in attributes:
        return [plain]
    zero = f"{node.name}/zero"
    constants.append(numpy_helper.from_array(np.zeros((), np.int8), zero))
    scales = [*attributes["feature_scales"], attributes["output_scale"]]
    names = [f"{node.name}/scale_{i}" for i in range(len(scales))]
    for name, scale in zip(names, scales, strict=True):
        constants.append(numpy_helper.from_array(np.array(scale, np.float32), name))
    nodes = []
    for i, name in enumerate(list(plain.input[2:])):
        wide = f"{node.name}/map_{i}"
        nodes.append(helper.make_node("DequantizeLinear", [name, names[i], zero], [wide]))
        plain.input[2 + i] = wide
    (given,) = plain.output
    plain.output[0] = f"{given}/wide"
    last = helper.make_node("QuantizeLinear", [plain.output[0], names[-1], zero], [given])
    return [*nodes, plain, last]


def _as_canonical(node: onnx.NodeProto) -> None:
    """Without the attributes that only plugins know."""
    known = function_for(node).attribute
    kept = [attribute for attribute in node.attribute if attribute.name in known]
    del node.attribute[:]
    node.attribute.extend(kept)
