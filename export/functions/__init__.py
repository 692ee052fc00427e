"""ONNX bodies of the canonical operators: model-local functions of standard ops, opset 18.

With them any ONNX tool runs a canonical file as it is; that run is the reference of every other
path. Contracts (inputs, attributes, outputs) are those of ``maskrt.export.ops``. Attributes
reach the body by reference, so one function serves several nodes; only one that names a convention
chooses the body.
"""

from __future__ import annotations

import onnx
from onnx import parser

from maskrt.export.functions import (
    detection_nms,
    keypoint_decode,
    letterbox,
    mask_select,
    multilevel_roi_align,
    proposals,
)
from maskrt.spec import DOMAIN

OPSET = 18
HEADER = f'<domain: "{DOMAIN}", opset_import: ["": {OPSET}]>\n'

BODIES = {
    "Letterbox": letterbox.body,
    "Proposals": proposals.body,
    "MultilevelRoIAlign": multilevel_roi_align.body,
    "DetectionNMS": detection_nms.body,
    "MaskSelect": mask_select.body,
    "KeypointDecode": keypoint_decode.body,
}


def function_for(node: onnx.NodeProto) -> onnx.FunctionProto:
    """The function that defines a canonical node; it depends on the number of inputs, and on
    attributes that name a convention.
    """
    return parser.parse_function(HEADER + BODIES[node.op_type](node))
