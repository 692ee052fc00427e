from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from maskrt.comparison import ORDER, Comparison
from maskrt.errors import MaskrtError
from maskrt.matching import match_boxes, match_candidates
from maskrt.spec import KeypointSpec, MaskSpec
from maskrt.tolerances import PRECISIONS, Limit, Tolerances, family, looser, read_tolerances
from tests.core.test_heads import POOL, SPEC

FULL = replace(
    SPEC,
    mask=MaskSpec(POOL, (4, 4)),
    keypoint=KeypointSpec(POOL, (8, 8), ("a", "b", "c")),
)
BATCH, ROIS, TOP_K, DETECTIONS = 2, 8, 16, 5


def boxes(rng, *shape):
    corner = rng.uniform(0, 40, (*shape, 2))
    return np.concatenate([corner, corner + rng.uniform(5, 20, (*shape, 2))], -1).astype(np.float32)


@pytest.fixture
def taps():
    """Two frames with 3 and 2 detections."""
    rng = np.random.default_rng(0)
    counts = np.array([3, 2], np.int32)
    live = int(counts.sum())

    def normal(*shape):
        return rng.normal(size=shape).astype(np.float32)

    found = {
        "image": normal(BATCH, 3, 64, 64),
        "features/0": normal(BATCH, 8, 4, 4),
        "objectness": normal(BATCH, TOP_K),
        "deltas": normal(BATCH, TOP_K, 4),
        "indices": np.stack([rng.permutation(TOP_K) for _ in range(BATCH)]).astype(np.int32),
        "rois": boxes(rng, BATCH, ROIS),
        "roi_count": np.array([ROIS, ROIS - 2], np.int32),
        "box_features": normal(BATCH * ROIS, 8, 7, 7),
        "logits": normal(BATCH, ROIS, 2),
        "box_deltas": normal(BATCH, ROIS, 8),
        "num_detections": counts,
        "boxes_canvas": boxes(rng, BATCH, DETECTIONS),
        "scores": rng.uniform(0.2, 1, (BATCH, DETECTIONS)).astype(np.float32),
        "labels": np.ones((BATCH, DETECTIONS), np.int32),
        "mask_features": normal(live, 8, 7, 7),
        "mask_logits": normal(live, 2, 4, 4),
        "masks": rng.uniform(size=(BATCH, DETECTIONS, 4, 4)).astype(np.float32),
        "keypoint_features": normal(live, 8, 7, 7),
        "heatmaps": normal(live, 3, 8, 8),
        "keypoints": rng.uniform(0, 60, (BATCH, DETECTIONS, 3, 3)).astype(np.float32),
    }
    found["boxes"] = found["boxes_canvas"] * 2
    return found


def compared(one, two, precision="fp32"):
    comparison = Comparison.of(FULL, Tolerances(precision))
    comparison.add(one, two)
    return comparison


def copied(taps):
    return {name: values.copy() for name, values in taps.items()}


def test_equal_runs(taps):
    comparison = compared(taps, copied(taps))
    stages = comparison.stages()
    assert [family(stage.stage) for stage in stages] == list(ORDER)
    assert all(stage.within and stage.largest == 0 and stage.rows for stage in stages)
    assert comparison.first_out() is None


def test_order_does_not_matter(taps):
    rng = np.random.default_rng(1)
    other = copied(taps)
    for b in range(BATCH):
        order = rng.permutation(TOP_K)
        for name in ("objectness", "deltas", "indices"):
            other[name][b] = taps[name][b, order]
        count = taps["roi_count"][b]
        order = rng.permutation(count)
        rows = slice(b * ROIS, b * ROIS + count)
        other["rois"][b, :count] = taps["rois"][b, order]
        other["box_features"][rows] = taps["box_features"][rows][order]
        for name in ("logits", "box_deltas"):
            other[name][b, :count] = taps[name][b, order]
    first, count = 0, 0
    for b, count in enumerate(taps["num_detections"]):
        for name in ("boxes", "boxes_canvas", "scores", "labels", "masks", "keypoints"):
            other[name][b, :count] = taps[name][b, :count][::-1]
        for name in ("mask_features", "mask_logits", "keypoint_features", "heatmaps"):
            rows = slice(first, first + count)
            other[name][rows] = taps[name][rows][::-1]
        first += count
    comparison = compared(taps, other)
    assert comparison.first_out() is None
    assert all(stage.largest == 0 and not stage.unmatched for stage in comparison.stages())


@pytest.mark.parametrize("value", [0.3, np.nan, np.inf])
@pytest.mark.parametrize(
    "name",
    ["image", "features/0", "objectness", "deltas", "box_features", "logits", "box_deltas",
     "scores", "mask_features", "mask_logits", "masks", "keypoint_features", "heatmaps",
     "keypoints"],
)  # fmt: skip
def test_one_value_that_differs(taps, name, value):
    other = copied(taps)
    index = (0,) * other[name].ndim
    other[name][index] += value
    comparison = compared(taps, other)
    assert comparison.first_out().stage == name
    assert [stage.stage for stage in comparison.stages() if not stage.within] == [name]
    # NaN in the reference counts as well
    if not np.isfinite(value):
        assert compared(other, taps).first_out().stage == name
        assert compared(other, other).first_out().stage == name


def test_a_keypoint_score_that_is_none(taps):
    other = copied(taps)
    other["keypoints"][0, 0, 1, 2] = np.nan
    assert compared(taps, other).first_out().stage == "keypoints"


