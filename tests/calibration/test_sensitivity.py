"""The search finds what costs accuracy, gives back no more, and stops when told to."""

from __future__ import annotations

import math

import pytest

from maskrt.calibration.sensitivity import SearchLayer, search

REFERENCE = {"bbox/AP": 0.7, "segm/AP": 0.6, "bbox/AP50": 0.9, "keypoints/AP": math.nan}


def model(count=70, head=5):
    """Layers of a trunk and of a box head."""
    stages = ["trunk"] * (count - head) + ["box head"] * head
    return [SearchLayer(f"layer{i}", stage, 10 + i) for i, stage in enumerate(stages)]


class Losses:
    """AP of a model in which each layer in INT8 costs something; counts its calls."""

    def __init__(self, losses, together=None):
        self.losses = losses
        self.together = together or {}
        self.calls = []

    def __call__(self, kept):
        self.calls.append(kept)
        lost = sum(loss for name, loss in self.losses.items() if name not in kept)
        lost += sum(loss for names, loss in self.together.items() if not names <= kept)
        figures = {"bbox/AP": 0.7 - lost, "segm/AP": 0.6 - lost / 2, "bbox/AP50": 0.9 - 3 * lost}
        return {**figures, "keypoints/AP": math.nan}


def test_within_the_budget_at_once():
    measure = Losses({"layer3": 0.002})
    result = search(model(), measure, REFERENCE, 0.003)
    assert result.met
    assert result.kept == frozenset()
    assert result.measurements == len(measure.calls) == 1
    assert [(row.what, row.decision) for row in result.rows] == [("all in INT8", "INT8")]
    assert result.figures["bbox/AP"] == pytest.approx(0.698)


def test_one_culprit_among_many():
    measure = Losses({"layer37": 0.02})
    result = search(model(), measure, REFERENCE, 0.003)
    assert result.kept == {"layer37"}
    assert result.met
    assert result.measurements <= 25
    row = next(row for row in result.rows if row.layers == ("layer37",))
    assert row.decision == "higher precision"
    assert row.gain == pytest.approx(0.02 + 0.01)  # boxes and masks
    assert {row.what for row in result.rows} >= {"trunk", "box head"}
    assert all(row.decision == "INT8" for row in result.rows if "layer37" not in row.layers)


def test_the_worst_go_first_and_no_more_than_needed():
    measure = Losses({"layer5": 0.01, "layer20": 0.004, "layer50": 0.002, "layer68": 0.006})
    result = search(model(), measure, REFERENCE, 0.003)
    assert result.met
    assert result.kept == {"layer5", "layer20", "layer68"}


@pytest.mark.parametrize(("box", "mask"), [(5, 68), (5, 40), (68, 5), (69, 66)])
def test_layers_that_cost_different_ap(box, mask):
    """What costs masks is found although boxes fall by more."""

    def measure(kept):
        boxes = 0.0 if f"layer{box}" in kept else 0.010
        masks = 0.0 if f"layer{mask}" in kept else 0.008
        return {"bbox/AP": 0.7 - boxes, "segm/AP": 0.6 - masks}

    result = search(model(), measure, REFERENCE, 0.003)
    assert result.met
    assert result.complete
    assert result.kept == {f"layer{box}", f"layer{mask}"}
    assert result.measurements <= 45


@pytest.mark.parametrize(("limit", "complete"), [(60, False), (200, True)])
def test_many_small_losses(limit, complete):
    measure = Losses({f"layer{i}": 0.0005 for i in range(40)})
    result = search(model(), measure, REFERENCE, 0.01, limit=limit)
    assert result.met
    assert result.complete == complete
    assert 20 <= len(result.kept) <= (22 if complete else 40)


def test_layers_that_cost_together_only():
    pair = frozenset({"layer10", "layer60"})
    result = search(model(), Losses({}, {pair: 0.01}), REFERENCE, 0.003, limit=100)
    assert result.met
    assert result.kept == pair


def test_nothing_helps():
    result = search(model(20), lambda kept: {"bbox/AP": 0.5, "segm/AP": 0.4}, REFERENCE, 0.003)
    assert not result.met
    assert result.figures["bbox/AP"] == 0.5


def test_the_limit_is_kept_and_the_best_is_given():
    measure = Losses({f"layer{i}": 0.01 for i in (*range(0, 70, 7), 69)})
    result = search(model(), measure, REFERENCE, 0.003, limit=3)
    assert len(measure.calls) == result.measurements == 3
    assert not result.met
    lost = [0.7 - figures["bbox/AP"] for figures in map(Losses(measure.losses), measure.calls)]
    assert 0.7 - result.figures["bbox/AP"] == pytest.approx(min(lost))


def test_one_ap_that_falls_is_enough():
    def measure(kept):
        return {"bbox/AP": 0.7, "segm/AP": 0.6 if "layer2" in kept else 0.59}

    assert search(model(8), measure, REFERENCE, 0.003).kept == {"layer2"}


def test_a_search_that_was_stopped_goes_on():
    losses = {"layer5": 0.01, "layer44": 0.01}
    whole = search(model(), Losses(losses), REFERENCE, 0.003)
    known = {}
    stopped = Losses(losses)

    def measure(kept):
        if len(stopped.calls) == 9:
            raise KeyboardInterrupt
        return stopped(kept)

    with pytest.raises(KeyboardInterrupt):
        search(model(), measure, REFERENCE, 0.003, remember=known)
    assert len(known) == 9
    rest = Losses(losses)
    again = search(model(), rest, REFERENCE, 0.003, remember=known)
    assert (again.kept, again.rows) == (whole.kept, whole.rows)
    assert len(rest.calls) == whole.measurements - 9


def test_progress():
    told = []
    search(
        model(),
        Losses({"layer1": 0.02}),
        REFERENCE,
        0.003,
        progress=lambda *step: told.append(step),
    )
    assert told[0] == ("all in INT8", 0, 60)
    assert told[1] == ("trunk", 1, 60)
    assert [count for _, count, _ in told] == list(range(len(told)))


def test_figures_that_are_missing_are_no_success():
    result = search(model(4), lambda kept: {"bbox/AP": math.nan}, REFERENCE, 0.003)
    assert not result.met
    with pytest.raises(ValueError, match="limit: found 0"):
        search(model(4), Losses({}), REFERENCE, 0.003, limit=0)


def test_nothing_to_search():
    result = search([], lambda kept: {"bbox/AP": 0.1}, {"bbox/AP": 0.7}, 0.003)
    assert not result.met
