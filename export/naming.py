"""Readable names for a traced graph: the module's path and the operator."""

from __future__ import annotations

import ast
from collections import Counter
from itertools import groupby

import onnx

SCOPES = "pkg.torch.onnx.name_scopes"  # what the exporter writes of a node's module


def name_nodes(model: onnx.ModelProto) -> None:
    """Names nodes and the values between them by their module; drops the exporter's own notes.

    The notes hold stack traces, and so paths of the machine that exported.
    """
    graph = model.graph
    interface = {value.name for value in [*graph.input, *graph.output]}
    seen: Counter[str] = Counter()
    renamed: dict[str, str] = {}
    for node in graph.node:
        base = "/".join([*_module_path(node), node.op_type])
        seen[base] += 1
        node.name = base if seen[base] == 1 else f"{base}_{seen[base]}"
        for i, output in enumerate(node.output):
            if output not in interface:
                renamed[output] = node.name if len(node.output) == 1 else f"{node.name}:{i}"
        del node.metadata_props[:]
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]
    for value in [*graph.value_info, *graph.input, *graph.output]:
        value.name = renamed.get(value.name, value.name)
        del value.metadata_props[:]
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
    del graph.metadata_props[:]
    del model.metadata_props[:]


def _module_path(node: onnx.NodeProto) -> list[str]:
    for note in node.metadata_props:
        if note.key == SCOPES:
            modules = ast.literal_eval(note.value)[:-1]  # the last one is the node itself
            path = modules[-1] if modules else ""
            return [part for part, _ in groupby(path.split(".")) if part]
    return []
