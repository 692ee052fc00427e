"""Where a session's arrays live, and where its operators run: host memory and the CPU."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskrt.plugins.backend import Backend, Cpu
from maskrt.runtime.stopwatch import Stopwatch

_APART = 64  # float32 values: 256 bytes


class Download(Protocol):
    """Arrays on their way to the host."""

    def wait(self) -> list[NDArray[Any]]:
        """The arrays, once they are there; valid until the memory's next frame begins."""


class Memory(Backend, Protocol):
    """Memory of one frame, or batch of frames, on its way through a session; used again and again.

    Arrays of a device have the device's addresses: NumPy must not look into them.

    Attributes:
        deferred: whether work is only queued, so that frames in other memories can be on their way
            meanwhile.
    """

    deferred: bool

    def begin(self) -> None:
        """Begins a frame: memory that the last one took is free again."""

    def inputs(self, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
        """The arrays where the target can read them. They may be changed afterwards."""

    def buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array to be written within the frame; the next frame may get the same one."""

    def first_slots(self, array: NDArray[Any], slots: int) -> NDArray[Any]:
        """``array[:, :slots]``, contiguous."""

    def download(self, *arrays: NDArray[Any]) -> Download:
        """Brings arrays to the host, once all work on them is done."""

    def lap(self, name: str) -> None:
        """What was done since the last call has this name."""

    def laps(self) -> dict[str, float]:
        """Milliseconds of the frame's laps; after its last download has come."""

    def settle(self) -> None:
        """Waits for whatever the frame has queued."""

    def close(self) -> None:
        """Frees everything; nothing is queued."""


def thresholds_to_upload(thresholds: tuple[float, float]) -> NDArray[np.float32]:
    """Both in one array, as far apart as engines want their inputs to lie."""
    both = np.zeros(2 * _APART, np.float32)
    both[::_APART] = thresholds
    return both


def uploaded_thresholds(both: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The two, as scalars, of what ``thresholds_to_upload`` gave."""
    return both[:1].reshape(()), both[_APART : _APART + 1].reshape(())


class Here:
    """Arrays that are on the host already."""

    def __init__(self, arrays: list[NDArray[Any]]) -> None:
        self._arrays = arrays

    def wait(self) -> list[NDArray[Any]]:
        """The arrays."""
        return self._arrays


class HostMemory(Cpu):
    """NumPy's memory and ``libmaskrt_ops``."""

    deferred = False

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, tuple[int, ...]], NDArray[Any]] = {}
        self._watch = Stopwatch()
        self.lap = self._watch.lap

    def begin(self) -> None:
        """NumPy frees what nobody holds."""
        self._watch.start()

    def inputs(self, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
        """The arrays themselves: their frame ends before the caller goes on."""
        return list(arrays)

    def buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Kept for each name and shape: large fresh arrays cost the system's time, page by page."""
        if (name, shape) not in self._buffers:
            self._buffers[name, shape] = np.empty(shape, dtype)
        return self._buffers[name, shape]

    def first_slots(self, array: NDArray[Any], slots: int) -> NDArray[Any]:
        """A view where it is contiguous, or a copy."""
        return np.ascontiguousarray(array[:, :slots])

    def download(self, *arrays: NDArray[Any]) -> Here:
        """The arrays themselves."""
        return Here(list(arrays))

    def laps(self) -> dict[str, float]:
        """By the processor's clock."""
        return self._watch.laps

    def settle(self) -> None:
        """Nothing is queued."""

    def close(self) -> None:
        """Lets go of the buffers."""
        self._buffers.clear()
