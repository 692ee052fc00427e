"""How far a build is, and how it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from maskrt.interrupts import LIBRARY_THREAD

T = TypeVar("T")
Progress = Callable[[str, int, int], None]
"""Takes a phase, the steps that are done, and all its steps. Phases nest, and may come again."""


class Watch:
    """What a build reports to, and asks whether to go on."""

    def __init__(self, progress: Progress | None = None) -> None:
        self.cancelled = False
        self.error: Exception | None = None
        """What ``progress`` raised: it stops the build."""
        self._progress = progress
        self._totals: dict[str, int] = {}

    def cancel(self) -> None:
        """The build stops at its next step."""
        self.cancelled = True

    def start(self, phase: str, total: int) -> None:
        """A phase begins."""
        self._totals[phase] = total
        self._tell(phase, 0, total)

    def step(self, phase: str, done: int) -> bool:
        """Steps of a phase are done; False: stop."""
        self._tell(phase, done, self._totals.get(phase, done))
        return not self.cancelled

    def finish(self, phase: str) -> None:
        """A phase ends; a library may have left out its last steps."""
        total = self._totals.get(phase, 1)
        self._tell(phase, total, total)

    def _tell(self, phase: str, done: int, total: int) -> None:
        if self._progress is None or self.cancelled:
            return
        try:
            self._progress(phase, done, total)
        except Exception as error:  # it must not pass through the library's C++
            self.error = error
            self.cancel()


def monitor_of(lib: Any, watch: Watch) -> Any:
    """The library's own kind of monitor, which passes everything on."""

    class Monitor(lib.IProgressMonitor):
        """Called by the library, from any of its threads."""

        def __init__(self) -> None:
            lib.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None:
            """A phase begins."""
            watch.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            """A step is done, counted from 0."""
            return watch.step(phase_name, step + 1)

        def phase_finish(self, phase_name: str) -> None:
            """A phase ends."""
            watch.finish(phase_name)

    return Monitor()


def run_watched(job: Callable[[], T], watch: Watch) -> T:
    """Runs a job in a thread of its own; what interrupts the caller cancels the job and is raised.

    A thread, because Python handles Ctrl-C in the main thread only, and not while that thread is
    inside a library: there the build would notice nothing until it was done.
    """
    outcome: Future[T] = Future()

    def work() -> None:
        try:
            outcome.set_result(job())
        except BaseException as error:  # raised where the result is asked for
            outcome.set_exception(error)

    thread = threading.Thread(target=work, name=LIBRARY_THREAD)
    try:
        thread.start()
        while not wait(
            [outcome], timeout=0.2
        ).done:  # without a limit Windows would not be interrupted
            pass
    except BaseException:
        watch.cancel()
        if thread.ident is not None:
            thread.join()
        raise
    thread.join()
    return outcome.result()
