"""Takes the bodies of the canonical operators out of a graph."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from maskrt.export.passes.context import Context


def drop_functions(graph: gs.Graph, context: Context) -> list[str]:
    """Model-local functions go; their nodes, and the import of their domain, stay.

    TensorRT's parser prefers a local function to a plugin of the same name.
    """
    graph.functions.clear()
    return []
