"""Where the time of a run goes."""

from __future__ import annotations

import time


class Stopwatch:
    """Milliseconds between calls, by the name of what has just been done.

    Attributes:
        laps: of the last run, in the order in which they were first called.
    """

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = 0.0

    def start(self) -> None:
        """Begins a run."""
        self.laps = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """What was done since the last call has this name; equal names add up."""
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + (now - self._last) * 1e3
        self._last = now
