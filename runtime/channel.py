"""A bounded queue between two threads, which either of them can end."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class End(Exception):  # noqa: N818 (not an error by itself)
    """Nothing more comes.

    Attributes:
        error: why; None: that was all.
    """

    def __init__(self, error: BaseException | None = None) -> None:
        super().__init__()
        self.error = error


class Channel(Generic[T]):
    """The queue.

    Args:
        capacity: items that it holds at most.
        changed: what its users wait with; None: a condition of its own. Channels that share one can
            be waited for together.

    Attributes:
        dropped: items that newer ones have replaced.
    """

    def __init__(self, capacity: int, changed: threading.Condition | None = None) -> None:
        self.capacity = capacity
        self.dropped = 0
        self._held: deque[T] = deque()
        self._end: End | None = None
        self._changed = changed or threading.Condition()

    @property
    def waiting(self) -> int:
        """Items that are held."""
        return len(self._held)

    @property
    def ended(self) -> End | None:
        """How it has ended, when all items were given; None: not yet."""
        return None if self._held else self._end

    def first(self) -> T | None:
        """The oldest item, which stays; None where there is none."""
        return self._held[0] if self._held else None

    def put(self, item: T, *, replace: bool = False) -> bool:
        """Adds an item; when it is full, waits, or drops the oldest. False: nobody reads it."""
        with self._changed:
            if replace and len(self._held) >= self.capacity:
                self._held.popleft()
                self.dropped += 1
            while len(self._held) >= self.capacity and self._end is None:
                self._changed.wait()
            if self._end is not None:
                return False
            self._held.append(item)
            self._changed.notify_all()
            return True

    def get(self) -> T:
        """The oldest item; raises End when there is none and there will be none."""
        with self._changed:
            while not self._held and self._end is None:
                self._changed.wait()
            if self._held:
                item = self._held.popleft()
                self._changed.notify_all()
                return item
            assert self._end is not None
            raise self._end

    def end(self, error: BaseException | None = None) -> None:
        """No more items come; those that are here are still given."""
        with self._changed:
            self._end = self._end or End(error)
            self._changed.notify_all()

    def abandon(self) -> None:
        """What is here is dropped, too."""
        with self._changed:
            self._held.clear()
            self._end = End()
            self._changed.notify_all()
