"""Bundles on the CPU, against the canonical file."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from maskrt.errors import MaskrtError, ModelFileError
from maskrt.examples import shapes
from maskrt.export.bundle import write_bundle
from maskrt.heads import opened_bundle, read_entry
from maskrt.runtime import Detector
from maskrt.runtime.archive import BundleArchive
from maskrt.runtime.bundle import BundleSession
from maskrt.runtime.engines.vino import precision_hint
from tests.parity import (
    File,
    Limits,
    assert_parity,
    assert_same_outputs,
    of_result,
    twins,
)
from tests.support import models
from tests.support.tiers import quick

TARGETS = ["onnxruntime", "openvino"]
MODELS = [("mask_rcnn", 1), ("mask_rcnn", (1, 3)), ("keypoint_rcnn", 1)]


@pytest.fixture(scope="module", params=[(m, t) for m in MODELS for t in TARGETS], ids=str)
def pair(request, canonical):
    """A canonical file, and a session of a bundle of it."""
    model, target = request.param
    if target == "openvino":
        pytest.importorskip("openvino")
    builder, batch = model
    session = BundleSession(models.bundle(builder, target, batch))
    reference = File(canonical(*model))
    yield reference, session
    session.close()


@pytest.fixture(scope="module")
def bundle():
    """A bundle for ONNX Runtime with masks, one frame at a time."""
    return models.bundle("mask_rcnn", "onnxruntime")


SIZES = [((192, 256),), ((333, 201),), ((12, 17),)]
MORE_SIZES = [((240, 330),), ((1080, 1920),)]


@pytest.mark.parametrize("size", quick(SIZES, [*SIZES, *MORE_SIZES], "large frames"), ids=str)
def test_equals_the_canonical_file(pair, size):
    reference, session = pair
    frame = shapes.image(3, size=size)[0][None]
    least = 0 if min(size) < 50 else 4  # nothing is found in so small a frame
    assert_same_outputs(reference, session.run(frame, 0.05, 0.5), frame, at_least=least)


def test_finds_something(pair):
    _, session = pair
    counts = [
        int(session.run(shapes.image(i)[0][None], 0.5, 0.5)["num_detections"][0]) for i in range(5)
    ]
    assert min(counts) >= 1
    assert max(counts) < session.spec.detection.max_detections


def test_thresholds(pair):
    reference, session = pair
    frame = shapes.image(1)[0][None]
    for thresholds in ((0.3, 0.2), (0.9, 0.5), (0.0, 1.0), (1.0, 0.5)):
        assert_same_outputs(reference, session.run(frame, *thresholds), frame, thresholds)


def test_batches(pair):
    reference, session = pair
    if not session.spec.batch.dynamic:
        with pytest.raises(ValueError, match="a batch of 2, the model takes 1 to 1"):
            session.run(np.zeros((2, 64, 64, 3), np.uint8), 0.5, 0.5)
        return
    # very different numbers of detections: the bucket is that of the fullest frame
    frames = np.stack([shapes.image(1)[0], np.zeros((192, 256, 3), np.uint8), shapes.image(2)[0]])
    for n in (1, 2, 3):
        ours = session.run(frames[:n], 0.3, 0.5)
        assert_same_outputs(reference, ours, frames[:n], (0.3, 0.5), at_least=4)


def test_no_detection_at_all(pair):
    _, session = pair
    outputs = session.run(np.zeros((1, 100, 100, 3), np.uint8), 1.0, 0.5)
    for output in session.spec.outputs:
        assert not outputs[output.name].any()


def test_results_outlive_the_next_run(pair):
    _, session = pair
    first = session.run(shapes.image(1)[0][None], 0.3, 0.5)
    copies = {name: array.copy() for name, array in first.items()}
    session.run(shapes.image(2)[0][None], 0.3, 0.5)
    for name, array in first.items():
        np.testing.assert_array_equal(array, copies[name])


def test_heads_run_on_the_smallest_bucket(pair):
    _, session = pair
    frame = shapes.image(1)[0][None]
    slots = session.spec.detection.max_detections
    name = "mask_features" if session.spec.mask else "keypoint_features"
    for threshold in (0.05, 0.5, 0.99):
        taps = {}
        count = int(session.run(frame, threshold, 0.5, taps)["num_detections"][0])
        expected = next(b for b in (8, 16, 32, slots) if b >= count) if count else 0
        assert (len(taps[name]) if name in taps else 0) == expected


def test_taps_are_copies_of_all_stages(pair):
    _, session = pair
    taps, again = {}, {}
    session.run(shapes.image(1)[0][None], 0.3, 0.5, taps)
    kept = {name: array.copy() for name, array in taps.items()}
    session.run(shapes.image(2)[0][None], 0.3, 0.5, again)
    assert {"image", "features/0", "objectness", "rois", "box_features", "logits"} <= set(taps)
    for name, array in taps.items():
        np.testing.assert_array_equal(array, kept[name])
    assert taps.keys() == again.keys()


def test_time_of_stages(pair):
    _, session = pair
    session.run(shapes.image(1)[0][None], 0.3, 0.5)
    laps = session.watch.laps
    assert list(laps)[:4] == ["letterbox", "trunk", "proposals", "box RoIAlign"]
    assert all(value >= 0 for value in laps.values())


def test_the_detector_opens_bundles(bundle, canonical):
    frame = shapes.image(4)[0]
    with (
        Detector(bundle, score_threshold=0.5) as ours,
        Detector(canonical("mask_rcnn"), score_threshold=0.5) as reference,
    ):
        assert ours.spec == reference.spec
        result = ours(frame)
        file = File(canonical("mask_rcnn")).reference(0.5)
        assert_parity(file, frame[None], [of_result(result)])
        # a pixel of probability 0.5 may be on either side
        one, two = twins(of_result(reference(frame)), of_result(result), Limits())
        differ = reference(frame).masks[one] != result.masks[two]
        assert differ.sum((1, 2)).max() <= 3
        assert len(ours.batch([frame, frame[::2]])) == 2
    with pytest.raises(ValueError, match="closed"):
        ours(frame)


def test_fp16_stays_close(canonical, tmp_path):
    path = tmp_path / "half.bundle"
    write_bundle(canonical("mask_rcnn"), path, "onnxruntime", "fp16")
    frame = shapes.image(4)[0]
    with (
        Detector(path, score_threshold=0.5) as ours,
        Detector(canonical("mask_rcnn"), score_threshold=0.5) as reference,
    ):
        one, two = of_result(ours(frame)), of_result(reference(frame))
    rows, columns = twins(two, one, Limits(boxes=1.0, scores=0.02, masks=0.2))
    # what has a score of about 0.5 may be lost
    assert len(rows) >= max(len(one["boxes"]), len(two["boxes"])) - 1 >= 3
    # it is not float32 in disguise
    assert np.abs(one["boxes"][columns] - two["boxes"][rows]).max() > 0


@pytest.mark.parametrize("threads", [0, -1, True])
def test_threads(bundle, threads):
    with pytest.raises(ValueError, match="threads"):
        BundleSession(bundle, threads)
    # more than there are processors is no error
    BundleSession(bundle, 1000).close()


def test_a_cpu_without_bfloat16_is_told():
    assert precision_hint("bf16", ["FP32", "BF16"]) == "bf16"
    assert precision_hint("fp32", ["FP32"]) == "f32"
    with pytest.warns(UserWarning, match="does not compute in bf16: the bundle runs in float32"):
        assert precision_hint("bf16", ["FP32", "INT8"]) == "f32"


def test_providers_are_for_onnx_files(bundle):
    with pytest.raises(ValueError, match="a built file has its own target"):
        Detector(bundle, providers=["CPUExecutionProvider"])


def rewritten(bundle: Path, path: Path, change) -> Path:
    """The bundle with other entries."""
    with zipfile.ZipFile(bundle) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def replaced(old: bytes, new: bytes):
    def change(entries):
        assert old in entries["manifest.json"]
        entries["manifest.json"] = entries["manifest.json"].replace(old, new)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda e: e.pop("trunk.onnx"), "trunk.onnx"),
        (lambda e: e.update({"box_head.onnx": b""}), "box_head"),
        (lambda e: e.update({"box_head.onnx": e["trunk.onnx"][:5000]}), "box_head"),
        (replaced(b'"mask_head"', b'"keypoint_head"'), "mask_head"),
        (replaced(b'"features/0"', b'"features/9"'), "features/9"),
        (replaced(b'"target": "onnxruntime"', b'"target": "tensorrt"'), "tensorrt"),
        (replaced(b'"maskrt_format": 1', b'"maskrt_format": 7'), "maskrt build"),
        (replaced(b"40\n", b"39\n"), "buckets"),
    ],
)
def test_inconsistent_archives(bundle, tmp_path, change, message):
    path = rewritten(bundle, tmp_path / "changed.bundle", change)
    with pytest.raises(ModelFileError, match=message):
        BundleSession(path)


def test_an_entry_that_claims_too_much(tmp_path):
    path = tmp_path / "bomb.bundle"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", b"{}")
        archive.writestr("trunk.onnx", bytes(64 << 20), zipfile.ZIP_DEFLATED)
    with opened_bundle(path) as archive, pytest.raises(ModelFileError, match="claims"):
        read_entry(path, archive, "trunk.onnx")
    with pytest.raises(ModelFileError):
        BundleArchive(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip" * 100])
def test_what_is_no_archive(tmp_path, content):
    path = tmp_path / "model.bundle"
    path.write_bytes(content)
    with pytest.raises(MaskrtError):
        Detector(path)
