"""The quick tier stays quick: on record, not on this machine's clock."""

from __future__ import annotations

import pytest

from tests.conftest import TIERS
from tests.support import durations
from tests.support.durations import estimate

BUDGET = 480
"""Seconds on one core of a record made on a machine that does nothing else: 4 minutes on two. It
may be lowered, never raised."""


def test_the_quick_tier_fits(request):
    quick = [
        item.nodeid
        for item in request.session.items
        if not any(item.get_closest_marker(name) for name in TIERS)
    ]
    seconds = estimate(durations.read(), quick)
    assert seconds <= BUDGET, (
        f"the quick tests take {seconds:.0f} s on record, {BUDGET} are allowed: mark what is not "
        "needed on each run as slow, fuzz or soak; if it became faster: make durations"
    )


def test_new_tests_count():
    record = {"a.py": (2, 10.0), "b.py": (10, 1.0)}
    assert estimate(record, []) == 0
    assert estimate(record, ["a.py::x"]) == pytest.approx(10)
    assert estimate(record, ["a.py::x", "a.py::y", "a.py::z"]) == pytest.approx(15)
    assert estimate(record, [f"b.py::{i}" for i in range(12)]) == pytest.approx(3)
    assert estimate(record, ["c.py::x"]) == pytest.approx(1)


def test_a_budget_can_be_exceeded():
    assert estimate({"a.py": (1, BUDGET + 1.0)}, ["a.py::x"]) > BUDGET
