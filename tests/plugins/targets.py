"""Where the operators' tests run: backends besides the CPU library."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

GUARD = 256
"""Bytes around the workspace that must stay as they are."""
ERRORS: dict[int, type[Exception]] = {1: ValueError, 2: MemoryError}


class CudaInterface:
    """A library with the C interface of libmaskrt_plugins; NumPy memory unless overridden."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.library.maskrt_last_error.restype = ctypes.c_char_p

    def input(self, array: NDArray[Any]) -> NDArray[Any]:
        return array

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        # what a kernel forgets to write shows
        array = np.empty(shape, dtype)
        array.view(np.uint8).reshape(-1)[:] = 0xA5
        return array

    def wait(self) -> None:
        """Until the device is done."""

    def call(self, operation: str, params: ctypes.Structure) -> None:
        size = self.library[f"maskrt_cuda_{operation}_workspace"]
        size.restype = ctypes.c_int64
        needed = max(0, size(ctypes.byref(params)))
        workspace = self.empty((needed + 2 * GUARD,), np.uint8)
        workspace[:] = 0xFF
        status = self.library[f"maskrt_cuda_{operation}"](
            ctypes.byref(params),
            ctypes.c_void_p(workspace.ctypes.data + GUARD),
            ctypes.c_size_t(needed),
            ctypes.c_void_p(0),
        )
        if status:
            message = self.library.maskrt_last_error().decode()
            raise ERRORS.get(status, RuntimeError)(message)
        self.wait()
        assert (workspace[:GUARD] == 0xFF).all(), "written before the workspace"
        assert (workspace[GUARD + needed :] == 0xFF).all(), "written behind the workspace"


class Emulated(CudaInterface):
    """The kernels' source run on the CPU; ``order`` is that of a block's threads."""

    def __init__(self, path: Path, order: str) -> None:
        super().__init__(path)
        self.order = order

    def call(self, operation: str, params: ctypes.Structure) -> None:
        os.environ["MASKRT_EMULATION_ORDER"] = self.order
        super().call(operation, params)
