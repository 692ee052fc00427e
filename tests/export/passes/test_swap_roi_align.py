"""A RoiAlign that others exported becomes the plugin's node."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from maskrt.errors import UnsupportedModelError
from maskrt.export.passes import TENSORRT, Context, apply
from maskrt.export.passes.swap_roi_align import swap_roi_align
from tests.export.passes.graphs import FLOAT, SPEC, graph, kinds, node
from tests.export.passes.standins import replace_plugins


def exported(opset=18, **attributes):
    return graph(
        [
            node("Conv", "x w", "features"),
            node("RoiAlign", "features rois batch", "pooled",
                 output_height=7, output_width=7, spatial_scale=0.25, **attributes),
            node("Relu", "pooled", "y"),
        ],
        [("x", FLOAT, [1, 8, 16, 16]), ("rois", FLOAT, [5, 4]),
         ("batch", onnx.TensorProto.INT64, [5])],
        [("y", FLOAT, [5, 8, 7, 7])],
        {"w": np.ones((8, 8, 1, 1), np.float32)},
        opset=opset,
    )  # fmt: skip


def swapped(model):
    result, notes = apply(model, [swap_roi_align], Context(SPEC))
    assert notes == ["1 RoiAlign nodes are run by the plugin RoIAlign"]
    found = result.graph.node[1]
    return found, {a.name: helper.get_attribute_value(a) for a in found.attribute}


@pytest.mark.parametrize(
    ("opset", "attributes", "expected"),
    [
        (10, {}, b"output_half_pixel"),
        (15, {}, b"output_half_pixel"),
        (16, {}, b"half_pixel"),
        (18, {}, b"half_pixel"),
        (18, {"coordinate_transformation_mode": "output_half_pixel"}, b"output_half_pixel"),
    ],
)
def test_default_of_the_opset(opset, attributes, expected):
    found, given = swapped(exported(opset, **attributes))
    assert (found.op_type, found.domain) == ("RoIAlign", "maskrt")
    assert list(found.input) == ["features", "rois", "batch"]
    assert given == {
        "output_height": 7,
        "output_width": 7,
        "spatial_scale": 0.25,
        "coordinate_transformation_mode": expected,
    }


def test_other_attributes_stay():
    _, given = swapped(exported(sampling_ratio=2, mode="avg"))
    assert given["sampling_ratio"] == 2
    assert "mode" not in given


def test_maxima_are_refused():
    with pytest.raises(UnsupportedModelError, match=r"'pooled'.*'max', expected 'avg'"):
        swapped(exported(mode="max"))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_as_a_plugin_in_low_precision(precision):
    result, _ = apply(exported(), TENSORRT, Context(SPEC, precision))
    assert replace_plugins(result)
    types = kinds(result)
    expected = {"fp32": "FLOAT", "fp16": "FLOAT16", "bf16": "BFLOAT16"}[precision]
    assert types["features"] == types["pooled"] == expected
    assert types["rois"] == types["y"] == "FLOAT"
