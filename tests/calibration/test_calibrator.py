"""From a float32 file and pictures to an INT8 file: accuracy, what is refused, what is kept."""

from __future__ import annotations

import sys

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from maskrt.calibration import Calibration, calibrate, evaluate
from maskrt.errors import MaskrtError, MissingDependencyError, ModelFileError, UnsupportedModelError
from maskrt.examples import shapes
from maskrt.export.canonical import load_canonical
from maskrt.heads import read_spec
from maskrt.runtime import Detector
from tests.support.tiers import quick

SEEN, HELD_OUT = 24, 24
KINDS = {"mask_rcnn": ("bbox", "segm"), "keypoint_rcnn": ("bbox", "keypoints")}


class Untouched:
    """Frames that must not be looked at."""

    def __len__(self):
        return 100

    def __getitem__(self, index):
        raise AssertionError("a frame was read")


@pytest.fixture(scope="module")
def seen():
    return [shapes.image(i, seed=0, split="train")[0] for i in range(SEEN)]


@pytest.fixture(scope="module")
def work(canonical, seen):
    """The mask model, its ranges read."""
    found = Calibration(canonical("mask_rcnn"))
    found.read_ranges(seen)
    return found


def precision_of(path, kinds, keypoint_task):
    frames, truth = shapes.dataset(HELD_OUT, split="val", seed=0, keypoint_task=keypoint_task)
    with Detector(path) as detector:
        results = [
            entry
            for frame, image in zip(frames, truth["images"], strict=True)
            for entry in detector(frame).to_coco(image["id"])
        ]
    figures = evaluate(truth, results, kinds)
    return [figures[f"{kind}/AP"] for kind in kinds]


@pytest.mark.parametrize("builder", quick(["mask_rcnn"], KINDS, "average precision again"))
def test_accuracy_survives(canonical, tmp_path, builder):
    """On few pictures; ``benchmarks/tiny_accuracy.py`` measures it on 200."""
    keypoints = builder == "keypoint_rcnn"
    frames, _ = shapes.dataset(SEEN, split="train", seed=0, keypoint_task=keypoints)
    output = tmp_path / "model.int8.onnx"
    report = calibrate(canonical(builder), output, frames)
    assert report.total.part > 0.9
    assert any("24" in warning for warning in report.warnings)  # too few
    expected = precision_of(canonical(builder), KINDS[builder], keypoints)
    found = precision_of(output, KINDS[builder], keypoints)
    assert min(expected) > 0.6
    np.testing.assert_allclose(found, expected, atol=0.015)


@pytest.mark.slow(reason="average precision of the rarer format")
def test_fp8_is_simulated_on_the_cpu(canonical, work, tmp_path):
    """Rounded to E4M3 and computed in float32; ONNX Runtime's later optimisations break that."""
    output = tmp_path / "model.fp8.onnx"
    fp8 = Calibration(canonical("mask_rcnn"), "fp8")
    fp8._histograms, fp8.images = work._histograms, work.images
    model, report = fp8.quantised()
    onnx.save(model, str(output))
    assert (report.format, report.method) == ("fp8", "minmax")
    assert read_spec(output).precision == "fp8"
    expected = precision_of(canonical("mask_rcnn"), KINDS["mask_rcnn"], False)
    found = precision_of(output, KINDS["mask_rcnn"], False)
    np.testing.assert_allclose(found, expected, atol=0.015)
    assert found != expected


def test_the_file_says_what_it_is(canonical, work, tmp_path):
    model, report = work.quantised()
    path = tmp_path / "model.int8.onnx"
    onnx.save(model, str(path))
    spec, before = read_spec(path), read_spec(canonical("mask_rcnn"))
    assert spec.precision == "int8"
    assert spec.calibration["images"] == str(SEEN)
    assert spec.calibration["method"] == report.method
    assert (spec.canvas, spec.labels, spec.provenance) == (
        before.canvas,
        before.labels,
        before.provenance,
    )
    again, _ = work.quantised()
    assert again == model  # the same ranges give the same file
    with pytest.raises(ModelFileError, match=r"is in int8: calibrate the float32 file"):
        Calibration(path)


