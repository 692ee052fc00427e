"""Candidates that take turns, and the table of their times."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from maskrt.commands.console import Steps, table

SETTLE = 0.02
"""Seconds before each run: idle threads of the one before spin for a while, on a core each."""
WARM_UP = 3
"""Runs of each that are not counted."""


@dataclass(frozen=True)
class Case:
    """Several ways to do the same work; the first is maskrt's."""

    title: str
    candidates: dict[str, Callable[[], Any]]
    peers: tuple[str, ...]
    """The candidates that maskrt's is compared with: the fastest of them counts."""
    error: Callable[[Any], str] = lambda _: ""
    """How far a candidate's result is from the reference, as text."""
    error_name: str = "max difference"


@dataclass(frozen=True)
class Result:
    """Milliseconds of each candidate's runs."""

    case: Case
    times: dict[str, list[float]]
    errors: dict[str, str] = field(default_factory=dict)

    @property
    def median(self) -> dict[str, float]:
        """Of each candidate."""
        return {name: statistics.median(values) for name, values in self.times.items()}

    @property
    def best_peer(self) -> str:
        """The fastest of those that maskrt's candidates are compared with."""
        return min(self.case.peers, key=self.median.__getitem__)


def measure(case: Case, runs: int, step: Steps) -> Result:
    """Runs the candidates in turns, after runs that are not counted."""
    errors = {}
    for name, run in case.candidates.items():
        step(f"{case.title}: warming up")
        for _ in range(WARM_UP - 1):
            run()
        errors[name] = case.error(run())
    times: dict[str, list[float]] = {name: [] for name in case.candidates}
    for i in range(runs):
        step(f"{case.title}: run {i + 1} of {runs}")
        for name, run in case.candidates.items():
            time.sleep(SETTLE)
            started = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - started) * 1e3)
    return Result(case, times, errors)


def show(result: Result) -> None:
    """Prints the table; the ratio is that of the fastest peer to the candidate."""
    median, peer = result.median, result.best_peer
    table(
        result.case.title,
        ("", "median ms", "min", "max", f"speed, {peer} = 1", result.case.error_name),
        (
            (
                name,
                *(f"{value:.2f}" for value in (median[name], min(values), max(values))),
                f"{median[peer] / median[name]:.2f}x",
                result.errors[name],
            )
            for name, values in result.times.items()
        ),
    )


def record(result: Result) -> dict[str, Any]:
    """For JSON."""
    return {
        "title": result.case.title,
        "best_peer": result.best_peer,
        "figures": {
            name: {
                "median_ms": result.median[name],
                "min_ms": min(values),
                "max_ms": max(values),
                result.case.error_name: result.errors[name],
                "speed": result.median[result.best_peer] / result.median[name],
            }
            for name, values in result.times.items()
        },
    }
