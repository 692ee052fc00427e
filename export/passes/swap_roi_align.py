"""ONNX's RoiAlign in a graph that others exported becomes our plugin's node."""

from __future__ import annotations

import onnx_graphsurgeon as gs

from maskrt.errors import UnsupportedModelError
from maskrt.export.passes.context import Context
from maskrt.export.passes.tensors import is_standard
from maskrt.spec import DOMAIN

COORDINATES = "coordinate_transformation_mode"
FIRST_WITH_MODE = 16  # before, RoiAlign had no such attribute: no half cell was subtracted
INHERITED = ("output_height", "output_width", "sampling_ratio", "spatial_scale")


def swap_roi_align(graph: gs.Graph, context: Context) -> list[str]:
    """Every RoiAlign of the standard domain → RoIAlign of ours: same inputs and attributes.

    Raises:
        UnsupportedModelError: a node takes the largest sample instead of the average.
    """
    swapped = 0
    for node in graph.nodes:
        if not is_standard(node) or node.op != "RoiAlign":
            continue
        mode = node.attrs.get("mode", "avg")
        if mode != "avg":
            raise UnsupportedModelError(
                f"the node '{node.name}' is a RoiAlign of mode '{mode}', expected 'avg', which "
                "is all that the plugin does: change the model's pooler"
            )
        default = "half_pixel" if graph.opset >= FIRST_WITH_MODE else "output_half_pixel"
        coordinates = node.attrs.get(COORDINATES, default)
        kept = {name: node.attrs[name] for name in INHERITED if name in node.attrs}
        node.op, node.domain = "RoIAlign", DOMAIN
        node.attrs = {**kept, COORDINATES: coordinates}
        swapped += 1
    return [f"{swapped} RoiAlign nodes are run by the plugin RoIAlign"] if swapped else []