def test_kept_layers_compute_in_float(work):
    model, report = work.quantised(keep_fp16=["mask head", "*fc7"])
    assert len(report.kept()["as asked"]) == 5
    readers = {name: node for node in model.graph.node for name in node.input}
    for layer in report.layers:
        if layer.kept == "as asked":
            assert layer.weight in readers
            assert not readers[layer.weight].input[0].endswith("dequantised")
    every, _ = work.quantised()
    assert model.ByteSize() > every.ByteSize()


def test_layers_and_maps_that_are_sensitive(work):
    model, report = work.quantised(sensitive={"box_head.head.fc6", "feature maps"})
    assert report.kept()["sensitive"] == ["box_head.head.fc6"]
    for node in model.graph.node:
        if node.op_type == "MultilevelRoIAlign":
            assert not any(name.endswith("dequantised") for name in node.input[2:])


def test_wrong_choices_are_told_before_frames_are_read(canonical, tmp_path, monkeypatch):
    output = tmp_path / "model.int8.onnx"
    with pytest.raises(MaskrtError, match="no layer is called 'layer9'"):
        calibrate(canonical("mask_rcnn"), output, Untouched(), keep_fp16=["layer9"])
    with pytest.raises(ValueError, match="method: found 'median', expected one of minmax"):
        calibrate(canonical("mask_rcnn"), output, Untouched(), method="median")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match="needs the package 'torch'"):
        calibrate(canonical("mask_rcnn"), output, Untouched())
    with pytest.raises(ValueError, match=r"found 'mse', expected one of .* for fp8"):
        calibrate(canonical("mask_rcnn"), output, Untouched(), method="mse", format="fp8")
    with pytest.raises(ValueError, match="format: found 'int4'"):
        calibrate(canonical("mask_rcnn"), output, Untouched(), format="int4")
    assert not output.exists()


def test_too_few_frames(canonical, tmp_path, seen):
    output = tmp_path / "model.int8.onnx"
    with pytest.raises(MaskrtError, match=r"(?s)5.*--force"):
        calibrate(canonical("mask_rcnn"), output, seen[:5])
    assert list(tmp_path.iterdir()) == []
    report = calibrate(canonical("mask_rcnn"), output, seen[:5], force=True)
    assert report.images == 5
    assert output.exists()


def test_what_no_image_reached_stays_in_higher_precision(canonical):
    black = [np.zeros((192, 256, 3), np.uint8)] * 3
    work = Calibration(canonical("mask_rcnn"))
    work.read_ranges(black, force=True)
    assert any("mask head" in warning or "detection" in warning for warning in work.warnings)
    _, report = work.quantised()
    unreached = report.kept()["no image reached it"]
    assert {layer.stage for layer in report.layers if layer.name in unreached} == {"mask head"}
    assert len(unreached) == 4


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.slow(reason="ranges read twice; the rule itself is tested on small graphs")
def test_weights_that_are_not_finite(canonical, tmp_path, seen, value):
    model, _ = load_canonical(canonical("mask_rcnn"))
    weight = next(t for t in model.graph.initializer if t.name.endswith("fc6.weight"))
    values = numpy_helper.to_array(weight).copy()
    values[0, 0] = value
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    path = tmp_path / "broken.onnx"
    onnx.save(model, str(path))
    with pytest.raises((MaskrtError, UnsupportedModelError), match=r"NaN|infin"):
        calibrate(path, tmp_path / "out.onnx", seen)
    assert not (tmp_path / "out.onnx").exists()


def test_ranges_come_first(canonical):
    with pytest.raises(ValueError, match="call read_ranges first"):
        Calibration(canonical("mask_rcnn")).quantised()


def test_another_method_needs_no_run(canonical, tmp_path, seen, monkeypatch):
    cache = tmp_path / "ranges.npz"
    first = calibrate(canonical("mask_rcnn"), tmp_path / "a.onnx", seen, cache=cache)
    monkeypatch.setattr("onnxruntime.InferenceSession", None)
    second = calibrate(
        canonical("mask_rcnn"), tmp_path / "b.onnx", seen, cache=cache, method="percentile-99.99"
    )
    assert (first.method, second.method) == ("mse", "percentile-99.99")
    assert (tmp_path / "a.onnx").read_bytes() != (tmp_path / "b.onnx").read_bytes()
