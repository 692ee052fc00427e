"""A device's memory, and the CUDA operators that run on it, for one session."""

from __future__ import annotations

import ctypes
import itertools
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskrt.plugins.library import call_on_stream
from maskrt.runtime.device import Device, device_array

ALIGNMENT = 256
"""Of every array, in bytes: what kernels and engines may ask for."""


class DeviceMemory:
    """Arrays on a device; operators from ``libmaskrt_plugins``, all on the device's stream.

    A frame takes its arrays one after the other; the next frame gets the same ones again, so
    nothing is allocated once a frame of each kind has been seen.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._blocks: list[tuple[int, int]] = []  # address, size
        self._next = 0
        self._busy = False  # something may be queued that was not waited for
        self._queued: list[NDArray[Any]] = []  # host arrays that copies still read

    def begin(self) -> None:
        """Begins a frame; waits for the last one if it has failed half way."""
        if self._busy:
            self._device.wait()
            self._busy = False
        self._next = 0
        self._queued.clear()

    def input(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array itself if it lies on the device, or a copy there."""
        if self._owns(array):
            return array
        array = np.ascontiguousarray(array)
        copy = self.empty(array.shape, array.dtype)
        self._device.upload(copy.ctypes.data, array)
        self._queued.append(array)
        return copy

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array on the device."""
        kind = np.dtype(dtype)
        return device_array(self._take(int(np.prod(shape)) * kind.itemsize), shape, kind)

    def buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """As ``empty``: everything is kept from frame to frame."""
        return self.empty(shape, dtype)

    def call(self, operation: str, params: ctypes.Structure) -> None:
        """Queues ``maskrt_cuda_<operation>``."""
        call_on_stream(operation, params, self._take, self._device.stream)

    def first_slots(self, array: NDArray[Any], slots: int) -> NDArray[Any]:
        """The array itself where that is contiguous, or a copy."""
        batch, _, *sides = array.shape
        if batch == 1:
            return array[:, :slots]
        part = self.empty((batch, slots, *sides), array.dtype)
        size = part.nbytes // batch
        for i in range(batch):
            source, destination = array[i].ctypes.data, part[i].ctypes.data
            self._device.copy(destination, source, size)
        return part

    def fetch(self, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
        """Copies in host memory; waits for the stream."""
        copies = [np.empty(array.shape, array.dtype) for array in arrays]
        for copy, array in zip(copies, arrays, strict=True):
            self._device.download(copy, array.ctypes.data)
        self._device.wait()
        self._busy = False
        return copies

    def close(self) -> None:
        """Frees all memory and the device."""
        for address, size in self._blocks:
            if size:
                self._device.free(address)
        self._blocks.clear()
        self._device.close()

    def _take(self, size: int) -> int:
        """Each request of a frame has a block of its own, the same one in every frame."""
        self._busy = True
        size = max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)
        if self._next == len(self._blocks):
            self._blocks.append((self._device.allocate(size), size))
        address, held = self._blocks[self._next]
        if held < size:
            if held:
                self._device.wait()  # a larger frame or bucket; the block may be in use
                self._device.free(address)
            self._blocks[self._next] = (0, 0)  # so that it is not freed twice if there is no more
            address = self._device.allocate(size)
            self._blocks[self._next] = (address, size)
        self._next += 1
        return address

    def _owns(self, array: NDArray[Any]) -> bool:
        at = array.ctypes.data
        blocks = itertools.islice(self._blocks, self._next)
        return any(address <= at < address + size for address, size in blocks)
