"""The native DetectionNMS against the torch op."""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from maskrt.export import ops as reference
from maskrt.plugins import backend, ops
from maskrt.plugins.library import call, library
from maskrt.plugins.ops.detection_nms import DetectionNmsParams
from tests.plugins.boxes import (
    distance,
    lattice_boxes,
    overlap_distance,
    rounding,
    same_as_on_the_cpu,
)

pytestmark = pytest.mark.usefixtures("native")

CLIP = math.log(1000 / 16)
Floats = NDArray[np.float32]
NAMES = ("boxes", "scores", "labels", "count")


@dataclass
class Case:
    """What goes into the operator."""

    logits: NDArray[np.float32]
    deltas: NDArray[np.float32]
    rois: NDArray[np.float32]
    roi_count: NDArray[np.int32]
    content: NDArray[np.float32]
    score_threshold: float
    nms_threshold: float
    attributes: dict[str, Any]

    @property
    def arrays(self) -> tuple[Floats, Floats, Floats, NDArray[np.int32], Floats]:
        return self.logits, self.deltas, self.rois, self.roi_count, self.content

    def native(self, threads: int = 0) -> tuple[NDArray[Any], ...]:
        return ops.detection_nms(
            *self.arrays,
            score_threshold=self.score_threshold,
            nms_threshold=self.nms_threshold,
            **self.attributes,
            threads=threads,
        )

    def torch(self) -> tuple[NDArray[Any], ...]:
        tensors = [torch.from_numpy(array) for array in self.arrays]
        thresholds = [torch.tensor(self.score_threshold), torch.tensor(self.nms_threshold)]
        results = reference.detection_nms(*tensors, *thresholds, **self.attributes)
        return tuple(result.numpy() for result in results)

    def scores(self) -> NDArray[np.float32]:
        """Without the background, [B, R, C - 1]."""
        first = int(self.attributes["background_first"])
        classes = self.logits.shape[2]
        scores = torch.from_numpy(self.logits).softmax(-1).numpy()
        return scores[..., first : first + classes - 1]

    def boxes(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Decoded [B, R, C - 1, 4], before and after they are clipped."""
        batch, slots, classes = self.logits.shape
        deltas = torch.from_numpy(self.deltas).reshape(batch, slots, -1, 4)
        if deltas.shape[2] == classes:
            first = int(self.attributes["background_first"])
            deltas = deltas[:, :, first : first + classes - 1]
        rois = torch.from_numpy(self.rois)[:, :, None]
        boxes = reference.decode(
            deltas, rois, self.attributes["delta_weights"], self.attributes["delta_clip"]
        ).expand(batch, slots, classes - 1, 4)
        return boxes.numpy(), reference._clip(boxes, torch.from_numpy(self.content)).numpy()


def case(
    seed: int,
    batch: int,
    slots: int,
    classes: int,
    *,
    exact: bool,
    regression: str = "each",
    background_first: bool = True,
    score_threshold: float = 0.05,
    nms_threshold: float = 0.5,
    max_detections: int = 20,
    min_size: float = 0.0,
) -> Case:
    """RoIs and what the network says of them.

    Exact ones have coordinates, scores and IoUs that every implementation rounds alike, so that
    none may decide otherwise: in a row of logits m are equal and the rest far below, so the scores
    are 1 / m, and many of them are the same.

    Args:
        regression: deltas for "each" class, the "foreground" ones, or one for "all".
    """
    rng = np.random.default_rng(seed)
    side = 96
    rois = np.stack([lattice_boxes(rng, slots, side) for _ in range(batch)])
    boxes = {"each": classes, "foreground": classes - 1, "all": 1}[regression]
    if exact:
        order = np.argsort(rng.random((batch, slots, classes)), -1)
        equal = order < rng.integers(1, classes + 1, (batch, slots, 1))
        logits = np.where(equal, 0.0, rng.choice([-200.0, -np.inf], equal.shape))
        logits += rng.integers(-3, 4, (batch, slots, 1))
        deltas = np.zeros((batch, slots, boxes, 4))
        deltas[..., :2] = rng.integers(-4, 5, (batch, slots, boxes, 2)) / 4
    else:
        logits = rng.normal(0, 2, (batch, slots, classes))
        deltas = rng.normal(0, 0.3, (batch, slots, boxes, 4))
    return Case(
        logits.astype(np.float32),
        deltas.reshape(batch, slots, -1).astype(np.float32),
        rois,
        rng.integers(0, slots + 1, batch).astype(np.int32),
        rng.integers(side // 2, side, (batch, 2)).astype(np.float32),
        float(np.float32(score_threshold)),
        float(np.float32(nms_threshold)),
        {
            "max_detections": max_detections,
            "min_size": min_size,
            "delta_weights": [1.0, 2.0, 0.5, 1.0] if exact else [1.0, 1.0, 1.1, 0.9],
            "delta_clip": CLIP,
            "background_first": background_first,
        },
    )


def check(one: Case, tolerance: float = 0.0) -> NDArray[np.int32]:
    """Holds the target against the torch op and the CPU library; returns the count."""
    results = one.native()
    expected = dict(zip(NAMES, one.torch(), strict=True))
    found = dict(zip(NAMES, results, strict=True))
    for name in NAMES:
        assert found[name].dtype == expected[name].dtype
    np.testing.assert_array_equal(found["count"], expected["count"])
    np.testing.assert_array_equal(found["labels"], expected["labels"])
    np.testing.assert_allclose(found["scores"], expected["scores"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["boxes"], expected["boxes"], rtol=0, atol=tolerance)
    for frame, real in enumerate(found["count"]):
        for name in NAMES[:3]:
            assert not found[name][frame, real:].any()
    same_as_on_the_cpu(results, one.native)
    return found["count"]


regressions = st.sampled_from(["each", "foreground", "all"])


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    batch=st.integers(1, 3),
    slots=st.integers(1, 80) | st.sampled_from([128, 129]),
    classes=st.integers(2, 9) | st.sampled_from([32, 33, 34]),
    regression=regressions,
    background_first=st.booleans(),
    score_threshold=st.sampled_from([-1.0, 0.0, 0.05, 0.125, 1 / 3, 0.5, 0.9, 1.0]),
    nms_threshold=st.sampled_from([-1.0, 0.0, 0.25, 1 / 3, 0.5, 0.6, 1.0]),
    max_detections=st.integers(1, 100),
    min_size=st.sampled_from([-1.0, 0.0, 1e-2, 8.0, 16.0]),
)
@example(1, 1, 129, 65, "each", True, 0.0, 0.5, 100, 0.0)
@example(2, 1, 1, 2, "all", False, 0.0, 0.5, 1, 0.0)
def test_exact_candidates(
    target: str,
    seed: int,
    batch: int,
    slots: int,
    classes: int,
    regression: str,
    background_first: bool,
    score_threshold: float,
    nms_threshold: float,
    max_detections: int,
    min_size: float,
) -> None:
    check(
        case(
            seed,
            batch,
            slots,
            classes,
            exact=True,
            regression=regression,
            background_first=background_first,
            score_threshold=score_threshold,
            nms_threshold=nms_threshold,
            max_detections=max_detections,
            min_size=min_size,
        )
    )


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    batch=st.integers(1, 2),
    slots=st.integers(1, 40),
    classes=st.integers(2, 9) | st.just(40),
    regression=regressions,
    background_first=st.booleans(),
    score_threshold=st.floats(0.0625, 1, width=32),
    nms_threshold=st.floats(0.125, 1, width=32),
    max_detections=st.integers(1, 50),
    min_size=st.floats(4, 24, width=32),
)
def test_any_candidates(
    target: str,
    seed: int,
    batch: int,
    slots: int,
    classes: int,
    regression: str,
    background_first: bool,
    score_threshold: float,
    nms_threshold: float,
    max_detections: int,
    min_size: float,
) -> None:
    one = case(
        seed,
        batch,
        slots,
        classes,
        exact=False,
        regression=regression,
        background_first=background_first,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        max_detections=max_detections,
        min_size=min_size,
    )
    scores = one.scores()
    decoded, boxes = one.boxes()
    error = rounding(decoded)
    sides = boxes[..., 2:] - boxes[..., :2]
    # what is so close that rounding decides is not compared
    assume(distance(scores, score_threshold) > 1e-6)
    assume(distance(sides, min_size) > 2 * error)
    for frame in range(batch):
        valid = (scores[frame] > score_threshold) & (sides[frame] >= min_size).all(-1)
        assume(np.diff(np.sort(scores[frame][valid])).min(initial=1) > 1e-6)
        nearest = overlap_distance(boxes[frame][valid], np.nonzero(valid)[1], nms_threshold)
        assume(nearest > 4 * error / min_size)
    check(one, error)


@pytest.mark.parametrize("side", [3, 7, 13])
def test_an_iou_at_the_threshold(target: str, side: int) -> None:
    """A box of side x 8, and its left columns alone: IoU is a quotient that has to be rounded."""
    one = case(0, 1, 2, 2, exact=True, regression="all", score_threshold=0.1)
    one.logits[:] = 0
    one.deltas[:] = 0
    one.roi_count[:] = 2
    one.content[:] = 64
    for columns in range(1, side):
        one.rois[0] = [[0, 0, side, 8], [0, 0, columns, 8]]
        exactly = np.float32(columns / side)
        below = np.nextafter(exactly, np.float32(0))
        above = np.nextafter(exactly, np.float32(1))
        for threshold, stays in ((below, 1), (exactly, 2), (above, 2)):
            one.nms_threshold = float(threshold)
            assert check(one).tolist() == [stays]


def test_scores_at_the_threshold_do_not_count(target: str) -> None:
    one = case(0, 1, 4, 5, exact=True, background_first=False)
    one.logits[:] = 0
    one.roi_count[:] = 4
    one.nms_threshold = 1.0
    exactly = np.float32(0.2)
    one.score_threshold = float(exactly)
    assert check(one).tolist() == [0]
    one.score_threshold = float(np.nextafter(exactly, np.float32(0)))
    assert check(one).tolist() == [16]


@pytest.mark.parametrize("nms_threshold", [1.0, 0.5])
def test_more_candidates_than_are_sorted_at_once(target: str, nms_threshold: float) -> None:
    """5120 of them, for 128 places; most of their scores are equal."""
    one = case(
        9, 1, 128, 41, exact=True, nms_threshold=nms_threshold, max_detections=128, min_size=-1.0
    )
    one.score_threshold = -1.0
    one.roi_count[:] = 128
    assert check(one).tolist() == [128]
    assert len(np.unique(one.native()[1])) > 1
    one.logits[:] = 0
    assert check(one).tolist() == [128]
    assert len(np.unique(one.native()[1])) == 1


def test_as_many_rois_and_detections_as_can_be(target: str) -> None:
    one = case(10, 1, 4096, 2, exact=True, nms_threshold=0.9, max_detections=4096)
    one.roi_count[:] = 4096
    assert check(one)[0] > 500


def confident(seed: int, batch: int, slots: int, classes: int) -> Case:
    """As a trained network says it: a class for each RoI, and scores that are well apart."""
    rng = np.random.default_rng(seed)
    one = case(seed, batch, slots, classes, exact=True, max_detections=100, min_size=1e-2)
    score = (1 + np.stack([rng.permutation(slots) for _ in range(batch)])) / (slots + 1)
    label = rng.integers(0, classes, (batch, slots, 1))
    peak = np.log(score * (classes - 1) / (1 - score))[..., None]
    one.logits[:] = np.where(np.arange(classes) == label, peak, 0)
    one.roi_count[:] = slots
    one.rois[:] = np.concatenate([one.rois[..., :2] * 8, one.rois[..., :2] * 8 + 64], -1)
    one.content[:] = (800, 1088)
    assert distance(one.scores(), one.score_threshold) > 1e-5
    return one


@pytest.mark.parametrize(("batch", "classes"), [(1, 91), (2, 81)])
def test_a_usual_head(native: Path, batch: int, classes: int) -> None:
    assert check(confident(11, batch, 1000, classes)).tolist() == [100] * batch


def test_a_usual_head_with_fewer_rois(target: str) -> None:
    assert check(confident(12, 1, 200, 91)).tolist() == [100]


@pytest.mark.parametrize("roi_count", [-1, -(2**31), 0, 1, 7, 8, 9, 30, 31, 2**31 - 1])
def test_counts_from_anywhere(target: str, roi_count: int) -> None:
    one = case(13, 1, 30, 4, exact=True, score_threshold=0.0)
    one.roi_count[:] = roi_count
    assert (check(one)[0] > 0) == (roi_count > 0)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**16), share=st.floats(0.02, 1), classes=st.sampled_from([2, 5, 40]))
def test_broken_numbers(target: str, seed: int, share: float, classes: int) -> None:
    one = case(seed, 1, 70, classes, exact=True)
    one.roi_count[:] = 70
    rng = np.random.default_rng(seed)
    broken = [np.nan, np.inf, -np.inf, 3e38, -3e38]
    for array in (one.logits, one.deltas, one.rois, one.content):
        # the others' scores stay exact if no logit is but a little below the largest
        values = broken if array is one.logits else [*broken, 1e-45, -0.0]
        if rng.integers(2):
            hit = rng.random(array.shape) < share
            array[hit] = rng.choice(values, int(hit.sum()))
    with np.errstate(all="ignore"):
        check(one)


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -math.inf])
def test_broken_thresholds(target: str, threshold: float) -> None:
    one = case(14, 2, 40, 5, exact=True, score_threshold=threshold)
    check(one)
    one.score_threshold, one.nms_threshold = 0.05, threshold
    check(one)


def test_thresholds_may_be_arrays(target: str) -> None:
    one = case(15, 1, 40, 5, exact=True)
    expected = one.native()
    for shape in ((), (1,), (1, 1)):
        results = ops.detection_nms(
            *one.arrays,
            score_threshold=np.full(shape, one.score_threshold, np.float32),
            nms_threshold=np.full(shape, one.nms_threshold, np.float32),
            **one.attributes,
        )
        for result, other in zip(results, expected, strict=True):
            np.testing.assert_array_equal(result, other)


@pytest.mark.parametrize("threads", [2, 3, 64])
def test_threads_change_nothing(threads: int) -> None:
    one = case(16, 3, 300, 21, exact=False, max_detections=100)
    for result, expected in zip(one.native(threads), one.native(1), strict=True):
        np.testing.assert_array_equal(result, expected)


def small() -> dict[str, Any]:
    """Arguments for two RoIs and three classes."""
    return {
        "logits": np.zeros((1, 2, 3), np.float32),
        "deltas": np.zeros((1, 2, 12), np.float32),
        "rois": np.full((1, 2, 4), [0, 0, 8, 8], np.float32),
        "roi_count": np.full(1, 2, np.int32),
        "content": np.full((1, 2), 16, np.float32),
        "score_threshold": 0.05,
        "nms_threshold": 0.5,
        "max_detections": 3,
        "min_size": 0.0,
        "delta_weights": (10, 10, 5, 5),
        "delta_clip": CLIP,
        "background_first": True,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"logits": np.zeros((2, 3), np.float32)}, r"expected float32 \[B, R, C\]"),
        ({"logits": np.zeros((1, 2, 3))}, "found logits float64"),
        ({"logits": None}, "found logits NoneType"),
        ({"deltas": np.zeros((1, 2, 16), np.float32)}, "found delta_boxes 4, expected 3 .* 2 .* 1"),
        ({"deltas": np.zeros((1, 2, 0), np.float32)}, "found delta_boxes 0"),
        ({"deltas": np.zeros((1, 2, 13), np.float32)}, r"\[1, 2, 13\], expected \[1, 2, 4 \* n\]"),
        ({"deltas": np.zeros((1, 3, 12), np.float32)}, r"expected float32 \[1, 2, 4 \* n\]"),
        ({"rois": np.zeros((2, 4), np.float32)}, r"expected float32 \[1, 2, 4\]"),
        ({"roi_count": np.zeros(1, np.int64)}, "found roi_count int64"),
        ({"content": np.zeros((2, 2), np.float32)}, r"expected float32 \[1, 2\]"),
        ({"score_threshold": np.zeros(2, np.float32)}, r"found score_threshold of shape \[2\]"),
        ({"max_detections": 0}, "found max_detections 0, expected 1 or more"),
        ({"max_detections": 4097}, "found max_detections 4097, expected 1 to 4096"),
        ({"min_size": math.nan}, "found min_size nan, expected a number"),
        ({"delta_clip": math.nan}, "found delta_clip nan"),
        ({"delta_weights": (1, 1)}, "found 2 numbers as delta_weights, expected 4"),
        ({"delta_weights": (1, math.inf, 1, 1)}, r"found delta_weights\[1\] inf"),
        ({"threads": -1}, "found threads -1"),
    ],
)
def test_bad_arguments(change: dict[str, Any], message: str) -> None:
    ops.detection_nms(**small())
    with pytest.raises(ValueError, match=message):
        ops.detection_nms(**(small() | change))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((0, 2, 3), "found batch 0, expected 1 to 65535"),
        ((1, 0, 3), "found slots 0, expected 1 to 4096"),
        ((1, 4097, 3), "found slots 4097"),
        ((1, 2, 1), "found classes 1, expected 2 to 65536"),
    ],
)
def test_bad_shapes(shape: tuple[int, int, int], message: str) -> None:
    batch, slots, classes = shape
    arguments = small() | {
        "logits": np.zeros(shape, np.float32),
        "deltas": np.zeros((batch, slots, 4 * classes), np.float32),
        "rois": np.zeros((batch, slots, 4), np.float32),
        "roi_count": np.zeros(batch, np.int32),
        "content": np.zeros((batch, 2), np.float32),
    }
    # memory that is not there cannot be asked for
    with pytest.raises(ValueError, match=message):
        ops.detection_nms(**arguments)


def params() -> tuple[DetectionNmsParams, tuple[NDArray[Any], ...]]:
    """Valid params, and the arrays that they point to."""
    a = small()
    fields: dict[str, NDArray[Any]] = {
        **{name: a[name] for name in ("logits", "deltas", "rois", "roi_count", "content")},
        "score_threshold": np.full(1, 0.05, np.float32),
        "nms_threshold": np.full(1, 0.5, np.float32),
        "boxes": np.zeros((1, 3, 4), np.float32),
        "scores": np.zeros((1, 3), np.float32),
        "labels": np.zeros((1, 3), np.int32),
        "count": np.zeros(1, np.int32),
    }
    filled = DetectionNmsParams(
        struct_size=ctypes.sizeof(DetectionNmsParams),
        **{name: array.ctypes.data for name, array in fields.items()},
        batch=1,
        slots=2,
        classes=3,
        delta_boxes=3,
        max_detections=3,
        background_first=1,
        delta_clip=CLIP,
        delta_weights=(1, 1, 1, 1),
    )
    return filled, tuple(fields.values())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("struct_size", 0),
        *((name, None) for name in ("logits", "deltas", "rois", "roi_count", "content")),
        *((name, None) for name in ("score_threshold", "nms_threshold", *NAMES)),
        ("batch", 0),
        ("batch", 65536),
        ("slots", -1),
        ("slots", 4097),
        ("classes", 1),
        ("classes", 65537),
        ("delta_boxes", 4),
        ("max_detections", 0),
        ("threads", -1),
    ],
)
def test_the_c_function_refuses_bad_params(target: str, field: str, value: Any) -> None:
    filled, arrays = params()
    call("maskrt_detection_nms", filled)
    before = [array.copy() for array in arrays]
    setattr(filled, field, value)
    with pytest.raises(ValueError, match=r"detection_nms: found .*(expected|null)"):
        backend.current().call("detection_nms", filled)
    for old, array in zip(before, arrays, strict=True):
        np.testing.assert_array_equal(old, array)


def test_the_c_function_refuses_null() -> None:
    assert library().maskrt_detection_nms(None) == 1
    assert b"null pointer" in library().maskrt_last_error()
