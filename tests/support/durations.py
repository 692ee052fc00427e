"""How long the quick tests took, on record: what a check of the tier's budget adds up."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

import pytest

FILE = Path(__file__).parents[1] / "durations.json"
"""By file: how many quick tests it has, and their seconds on one core, fixtures included."""
UNKNOWN = 1.0
"""Seconds of a test that no record knows, where its file's others take less."""


class Recorder:
    """A plugin that notes durations, and puts those of the files that ran into ``FILE``."""

    def __init__(self, slow: Collection[str]) -> None:
        self._slow = slow
        self._seconds: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not any(marker in report.keywords for marker in self._slow):
            self._seconds[report.nodeid.split("::")[0]][report.nodeid] += report.duration

    def pytest_sessionfinish(self) -> None:
        record = read() if FILE.exists() else {}
        for file, tests in self._seconds.items():
            record[file] = (len(tests), round(sum(tests.values()), 1))
        root = FILE.parents[1]
        lines = [
            f"  {json.dumps(file)}: {json.dumps(record[file])}"
            for file in sorted(record)
            if (root / file).exists()
        ]
        FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def read() -> dict[str, tuple[int, float]]:
    """The record."""
    plain = json.loads(FILE.read_text(encoding="utf-8"))
    return {file: (int(count), float(seconds)) for file, (count, seconds) in plain.items()}


def estimate(record: dict[str, tuple[int, float]], tests: Iterable[str]) -> float:
    """Seconds on one core of the given tests' files on record, and of what they add to them.

    Args:
        record: see ``read``.
        tests: ids of quick tests that exist now.
    """
    now: dict[str, int] = defaultdict(int)
    for test in tests:
        now[test.split("::")[0]] += 1
    total = 0.0
    for file, count in now.items():
        known, seconds = record.get(file, (0, 0.0))
        total += seconds
        each = max(UNKNOWN, seconds / known if known else 0.0)
        total += max(0, count - known) * each
    return total
