"""Batches on their way through a session: who is where, and in which memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskrt.errors import MaskrtError
from maskrt.runtime.memory import Memory
from maskrt.runtime.pending import Arrays, Done, Pending
from maskrt.runtime.session import checked_frames, checked_threshold
from maskrt.runtime.stopwatch import Stopwatch
from maskrt.spec import ModelSpec


class Library(Protocol):
    """What runs engines; see ``maskrt.runtime.engines``."""

    def active(self) -> AbstractContextManager[None]:
        """Everything else is called within."""

    def new_memory(self) -> Memory:
        """Memory for a batch."""

    def close(self) -> None:
        """Lets go of the device."""


class Run(Protocol):
    """One batch; the steps are called once each, in this order."""

    def begin(self, frames: NDArray[np.uint8], thresholds: tuple[float, float]) -> None:
        """Queues what does not depend on the number of detections."""

    def go_on(self) -> None:
        """Waits for that number, and queues the rest."""

    def outputs(self) -> Arrays:
        """Waits for the results; see ``Pending.result``."""


class Lanes:
    """Keeps batches apart that are on their way at the same time.

    The second step of a batch is taken when the next one has begun, or its result is asked for:
    meanwhile a GPU has work, and the host need not wait for the number of detections.

    Args:
        library: is closed with this.
        stages: are closed before it.
        spec: of the model.
        watch: gets the milliseconds of each batch's stages with its result.
    """

    def __init__(
        self, library: Library, stages: list[Any], spec: ModelSpec, watch: Stopwatch
    ) -> None:
        self._library = library
        self._spec = spec
        self._watch = watch
        self._stages = stages
        self._free: list[Memory] = []
        self._busy: dict[Run, Memory] = {}
        self._waiting: Run | None = None
        self.closed = False

    def submit(
        self,
        new_run: Callable[[Memory], Run],
        frames: NDArray[np.uint8],
        score_threshold: float,
        nms_threshold: float,
    ) -> Pending:
        """Begins a batch; on a CPU it is done then.

        Args:
            new_run: makes it.
            frames: uint8 ``[B, H, W, 3]``.
            score_threshold: scores must be above it.
            nms_threshold: an IoU above it suppresses, class by class.

        Raises:
            ValueError: a threshold or the frames are not as expected, or the session is closed.
            MaskrtError: it could not be begun.
        """
        checked_frames(frames, self._spec)
        thresholds = (
            checked_threshold("score_threshold", score_threshold),
            checked_threshold("nms_threshold", nms_threshold),
        )
        if self.closed:
            raise ValueError("the session is closed")
        with self._library.active():
            memory = self._free.pop() if self._free else self._library.new_memory()
            run = new_run(memory)
            self._busy[run] = memory
            try:
                run.begin(frames, thresholds)
                waiting, self._waiting = self._waiting, run
                if waiting is not None:
                    waiting.go_on()
            except BaseException:
                self._end(run)
                raise
        pending = _LanePending(self, run)
        return pending if memory.deferred else Done(pending.result())

    def result(self, run: Run) -> Arrays:
        """A batch's outputs."""
        if self.closed:
            raise ValueError("the session is closed")
        with self._library.active():
            try:
                if run is self._waiting:
                    self._waiting = None
                    run.go_on()
                outputs = run.outputs()
                self._watch.laps = self._busy[run].laps()
                return outputs
            finally:
                self._end(run)

    def close(self) -> None:
        """Waits for what is on its way, and frees everything. Closing twice is fine."""
        if self.closed:
            return
        self.closed = True
        memories = [*self._free, *self._busy.values()]
        self._free, self._busy, self._waiting = [], {}, None
        with contextlib.suppress(MaskrtError), self._library.active():
            for memory in memories * 2:  # a wait that has failed is tried again
                with contextlib.suppress(MaskrtError):
                    memory.settle()
            for stage in self._stages:
                stage.close()
            for memory in memories:
                memory.close()
        self._stages = []
        self._library.close()

    def _end(self, run: Run) -> None:
        """What the run has used can be used again; if it has failed, that waits for its work."""
        if run is self._waiting:
            self._waiting = None
        memory = self._busy.pop(run, None)
        if memory is not None:
            self._free.append(memory)


class _LanePending:
    """A batch that is on its way."""

    def __init__(self, lanes: Lanes, run: Run) -> None:
        self._lanes = lanes
        self._run = run

    def result(self) -> Arrays:
        """See ``Pending.result``."""
        return self._lanes.result(self._run)
