"""Detection in a stream of frames: reading, detecting and what the caller does overlap.

A thread reads each source, another one runs the detector, and results come out in the order of
their frames in the caller's thread. All queues are bounded, so that memory and delay are.
"""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from maskrt.closing import Closing
from maskrt.runtime.channel import Channel, End
from maskrt.runtime.detections import Detections
from maskrt.runtime.feed import Feed, Taken
from maskrt.runtime.frames import Frame

Policy = Literal["all", "latest"]
PATIENCE = 5.0
"""Seconds that closing waits for a source that does not answer; its thread is left behind then."""


@dataclass(frozen=True)
class StreamItem:
    """A frame and what was found in it."""

    index: int
    """Of the frame in its source, from 0; dropped frames are counted."""
    frame: Frame
    """uint8 [H, W, 3] BGR, as the source gave it."""
    result: Detections
    milliseconds: float
    """Of the detection, from its beginning to its result. On a GPU those of several frames overlap;
    the frames of a batch have its time."""
    source: int = 0
    """Which of a ``MultiSource``'s sources the frame is from."""


class Begun(Protocol):
    """Frames that a detector has begun with."""

    ready: bool
    """Whether the result is there, and nothing is gained by beginning others first."""

    def finish(self) -> list[Detections]:
        """What is in each of the frames."""


Begin = Callable[[list[Frame]], Begun]
"""Begins to detect in frames of one size."""


class Stream(Closing, Iterator[StreamItem]):
    """An iterator over a source's frames and their detections; see ``Detector.stream``.

    Attributes:
        policy: ``"all"`` or ``"latest"``.
    """

    policy: Policy

    def __init__(
        self,
        begin: Begin,
        sources: Sequence[Iterable[Frame]],
        *,
        depth: int,
        policy: Policy,
        batch: int = 1,
    ) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise ValueError(f"depth: found {depth!r}, expected a whole number from 1 on")
        if policy not in ("all", "latest"):
            raise ValueError(f"policy: found {policy!r}, expected 'all' or 'latest'")
        self.policy = policy
        self._feed = Feed(sources, depth=depth, latest=policy == "latest", batch=batch)
        self._items: Channel[StreamItem] = Channel(max(depth, batch))
        # the thread knows feed and channel, not this object: it can be collected while it runs
        detecting = threading.Thread(
            target=_detect,
            args=(begin, self._feed, self._items, depth),
            name="maskrt, detecting",
            daemon=True,
        )
        self._threads = [*self._feed.threads, detecting]
        self._stop = weakref.finalize(self, _stop, self._feed, self._items)
        self._feed.start()
        detecting.start()

    @property
    def dropped(self) -> int:
        """Frames that newer ones have replaced before they were looked at; policy ``"latest"``."""
        return self._feed.dropped

    def __iter__(self) -> Stream:
        """The stream itself: it is gone through once."""
        return self

    def __next__(self) -> StreamItem:
        """The next frame and its detections.

        Raises:
            StopIteration: the source has ended, or the stream is closed.
            MaskrtError, Exception: what reading or detecting raised, after the results before it.
        """
        try:
            return self._items.get()
        except End as end:
            self.close()
            if end.error is not None:
                raise end.error from None
            raise StopIteration from None

    def close(self) -> None:
        """Stops both threads, after the frame that is being detected. Closing twice is fine."""
        self._stop()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(PATIENCE)


def _stop(feed: Feed, items: Channel[StreamItem]) -> None:
    feed.abandon()
    items.abandon()


def _detect(begin: Begin, feed: Feed, items: Channel[StreamItem], depth: int) -> None:
    begun: deque[tuple[list[Taken], Begun, float]] = deque()

    def finish_oldest() -> bool:
        taken, oldest, started = begun.popleft()
        results = oldest.finish()
        milliseconds = (time.perf_counter() - started) * 1e3
        return all(
            items.put(StreamItem(t.index, t.frame, result, milliseconds, t.source))
            for t, result in zip(taken, results, strict=True)
        )

    try:
        while True:
            # nobody waits for a result because the next frame has not come
            if begun and (len(begun) == depth or begun[0][1].ready or feed.empty()):
                if not finish_oldest():
                    break
                continue
            try:
                taken = feed.get()
            except End as end:
                while begun:
                    finish_oldest()
                items.end(end.error)
                return
            started = time.perf_counter()
            begun.append((taken, begin([t.frame for t in taken]), started))
    except BaseException as error:  # it belongs to the caller's thread
        items.end(error)
    feed.abandon()
    # what is on its way uses the detector's memory until it is asked for
    for _, left, _ in begun:
        with contextlib.suppress(Exception):
            left.finish()
