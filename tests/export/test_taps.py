from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from maskrt.comparison import Comparison
from maskrt.errors import ModelFileError, UnsupportedModelError
from maskrt.examples import shapes
from maskrt.export import export, load_model
from maskrt.export.adapters.eager import EagerTaps
from maskrt.export.taps import OnnxTaps, find_taps
from maskrt.runtime import Detector
from maskrt.tolerances import Tolerances
from tests.parity import File, agrees, assert_parity, disturbed, live, of_result

TASKS = ("mask_rcnn", "keypoint_rcnn")
STAGES = {
    "mask_rcnn": {"mask_features", "mask_logits", "masks"},
    "keypoint_rcnn": {"keypoint_features", "heatmaps", "keypoints"},
}


def trained(task):
    return load_model(f"maskrt.examples.shapes:{task}", shapes.WEIGHTS / f"{task}.pth")


@pytest.fixture(params=TASKS)
def model(request, canonical):
    """Name, module, and the exported file, of one to three frames."""
    return request.param, trained(request.param), canonical(request.param, batch=(1, 3))


def eager_taps(module, spec, k):
    """The eager model, or one whose weights are disturbed."""
    return EagerTaps(module if k is None else disturbed(module, k), spec)


def pictures(count, size=(192, 256)):
    return np.stack([shapes.image(i, split="val", size=size)[0] for i in range(count)])


@pytest.mark.parametrize("size", [(192, 256), (333, 201), (60, 80)])
def test_eager_and_onnx_agree_in_every_stage(model, size):
    name, module, path = model
    onnx_taps = OnnxTaps(path)
    frames = pictures(3, size)
    two = onnx_taps.run(frames, 0.05, 0.5)

    def attempt(k):
        one = eager_taps(module, onnx_taps.spec, k).run(list(frames), 0.05, 0.5)
        assert set(one) == set(two) >= {"image", "features/0", "indices", "rois"} | STAGES[name]
        for stage in one:
            assert one[stage].shape[2:] == two[stage].shape[2:], stage
            assert one[stage].dtype == two[stage].dtype, stage
        comparison = Comparison.of(onnx_taps.spec, Tolerances())
        comparison.add(one, two)
        assert all(stage.rows for stage in comparison.stages())
        return comparison.first_out() is None

    assert agrees(attempt)


def test_outputs_are_the_detectors(model):
    _, _, path = model
    frame = pictures(1)
    taps = OnnxTaps(path).run(frame, 0.3, 0.5)
    outputs = {name: taps[name] for name in File(path).outputs(frame)}
    found = Detector(path, score_threshold=0.3)(frame[0])
    reference = File(path).reference(0.3, 0.5)
    assert_parity(reference, frame, live(outputs), at_least=1)
    assert_parity(reference, frame, [of_result(found)], at_least=1)


def test_nothing_found(model):
    name, module, path = model
    taps = OnnxTaps(path)
    eager = EagerTaps(module, taps.spec).run(list(pictures(1)), 1.0, 0.5)
    ours = taps.run(pictures(1), 1.0, 0.5)
    comparison = Comparison.of(taps.spec, Tolerances(), 1.0)
    comparison.add(eager, ours)
    assert comparison.first_out() is None
    for stage in STAGES[name] - {"masks", "keypoints"}:
        assert len(ours[stage]) == len(eager[stage]) == 0


@pytest.mark.slow(reason="another export; commands of RGB models are quick")
def test_fit_and_rgb(tmp_path):
    """Another resize, and frames of another order, reach the eager model as they are."""
    module = trained("mask_rcnn")
    path = tmp_path / "fit.onnx"
    export(module, path, (256, 320), resize="fit", frame_order="rgb")
    taps = OnnxTaps(path)
    frames = pictures(1, (60, 80))
    ours = taps.run(np.ascontiguousarray(frames[..., ::-1]), 0.05, 0.5)

    def attempt(k):
        comparison = Comparison.of(taps.spec, Tolerances())
        comparison.add(eager_taps(module, taps.spec, k).run(list(frames), 0.05, 0.5), ours)
        return comparison.first_out() is None

    assert agrees(attempt)


