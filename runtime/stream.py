"""Detection in a stream of frames: reading, detecting and what the caller does overlap.

A thread reads the source, another one runs the detector, and results come out in the order of their
frames in the caller's thread. All queues are bounded, so that memory and delay are.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from maskrt.closing import Closing
from maskrt.runtime.channel import Channel, End
from maskrt.runtime.detections import Detections
from maskrt.runtime.frames import Frame

Policy = Literal["all", "latest"]
PATIENCE = 5.0
"""Seconds that closing waits for a source that does not answer; its thread is left behind then."""


@dataclass(frozen=True)
class StreamItem:
    """A frame and what was found in it."""

    index: int
    """Of the frame in the source, from 0; dropped frames are counted."""
    frame: Frame
    """uint8 [H, W, 3] BGR, as the source gave it."""
    result: Detections
    milliseconds: float
    """Of the detection alone."""


class Stream(Closing, Iterator[StreamItem]):
    """An iterator over a source's frames and their detections; see ``Detector.stream``.

    Attributes:
        policy: ``"all"`` or ``"latest"``.
    """

    policy: Policy

    def __init__(
        self,
        detect: Callable[[Frame], Detections],
        source: Iterable[Frame],
        *,
        depth: int,
        policy: Policy,
    ) -> None:
        if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
            raise ValueError(f"depth: found {depth!r}, expected a whole number from 1 on")
        if policy not in ("all", "latest"):
            raise ValueError(f"policy: found {policy!r}, expected 'all' or 'latest'")
        self.policy = policy
        self._frames: Channel[tuple[int, Frame]] = Channel(1 if policy == "latest" else depth)
        self._items: Channel[StreamItem] = Channel(depth)
        # the threads know the channels, not this object: it can be collected while they run
        self._threads = [
            threading.Thread(target=target, args=arguments, name=name, daemon=True)
            for target, arguments, name in (
                (_read, (source, self._frames, policy == "latest"), "maskrt, reading frames"),
                (_detect, (detect, self._frames, self._items), "maskrt, detecting"),
            )
        ]
        self._stop = weakref.finalize(self, _stop, self._frames, self._items)
        for thread in self._threads:
            thread.start()

    @property
    def dropped(self) -> int:
        """Frames that newer ones have replaced before they were looked at; policy ``"latest"``."""
        return self._frames.dropped

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


def _stop(*channels: Channel[Any]) -> None:
    for channel in channels:
        channel.abandon()


def _read(source: Iterable[Frame], frames: Channel[tuple[int, Frame]], replace: bool) -> None:
    try:
        for item in enumerate(source):
            if not frames.put(item, replace=replace):
                return
    except BaseException as error:  # it belongs to the caller's thread
        frames.end(error)
    else:
        frames.end()


def _detect(
    detect: Callable[[Frame], Detections],
    frames: Channel[tuple[int, Frame]],
    items: Channel[StreamItem],
) -> None:
    try:
        while True:
            index, frame = frames.get()
            started = time.perf_counter()
            result = detect(frame)
            milliseconds = (time.perf_counter() - started) * 1e3
            if not items.put(StreamItem(index, frame, result, milliseconds)):
                return
    except End as end:
        items.end(end.error)
    except BaseException as error:  # as above
        frames.abandon()
        items.end(error)
