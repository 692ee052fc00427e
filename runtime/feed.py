"""Reads sources in threads of their own, and hands their frames out one by one or in batches."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from maskrt.runtime.channel import Channel, End
from maskrt.runtime.frames import Frame


@dataclass(frozen=True)
class Taken:
    """A frame that was read."""

    source: int
    """Which source it is from."""
    index: int
    """Of the frame in its source, from 0; dropped frames are counted."""
    frame: Frame


class Feed:
    """Frames of one or several sources, in the order of each.

    Args:
        sources: each is read in a thread of its own.
        depth: frames of each that may wait.
        latest: of the frames that wait the newest is kept, the others are dropped and counted;
            else sources wait.
        batch: frames that are handed out at once: at most one of each source, of equal size.
    """

    def __init__(
        self, sources: Sequence[Iterable[Frame]], *, depth: int, latest: bool, batch: int
    ) -> None:
        self._batch = batch
        self._changed = threading.Condition()
        capacity = 1 if latest else depth
        self._channels: list[Channel[Taken]] = [Channel(capacity, self._changed) for _ in sources]
        self._next = 0  # whose turn it is: no source is left out
        # the threads know the channels, not this object: it can be collected while they run
        self.threads = [
            threading.Thread(
                target=_read,
                args=(i, source, channel, latest),
                name="maskrt, reading frames",
                daemon=True,
            )
            for i, (source, channel) in enumerate(zip(sources, self._channels, strict=True))
        ]

    @property
    def dropped(self) -> int:
        """Frames that newer ones have replaced."""
        return sum(channel.dropped for channel in self._channels)

    def start(self) -> None:
        """Begins to read."""
        for thread in self.threads:
            thread.start()

    def empty(self) -> bool:
        """Whether no frame waits."""
        return not any(channel.waiting for channel in self._channels)

    def get(self) -> list[Taken]:
        """The next frames.

        Raises:
            End: there are no more: all sources have ended, or one of them with an error.
        """
        with self._changed:
            while True:
                taken = self._take()
                if taken:
                    return taken
                ends = [channel.ended for channel in self._channels]
                failed = [end for end in ends if end is not None and end.error is not None]
                if failed:
                    raise failed[0]
                if None not in ends:
                    raise End
                self._changed.wait()

    def abandon(self) -> None:
        """What waits is dropped, and reading stops."""
        for channel in self._channels:
            channel.abandon()

    def _take(self) -> list[Taken]:
        """What waits, without waiting for it."""
        taken: list[Taken] = []
        count = len(self._channels)
        order = [(self._next + i) % count for i in range(count)]
        for at in order:
            first = self._channels[at].first()
            if first is None or len(taken) == self._batch:
                continue
            if taken and first.frame.shape != taken[0].frame.shape:
                continue
            taken.append(self._channels[at].get())
            if len(taken) == 1:
                self._next = (at + 1) % count
        return taken


def _read(number: int, source: Iterable[Frame], frames: Channel[Taken], replace: bool) -> None:
    try:
        for index, frame in enumerate(source):
            if not frames.put(Taken(number, index, frame), replace=replace):
                return
    except BaseException as error:  # it belongs to the caller's thread
        frames.end(error)
    else:
        frames.end()
