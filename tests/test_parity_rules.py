"""The rule of ``tests/parity.py``: what it lets pass, and that faults still fail."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests import parity
from tests.parity import Found, Reference, allowed, assert_parity, disturbed, twins

SLOTS, THRESHOLD = 40, 0.05
COUNT = 12


def detections() -> Found:
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 300, (COUNT, 2))
    return {
        "boxes": np.concatenate([corner, corner + rng.uniform(20, 90, (COUNT, 2))], 1),
        "scores": np.linspace(0.9, 0.2, COUNT),
        "labels": rng.integers(0, 3, COUNT),
        "masks": rng.uniform(size=(COUNT, 7, 7)),
        "keypoints": rng.uniform(5, 90, (COUNT, 4, 3)),
    }


def copied(found: Found) -> Found:
    return {name: value.copy() for name, value in found.items()}


def steady(_: int | None) -> Found:
    return detections()


def judged(ours: Found, variant=steady, slots: int = SLOTS) -> parity.Outcome:
    """Ours against a reference whose k-th run gives ``variant(k)``."""
    reference = Reference(lambda _, k: [variant(k)], THRESHOLD, slots)
    return assert_parity(reference, [None], [ours])


def without(found: Found, *rows: int) -> Found:
    return {name: np.delete(value, rows, 0) for name, value in found.items()}


def test_equal_results_need_no_disturbed_run():
    def only_plain(k):
        assert k is None
        return detections()

    assert judged(detections(), only_plain) == parity.Outcome(COUNT, [])


@pytest.mark.parametrize(
    ("name", "index", "by"),
    [("boxes", (3, 2), 0.06), ("scores", 3, 2e-4), ("labels", 3, 1), ("masks", (3, 1, 1), 2e-3),
     ("keypoints", (3, 1, 0), 0.2), ("keypoints", (3, 1, 2), 0.3), ("boxes", (3, 2), np.nan),
     ("masks", (3, 1, 1), np.nan), ("keypoints", (3, 1, 0), np.nan)],
)  # fmt: skip
def test_one_wrong_value_fails(name, index, by):
    ours = detections()
    if np.isnan(by):
        ours[name][index] = by
    else:
        ours[name][index] += by
    with pytest.raises(AssertionError, match=r"no twin|elsewhere"):
        judged(ours)


def test_a_detection_too_few_or_twice_fails():
    with pytest.raises(AssertionError, match="no twin"):
        judged(without(detections(), 3))
    twice = {name: np.insert(value, 3, value[3], 0) for name, value in detections().items()}
    with pytest.raises(AssertionError, match="without a twin"):
        judged(twice)
    with pytest.raises(AssertionError, match="do not descend"):
        judged({name: value[::-1] for name, value in detections().items()})


def test_nearly_equal_scores_may_be_in_another_order():
    first = detections()
    first["scores"][4] = first["scores"][3] - 1e-6
    ours = {name: value[[0, 1, 2, 4, 3, *range(5, COUNT)]] for name, value in first.items()}
    ours["scores"] = first["scores"].copy()
    assert judged(ours, lambda _: first).twins == COUNT


def test_what_just_reaches_the_threshold_may_be_lost_or_new():
    edge = detections()
    edge["scores"][-1] = THRESHOLD + 5e-5
    outcome = judged(without(edge, COUNT - 1), lambda _: edge)
    assert outcome.left_out == [("lost", COUNT - 1)]
    assert judged(edge, lambda _: without(edge, COUNT - 1)).left_out == [("new", COUNT - 1)]
    edge["scores"][-1] = THRESHOLD + 5e-4
    with pytest.raises(AssertionError, match="no twin"):
        judged(without(edge, COUNT - 1), lambda _: edge)


def test_the_last_slot_may_be_another():
    first, ours = detections(), detections()
    ours["labels"][-1] += 1
    with pytest.raises(AssertionError, match="no twin"):
        judged(ours, lambda _: first)
    assert len(judged(ours, lambda _: first, slots=COUNT).left_out) == 2


def test_what_the_disturbed_reference_loses_may_be_lost():
    """As a box beside the NMS threshold: it falls in one of a disturbance and its opposite."""

    def flips(k):
        return without(detections(), 3) if k == 1 else detections()

    assert judged(without(detections(), 3), flips).left_out == [("lost", 3)]
    with pytest.raises(AssertionError, match="no twin"):
        judged(without(detections(), 4), flips)


def test_what_is_new_is_in_a_disturbed_run():
    def flips(k):
        return detections() if k == 4 else without(detections(), 3)

    assert judged(detections(), flips).left_out == [("new", 3)]
    other = detections()
    other["boxes"][3] += 1
    with pytest.raises(AssertionError, match="without a twin"):
        judged(other, flips)


def test_too_many_are_too_many():
    rows = tuple(range(allowed(COUNT) + 1))

    def flips(k):
        return detections() if k is None else without(detections(), *rows)

    with pytest.raises(AssertionError, match="too many"):
        judged(without(detections(), *rows), flips)
    assert len(judged(without(detections(), *rows[1:]), flips).left_out) == allowed(COUNT)
    with pytest.raises(AssertionError, match="twins=2"):
        judged(*(without(detections(), *range(2, COUNT)),), lambda _: without(
            detections(), *range(2, COUNT)))  # fmt: skip


def keypoints_of(width: float, size: float = 60.0) -> Found:
    """A detection whose keypoints are decoded as detectron2 does: in ceil(width) pixels."""
    found = detections()
    found["boxes"][5] = [10, 10, 10 + width, 10 + size]
    pixel = width / math.ceil(width)
    found["keypoints"][5, :, 0] = 10 + (np.array([4, 17, 30, 44]) + 0.5) * pixel
    found["boxes"], found["keypoints"] = (
        found[n].astype(np.float64) for n in ("boxes", "keypoints")
    )
    return found


def test_a_width_at_a_whole_number():
    """One rounding decides between two sizes of the heatmap, and all keypoints move."""
    below, above = 52.9999999, 53.0000001
    ours = keypoints_of(above)
    step = 1e-3

    def reference(k):
        return keypoints_of(below if k is None else below + (-1) ** k * step)

    assert set(judged(ours, reference).left_out) == {("keypoint", 5)}
    # half a pixel from a whole number the same difference is a fault
    wrong = keypoints_of(53.5)
    wrong["keypoints"][5, :, 0] += 0.5
    with pytest.raises(AssertionError, match="keypoints elsewhere"):
        judged(wrong, lambda k: keypoints_of(53.5 + (0 if k is None else (-1) ** k * step)))


def test_slivers_have_no_certain_keypoints():
    for width, fails in ((3.5, False), (4.5, True)):
        ours = keypoints_of(width)
        ours["keypoints"][5, 1, 1] += 20
        if fails:
            with pytest.raises(AssertionError, match="keypoints elsewhere"):
                judged(ours, lambda _, w=width: keypoints_of(w))
        else:
            judged(ours, lambda _, w=width: keypoints_of(w))


def test_equal_peaks_are_few():
    """Single keypoints may jump where the reference's do; those of most detections may not."""

    def peaks(count):
        def reference(k):
            found = detections()
            if k == 2:
                found["keypoints"][:count, 0, :2] += 9
            return found

        return reference

    ours = peaks(2)(2)
    assert len(judged(ours, peaks(2)).left_out) == 2
    with pytest.raises(AssertionError, match="keypoints are elsewhere: too many"):
        judged(peaks(5)(2), peaks(5))


