"""Memory that host and device share, through the CUDA driver alone."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from tests.plugins.targets import CudaInterface

ATTACH_GLOBAL = 1


class Driver:
    """``libcuda`` with the first device's primary context.

    Raises:
        OSError: there is no driver, or no device.
    """

    def __init__(self, library: str = "libcuda.so.1") -> None:
        self.cuda = ctypes.CDLL(library)
        self._do("cuInit", ctypes.c_uint(0))
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._do("cuDeviceGet", ctypes.byref(device), ctypes.c_int(0))
        self._do("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._do("cuCtxSetCurrent", context)
        name = ctypes.create_string_buffer(128)
        self._do("cuDeviceGetName", name, ctypes.c_int(len(name)), device)
        self.name = name.value.decode()

    def _do(self, function: str, *arguments: Any) -> None:
        status = self.cuda[function](*arguments)
        if status:
            raise OSError(f"{function} failed: CUDA error {status}")

    def allocate(self, size: int) -> int:
        """The address of managed memory."""
        address = ctypes.c_uint64()
        self._do(
            "cuMemAllocManaged",
            ctypes.byref(address),
            ctypes.c_size_t(max(size, 1)),
            ctypes.c_uint(ATTACH_GLOBAL),
        )
        return address.value

    def free(self, address: int) -> None:
        """Gives memory back."""
        self._do("cuMemFree_v2", ctypes.c_uint64(address))

    def wait(self) -> None:
        """Until the device has done all that was queued; raises what went wrong in a kernel."""
        self._do("cuCtxSynchronize")


class Managed:
    """What NumPy keeps alive as long as an array lies in it."""

    def __init__(self, driver: Driver, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.driver = driver
        self.address = driver.allocate(int(np.prod(shape)) * dtype.itemsize)
        size = int(np.prod(shape)) * dtype.itemsize
        self.__array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (self.address, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self.driver.free(self.address)


class Gpu(CudaInterface):
    """``libmaskrt_plugins`` on the first GPU, with memory that NumPy reads too."""

    def __init__(self, path: Path, driver: Driver) -> None:
        super().__init__(path)
        self.driver = driver

    def input(self, array: NDArray[Any]) -> NDArray[Any]:
        copy = self._new(array.shape, array.dtype)
        copy[...] = array
        return copy

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        array = self._new(shape, np.dtype(dtype))
        # what a kernel forgets to write shows
        array.view(np.uint8).reshape(-1)[:] = 0xA5
        return array

    def wait(self) -> None:
        self.driver.wait()

    def _new(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        memory = np.asarray(Managed(self.driver, shape, dtype))
        return memory.view(dtype).reshape(shape)
