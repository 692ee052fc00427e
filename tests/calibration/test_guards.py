"""Pictures that teach nothing, or the wrong thing, are told apart from real ones."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest

from maskrt.calibration.guards import RangeFacts, check, judge_images, judge_ranges
from maskrt.errors import MaskrtError
from maskrt.examples import shapes
from maskrt.spec import CanvasSpec
from tests.export.passes.graphs import SPEC

COUNT = 120
TRAINED = replace(
    SPEC,
    canvas=CanvasSpec(64, 64, mean=(123.7, 116.3, 103.5), std=(58.4, 57.1, 57.4)),
)


@pytest.fixture(scope="module")
def real():
    return [shapes.image(i, seed=0, split="train", size=(96, 128))[0] for i in range(COUNT)]


def noise(count, size=(96, 128)):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]


def told(frames, spec=TRAINED):
    return [(f.severity, f.message) for f in judge_images(frames, spec)]


def test_enough_real_pictures(real):
    assert told(real) == []


@pytest.mark.parametrize(("count", "severity"), [(99, "warning"), (8, "warning"), (7, "error")])
def test_few(real, count, severity):
    ((found, message),) = told(real[:count])
    assert found == severity
    assert str(count) in message


def test_none():
    assert [severity for severity, _ in told([])] == ["error"]


def test_copies_count_once(real):
    found = told([*real[:5], *real[:5] * 30])
    assert [severity for severity, _ in found] == ["warning", "error"]
    assert "150 of 155 images are copies" in found[0][1]
    assert "found 5 different images" in found[1][1]


def test_random_data(real):
    (finding,) = told(noise(COUNT))
    assert finding[0] == "error"
    assert f"{COUNT} of {COUNT} images are noise" in finding[1]
    (finding,) = told([*real, *noise(10)])
    assert finding[0] == "warning"
    assert "10 of 130" in finding[1]
    rng = np.random.default_rng(1)
    gaussian = [
        np.clip(rng.normal(128, 40, (120, 160, 3)), 0, 255).astype(np.uint8) for _ in range(COUNT)
    ]
    assert any("noise" in message for _, message in told(gaussian))


@pytest.mark.parametrize("strength", [10, 25])
def test_a_noisy_sensor_is_no_random_data(real, strength):
    rng = np.random.default_rng(0)
    noisy = [
        np.clip(frame + rng.normal(0, strength, frame.shape), 0, 255).astype(np.uint8)
        for frame in real
    ]
    assert told(noisy) == []


def test_large_fine_textures_are_no_noise():
    """Photographs of foliage and asphalt: related at half the size at the latest."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(COUNT):
        fine = rng.normal(0, 40, (128, 128, 3))
        coarse = cv2.resize(rng.normal(0, 60, (24, 24, 3)), (128, 128))
        frames.append(np.clip(128 + fine + coarse, 0, 255).astype(np.uint8))
    assert told(frames) == []


def test_one_colour(real):
    flat = [np.full((40, 60, 3), i + 20, np.uint8) for i in range(COUNT)]
    found = told(flat)
    assert ("error", f"{COUNT} of {COUNT} images are one colour: leave them out") in found
    found = told([*real, *flat[:3]])
    assert [severity for severity, _ in found] == ["warning"]
    assert "3 of 123" in found[0][1]


def test_floats_saved_as_integers(real):
    found = told([(frame > 128).astype(np.uint8) for frame in real])
    assert any(s == "error" and "within 0 to 2, expected 0 to 255" in m for s, m in found)


def test_pictures_that_are_far_too_bright_or_dark(real):
    bright = [np.maximum(frame, 252) for frame in real]
    assert any("brighter than what the model" in message for _, message in told(bright))
    dark = [frame // 24 for frame in real]
    assert any("darker than what the model" in message for _, message in told(dark))
    unscaled = replace(TRAINED, canvas=replace(TRAINED.canvas, std=(1.0, 1.0, 1.0)))
    assert any("brighter" in message for _, message in told(bright, unscaled))
    assert not any("brighter" in message for _, message in told(bright, SPEC))  # no mean


def test_black_pictures(real):
    black = [np.zeros((40, 60, 3), np.uint8)] * 90
    found = told([*real[:10], *black])
    assert ("error", "90 of 100 images are one colour: leave them out") in found
    assert any("within 0 to 2" in message for _, message in told(black))


def test_grey_pictures(real):
    assert (
        told([np.repeat(frame.mean(2, keepdims=True), 3, 2).astype(np.uint8) for frame in real])
        == []
    )


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (1, 500), (2000, 2)])
def test_odd_sizes(size):
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(9)]
    assert {severity for severity, _ in told(frames)} >= {"warning"}


def facts(amax=1.0, values=1000, non_finite=0):
    return RangeFacts(amax, values, non_finite, -amax if values else math.inf, amax)


def test_ranges_as_they_should_be():
    assert judge_ranges({"a": facts(), "b": facts(3)}) == []


def test_nan_names_the_first_tensor_and_cannot_be_forced():
    findings = judge_ranges({"a": facts(), "b": facts(non_finite=7), "c": facts(non_finite=1)})
    with pytest.raises(MaskrtError, match=r"2 tensors hold NaN.*first 'b' \(7 values\)") as raised:
        check(findings, force=True)
    assert "--force" not in str(raised.value)


def test_heads_that_no_image_reached():
    (finding,) = judge_ranges({"a": facts(), "head": facts(0, 0), "head2": facts(0, 0)})
    assert finding.severity == "warning"
    assert "2 tensors of the heads, first 'head'" in finding.message


def test_zeros():
    ranges = {name: facts() for name in "abcdefgh"}
    (finding,) = judge_ranges({**ranges, "i": facts(0)})
    assert finding.severity == "warning"
    assert "1 of 9 tensors are zero on all images ('i')" in finding.message
    zeros = {name: facts(0) for name in "abcdef"}
    (finding,) = judge_ranges({**zeros, "g": facts()})
    assert finding.severity == "error"
    assert "('a', 'b', 'c' …)" in finding.message


def test_force(real):
    findings = judge_images(real[:3], TRAINED)
    with pytest.raises(MaskrtError, match=r"found 3 different(.|\n)*--force"):
        check(findings, force=False)
    assert len(check(findings, force=True)) == 1
    assert check([], force=False) == []