def test_twins_are_the_closest():
    one = {"boxes": np.zeros((2, 4)), "scores": np.array([0.5, 0.5]), "labels": np.ones(2)}
    two = copied(one)
    one["boxes"][1] += 0.03
    two["boxes"][0] += 0.03
    left, right = twins(one, two, parity.Limits())
    assert {*zip(left.tolist(), right.tolist(), strict=True)} == {(0, 1), (1, 0)}


def test_disturbances_come_with_their_opposites():
    layer = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    weight = layer[0].weight.detach().double()
    for k in range(0, parity.RUNS, 2):
        there, back = (disturbed(layer, i)[0].weight.detach().double() for i in (k, k + 1))
        moved = (there / weight - 1).std()
        assert moved == pytest.approx(parity.DISTURBANCES[k // 2], rel=0.2)
        torch.testing.assert_close((there + back) / 2, weight, rtol=2e-7, atol=0)


def test_models_are_elsewhere_by_request(monkeypatch):
    layer = nn.Conv2d(3, 8, 3)
    before = layer.weight.detach().clone()
    monkeypatch.delenv("MASKRT_DISTURB", raising=False)
    assert torch.equal(parity.elsewhere(layer).weight, before)
    monkeypatch.setenv("MASKRT_DISTURB", "7")
    moved = float((parity.elsewhere(layer).weight.detach() / before - 1).std())
    assert moved == pytest.approx(parity.ELSEWHERE, rel=0.2)
