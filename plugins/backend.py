"""Where the operators run: by default in ``libmaskrt_ops``, on the CPU.

The same wrappers, with the same params structs, drive any library that has the operators' C
interface; the tests run the CUDA kernels through them.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskrt.plugins.library import call


class Backend(Protocol):
    """Memory and functions of one target."""

    def input(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array in memory that the target can read; itself where it can."""

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A contiguous array that the target can write and NumPy can read."""

    def call(self, operation: str, params: ctypes.Structure) -> None:
        """Runs the operator and waits for its end; raises as ``library.call``."""


class Cpu:
    """``libmaskrt_ops``."""

    def input(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array itself."""
        return array

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """From NumPy."""
        return np.empty(shape, dtype)

    def call(self, operation: str, params: ctypes.Structure) -> None:
        """Calls ``maskrt_<operation>``."""
        call(f"maskrt_{operation}", params)


_CPU: Backend = Cpu()
_current: ContextVar[Backend] = ContextVar("backend", default=_CPU)


def current() -> Backend:
    """The backend that wrappers use."""
    return _current.get()


@contextmanager
def use(backend: Backend) -> Iterator[None]:
    """Wrappers called within use this backend."""
    token = _current.set(backend)
    try:
        yield
    finally:
        _current.reset(token)
