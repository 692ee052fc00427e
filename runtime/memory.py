"""Where a session's arrays live, and where its operators run: host memory and the CPU."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskrt.plugins.backend import Backend, Cpu


class Memory(Backend, Protocol):
    """Memory of one target, from frame to frame.

    Arrays of a device have the device's addresses: NumPy must not look into them.
    """

    def begin(self) -> None:
        """Begins a frame: memory that the last one took is free again."""

    def buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array to be written within the frame; the next frame may get the same one."""

    def first_slots(self, array: NDArray[Any], slots: int) -> NDArray[Any]:
        """``array[:, :slots]``, contiguous."""

    def fetch(self, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
        """The arrays in host memory, once all work on them is done."""

    def close(self) -> None:
        """Frees everything."""


class HostMemory(Cpu):
    """NumPy's memory and ``libmaskrt_ops``."""

    def __init__(self) -> None:
        self._buffers: dict[tuple[str, tuple[int, ...]], NDArray[Any]] = {}

    def begin(self) -> None:
        """NumPy frees what nobody holds."""

    def buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Kept for each name and shape: large fresh arrays cost the system's time, page by page."""
        if (name, shape) not in self._buffers:
            self._buffers[name, shape] = np.empty(shape, dtype)
        return self._buffers[name, shape]

    def first_slots(self, array: NDArray[Any], slots: int) -> NDArray[Any]:
        """A view where it is contiguous, or a copy."""
        return np.ascontiguousarray(array[:, :slots])

    def fetch(self, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
        """The arrays themselves."""
        return list(arrays)

    def close(self) -> None:
        """Lets go of the buffers."""
        self._buffers.clear()
