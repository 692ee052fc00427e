"""What a pass over a graph is given, and what it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import onnx_graphsurgeon as gs

from maskrt.spec import ModelSpec

GraphPrecision = Literal["fp32", "fp16", "bf16"]


@dataclass(frozen=True)
class Context:
    """What passes know besides the graph."""

    spec: ModelSpec
    precision: GraphPrecision = "fp32"
    float32: frozenset[str] = frozenset()
    """Names of tensors that stay float32, as their values leave the low precision's range."""


Pass = Callable[[gs.Graph, Context], list[str]]
"""Changes a graph in place; returns notes for the user's report.

Raises UnsupportedModelError, naming the node or tensor, for what it cannot do.
"""
