"""Canonical nodes become TensorRT's plugin nodes, with everything that the plugins must know."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from onnx import TensorProto

from maskrt.attributes import IMPLIED, OPERATORS, Attributes, operator_attributes
from maskrt.errors import UnsupportedModelError
from maskrt.export.passes.context import Context
from maskrt.export.passes.tensors import (
    is_member,
    is_operator,
    is_standard,
    replace_uses,
    values_of,
)
from maskrt.spec import DOMAIN, ModelSpec

VERSION = "1"
NAMESPACE = "maskrt"
POOL_ROLES = ("mask_pool", "keypoint_pool")
KEPT = {"MultilevelRoIAlign": ("feature_scales", "output_scale")}
"""What calibration has added to nodes, which the spec does not say."""


def plugin_nodes(graph: gs.Graph, context: Context) -> list[str]:
    """Attributes from the spec, version and namespace; thresholds that are given at run time.

    Operator and domain stay, so that the graph remains valid ONNX: TensorRT looks for a plugin by
    the operator and these two attributes.

    Raises:
        UnsupportedModelError: a node and the spec contradict each other, or the operator is not
            one of maskrt's.
    """
    expected = operator_attributes(context.spec)
    for node in graph.nodes:
        if node.domain != DOMAIN:
            continue
        if node.op == "RoIAlign":
            attributes = dict(node.attrs)
        else:
            role = _role(node, expected, context.spec)
            kept = {k: v for k, v in node.attrs.items() if k in KEPT.get(node.op, ())}
            attributes = {**expected[role], **kept}
        plain = {k: int(v) if isinstance(v, bool) else v for k, v in attributes.items()}
        node.attrs = {**plain, "plugin_version": VERSION, "plugin_namespace": NAMESPACE}
        if node.op == "Letterbox":
            _absorb_cast(node, graph)
    return _require_inputs(graph)


def _role(node: gs.Node, expected: dict[str, Attributes], spec: ModelSpec) -> str:
    """Which part of the model a node is; its attributes are those of the spec."""
    if node.op == "MultilevelRoIAlign":
        from_rpn = any(is_operator(n, "Proposals") for n in node.inputs[0].inputs)
        roles = ["box_pool"] if from_rpn else [role for role in POOL_ROLES if role in expected]
    else:
        roles = [role for role, op in OPERATORS.items() if op == node.op and role in expected]
    if not roles:
        raise UnsupportedModelError(
            f"the node '{node.name}' is a {node.op}, which the model's spec ({spec.task}) knows "
            "nothing of: export the model again"
        )
    differences = {role: _difference(node, expected[role]) for role in roles}
    for role, difference in differences.items():
        if not difference:
            return role
    role, difference = next(iter(differences.items()))
    raise UnsupportedModelError(
        f"the node '{node.name}' contradicts the model's spec ({role}): {difference}; export the "
        "model again"
    )


def _difference(node: gs.Node, expected: Attributes) -> str:
    found = {k: v for k, v in node.attrs.items() if k not in KEPT.get(node.op, ())}
    found = {**IMPLIED.get(node.op, {}), **found}
    for name in sorted(set(found) | set(expected)):
        if name not in found or name not in expected:
            there = "the node" if name in found else "the spec"
            return f"only {there} has the attribute {name}"
        if not _equal(found[name], expected[name]):
            return f"attribute {name}: found {found[name]!r}, expected {expected[name]!r}"
    return ""


def _equal(found: Any, expected: Any) -> bool:
    """As ONNX holds them: floats in 32 bits."""
    if isinstance(found, str) or isinstance(expected, str):
        return bool(found == expected)
    return np.array_equal(np.asarray(found, np.float32), np.asarray(expected, np.float32))


def _absorb_cast(letterbox: gs.Node, graph: gs.Graph) -> None:
    """The plugin itself writes float16 where a Cast to it is all that reads the image."""
    image = letterbox.outputs[0]
    casts = list(image.outputs)
    if not casts or is_member(image, graph.outputs):
        return
    if any(
        not is_standard(n) or n.op != "Cast" or n.attrs["to"] != TensorProto.FLOAT16 for n in casts
    ):
        return
    if any(is_member(cast.outputs[0], graph.outputs) for cast in casts):
        return
    image.dtype = np.dtype(np.float16)
    letterbox.attrs["image_type"] = "float16"
    for cast in casts:
        replace_uses(cast.outputs[0], image)
    graph.cleanup()


def _require_inputs(graph: gs.Graph) -> list[str]:
    """Inputs with a default become plain inputs: TensorRT would take the default for a constant."""
    defaults: list[str] = []
    for position, tensor in enumerate(list(graph.inputs)):
        if isinstance(tensor, gs.Constant):
            value = values_of(tensor)
            required = gs.Variable(tensor.name, value.dtype, list(value.shape))
            replace_uses(tensor, required)
            graph.inputs[position] = required
            shown = f"{value.item():g}" if value.size == 1 else "several values"
            defaults.append(f"{tensor.name} ({shown} by default)")
    if not defaults:
        return []
    return [f"inputs that each run must be given: {', '.join(defaults)}"]
