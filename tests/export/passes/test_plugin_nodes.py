"""Plugin nodes say what the spec says, or are refused."""

from __future__ import annotations

from dataclasses import replace

import onnx
import pytest
from onnx import helper

from maskrt.errors import ModelFileError, UnsupportedModelError
from maskrt.export.canonical import read_spec
from maskrt.export.passes import TENSORRT, Context, apply, to_tensorrt
from maskrt.export.passes.plugin_nodes import plugin_nodes


def attributes(model, op):
    found = next(n for n in model.graph.node if n.op_type == op)
    return {a.name: helper.get_attribute_value(a) for a in found.attribute}


def test_before_and_after(canonical):
    model = canonical("masks")
    result, _ = apply(model, [plugin_nodes], Context(read_spec(model, "model")))
    given = attributes(result, "DetectionNMS")
    assert given.pop("plugin_version") == b"1"
    assert given.pop("plugin_namespace") == b"maskrt"
    assert given == attributes(model, "DetectionNMS")
    assert attributes(result, "MaskSelect") == {
        "plugin_version": b"1",
        "plugin_namespace": b"maskrt",
    }


@pytest.mark.parametrize(
    ("precision", "kind"), [("fp32", None), ("bf16", None), ("fp16", b"float16")]
)
def test_letterbox_writes_the_image_in_float16(canonical, precision, kind):
    result, _ = to_tensorrt(canonical("masks"), precision)
    assert attributes(result, "Letterbox").get("image_type") == kind
    image = next(n for n in result.graph.node if n.op_type == "Letterbox").output[0]
    readers = [n.op_type for n in result.graph.node if image in n.input]
    assert readers == (["Cast"] if precision == "bf16" else ["Conv"])


def test_the_image_stays_float32_where_it_must(canonical):
    model = canonical("masks")
    image = next(n for n in model.graph.node if n.op_type == "Letterbox").output[0]
    result, _ = to_tensorrt(model, "fp16", frozenset({image}))
    assert "image_type" not in attributes(result, "Letterbox")


def change(model, op, name, value):
    found = next(n for n in model.graph.node if n.op_type == op)
    kept = [a for a in found.attribute if a.name != name]
    del found.attribute[:]
    if value is not None:
        kept.append(helper.make_attribute(name, value))
    found.attribute.extend(kept)


def with_decode(model, convention):
    spec = read_spec(model, "model")
    return replace(spec, keypoint=replace(spec.keypoint, decode=convention))


def test_detectron2s_keypoints(canonical):
    model = canonical("keypoints")
    change(model, "KeypointDecode", "decode", "detectron2")
    result, _ = apply(model, TENSORRT, Context(with_decode(model, "detectron2")))
    assert attributes(result, "KeypointDecode")["decode"] == b"detectron2"


def test_keypoints_of_an_older_file(canonical):
    """Its nodes do not say whose rule they follow; they knew only torchvision's."""
    model = canonical("keypoints")
    change(model, "KeypointDecode", "decode", None)
    result, _ = to_tensorrt(model)
    assert attributes(result, "KeypointDecode")["decode"] == b"torchvision"
    with pytest.raises(UnsupportedModelError, match="decode: found 'torchvision', expected 'detec"):
        apply(model, TENSORRT, Context(with_decode(model, "detectron2")))


@pytest.mark.parametrize(
    ("op", "name", "value", "said"),
    [
        ("Proposals", "num_rois", 100, "attribute num_rois: found 100, expected 200"),
        ("Proposals", "min_size", 0.5, "attribute min_size"),
        ("MultilevelRoIAlign", "sampling_ratio", 0, r"\(box_pool\): attribute sampling_ratio"),
        ("MaskSelect", "size", 3, "only the node has the attribute size"),
    ],
)
def test_contradictions_are_refused(canonical, op, name, value, said):
    model = canonical("masks")
    change(model, op, name, value)
    with pytest.raises(UnsupportedModelError, match=said):
        to_tensorrt(model)


def test_a_role_that_the_spec_lacks(canonical):
    model = canonical("masks")
    spec = replace(read_spec(model, "model"), mask=None)
    with pytest.raises(UnsupportedModelError, match=r"knows nothing of"):
        apply(model, TENSORRT, Context(spec))


def test_scales_of_calibration_stay(canonical):
    model = canonical("masks")
    change(model, "MultilevelRoIAlign", "feature_scales", [0.1, 0.1, 0.1, 0.1])
    result, _ = to_tensorrt(model)
    assert len(attributes(result, "MultilevelRoIAlign")["feature_scales"]) == 4


def test_no_spec():
    with pytest.raises(ModelFileError, match=r"no 'maskrt\.spec'"):
        to_tensorrt(onnx.ModelProto())