def test_boxes(taps):
    other = copied(taps)
    other["boxes"][0, 1, 2] += 0.2
    assert compared(taps, other).first_out().stage == "boxes"
    assert compared(taps, other, "fp16").first_out() is None
    other["boxes_canvas"][0, 1, 2] += 0.1
    assert compared(taps, other).first_out().stage == "boxes_canvas"
    other["rois"][:, :, 0] += 0.2
    first = compared(taps, other).first_out()
    assert first.stage == "rois"
    assert first.largest == pytest.approx(0.2, abs=1e-4)


def test_rois_that_moved_do_not_blame_the_pooler(taps):
    other = copied(taps)
    other["rois"][0, 0] += 1
    other["box_features"][0] += 5
    out = [stage.stage for stage in compared(taps, other).stages() if not stage.within]
    assert out == ["rois"]


def test_nan_boxes(taps):
    other = copied(taps)
    other["boxes"][0, 0] = np.nan
    other["rois"][0, 0] = np.nan
    out = [stage.stage for stage in compared(taps, other).stages() if not stage.within]
    assert out[0] == "rois"
    assert "labels" in out


def test_a_label_that_differs(taps):
    other = copied(taps)
    other["labels"][0, 0] = 0
    first = compared(taps, other).first_out()
    assert (first.stage, first.unmatched) == ("labels", 2)


def test_detections_near_the_threshold_need_no_partner(taps):
    other = copied(taps)
    taps["scores"][0, 2] = SPEC.detection.score_threshold + 5e-5
    other["num_detections"][0] = 2
    for name in ("mask_features", "mask_logits", "keypoint_features", "heatmaps"):
        other[name] = np.delete(other[name], 2, 0)
    assert compared(taps, other).first_out() is None
    taps["scores"][0, 2] = 0.5
    first = compared(taps, other).first_out()
    assert first.stage == "num_detections"
    assert first.largest == 1


def test_candidates_that_only_one_has(taps):
    other = copied(taps)
    other["indices"][0, :8] += 100
    first = compared(taps, other).first_out()
    assert (first.stage, first.unmatched) == ("indices", 8)


def test_other_shapes_are_told(taps):
    other = copied(taps)
    other["features/0"] = other["features/0"][..., :2]
    first = compared(taps, other).first_out()
    assert first.stage == "features/0"
    assert first.note == "shape [2, 8, 4, 4] against [2, 8, 4, 2]"


def test_no_detections_at_all(taps):
    other = copied(taps)
    for run in (taps, other):
        run["num_detections"][:] = 0
        run["roi_count"][:] = 0
        for name in ("mask_features", "mask_logits", "keypoint_features", "heatmaps"):
            run[name] = run[name][:0]
    assert compared(taps, other).first_out() is None


def test_an_engine_gives_its_outputs_alone(taps):
    names = ("num_detections", "boxes", "scores", "labels", "masks", "keypoints")
    engine = {name: taps[name] for name in names}
    comparison = compared(taps, engine)
    assert comparison.first_out() is None
    assert {stage.stage for stage in comparison.stages()} == set(names)


def test_float16(taps):
    half = {
        name: values.astype(np.float16) if values.dtype == np.float32 else values
        for name, values in taps.items()
    }
    assert compared(taps, half, "fp16").first_out() is None
    assert compared(taps, half).first_out() is not None


def test_matching():
    one = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    two = np.array([[50, 51, 60, 60], [0, 0, 10, 10], [0, 0, 10, 10], [90, 0, 99, 9]], np.float32)
    left, right = match_boxes(one, two)
    assert {*zip(left.tolist(), right.tolist(), strict=True)} == {(0, 2), (1, 1), (2, 0)}
    assert len(match_boxes(one, two[:0])[0]) == 0
    # the same anchor number on another level is another anchor
    left, right = match_candidates(np.array([3, 1, 3]), np.array([1, 2, 3]), [2, 1])
    assert sorted(zip(left, right, strict=True)) == [(1, 0), (2, 2)]


def test_every_stage_has_limits_that_grow():
    for stage in ORDER:
        limits = [Tolerances(precision).of(stage) for precision in PRECISIONS]
        for strict, loose in pairwise(limits):
            assert strict.largest <= loose.largest
            assert strict.mean <= loose.mean
            assert strict.share <= loose.share
    assert looser("fp16", "fp32") == "fp16"


def test_tolerance_files(tmp_path):
    path = tmp_path / "tolerances.json"
    path.write_text(json.dumps({"features": {"largest": 1}, "boxes": {"mean": 3, "share": 0.5}}))
    read = read_tolerances(path, "fp32")
    assert read.of("features/3").largest == 1
    assert read.of("boxes") == Limit(0.05, 3, 0.5)
    assert read.of("scores") == Tolerances("fp32").of("scores")
    assert read.with_largest("boxes", 0.1).of("boxes") == Limit(0.1, 6, 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "expected an object"),
        ('{"bxoes": {}}', "no such stage"),
        ('{"boxes": 1}', "expected an object of largest"),
        ('{"boxes": {"max": 1}}', "expected an object of largest"),
        ('{"boxes": {"mean": -1}}', "from 0 up"),
        ('{"boxes": {"mean": "x"}}', "from 0 up"),
    ],
)
def test_unusable_tolerance_files(tmp_path, text, message):
    path = tmp_path / "tolerances.json"
    path.write_text(text)
    with pytest.raises(MaskrtError, match=message):
        read_tolerances(path, "fp32")