def shifted(model, name, change):
    """Changes a weight of the ONNX model, an initializer."""
    for tensor in model.graph.initializer:
        if tensor.name == name:
            values = numpy_helper.to_array(tensor).copy()
            change(values)
            tensor.CopyFrom(numpy_helper.from_array(values, name))
            return
    raise AssertionError(f"no weight {name}")


def add(amount):
    def change(values):
        values.flat[0] += amount

    return change


def letterbox_mean(model):
    (node,) = [node for node in model.graph.node if node.op_type == "Letterbox"]
    (mean,) = [attribute for attribute in node.attribute if attribute.name == "mean"]
    mean.floats[1] += 1


def one_weight(part, amount):
    def change(model):
        names = [tensor.name for tensor in model.graph.initializer]
        (name,) = [name for name in names if name.endswith(part)]
        shifted(model, name, add(amount))

    return change


FAULTS = {
    "image": letterbox_mean,
    "features/0": one_weight("fpn.layer_blocks.0.0.weight", 0.5),
    "objectness": one_weight("rpn_head.cls_logits.bias", 0.1),
    "deltas": one_weight("rpn_head.bbox_pred.bias", 0.05),
    "logits": one_weight("predictor.cls_score.bias", 0.1),
    "box_deltas": one_weight("predictor.bbox_pred.weight", 0.5),
    "mask_logits": one_weight("predictor.mask_fcn_logits.bias", 0.2),
}


@pytest.fixture
def masks(canonical):
    return canonical("mask_rcnn")


@cache
def sound(path):
    """The specification of a file, and its taps on each picture."""
    taps = OnnxTaps(path)
    return taps.spec, [taps.run(frame[None], 0.05, 0.5) for frame in pictures(3)]


def first_out(one, two):
    spec, expected = sound(one)
    comparison, broken = Comparison.of(spec, Tolerances()), OnnxTaps(two)
    for frame, taps in zip(pictures(3), expected, strict=True):
        comparison.add(taps, broken.run(frame[None], 0.05, 0.5))
    return comparison.first_out()


@pytest.mark.parametrize("stage", FAULTS)
def test_a_fault_is_found_where_it_is(masks, stage, tmp_path):
    model = onnx.load(masks)
    FAULTS[stage](model)
    broken = tmp_path / "broken.onnx"
    onnx.save(model, broken)
    assert first_out(masks, broken).stage == stage


@pytest.mark.parametrize(
    ("op", "name", "value", "stage"),
    [
        ("MultilevelRoIAlign", "sampling_ratio", 1, "box_features"),
        ("Proposals", "nms_threshold", 0.3, "rois"),
        ("Letterbox", "swap_channels", 0, "image"),
    ],
)
def test_another_attribute_of_an_operator_is_found(masks, tmp_path, op, name, value, stage):
    model = onnx.load(masks)
    node = next(node for node in model.graph.node if node.op_type == op)
    (attribute,) = [attribute for attribute in node.attribute if attribute.name == name]
    attribute.CopyFrom(onnx.helper.make_attribute(name, value))
    broken = tmp_path / "broken.onnx"
    onnx.save(model, broken)
    assert first_out(masks, broken).stage == stage


def test_files_that_are_not_canonical(masks, tmp_path):
    model = onnx.load(masks)
    spec = OnnxTaps(masks).spec
    (node,) = [node for node in model.graph.node if node.op_type == "Proposals"]
    model.graph.node.remove(node)
    with pytest.raises(ModelFileError, match="has 0 nodes Proposals"):
        find_taps(model.graph, spec)
    path = tmp_path / "cut.onnx"
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match=r"cut\.onnx"):
        OnnxTaps(path)
    with pytest.raises(ModelFileError, match="does not exist"):
        OnnxTaps(tmp_path / "none.onnx")


def test_only_torchvisions_models_run_eagerly(masks):
    with pytest.raises(UnsupportedModelError, match="found a Linear"):
        EagerTaps(torch.nn.Linear(1, 1), OnnxTaps(masks).spec)
