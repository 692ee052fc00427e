"""A device's memory for one frame on its way, and the CUDA operators that run on it."""

from __future__ import annotations

import contextlib
import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from operator import is_
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from maskrt.plugins.library import call_on_stream
from maskrt.runtime.device import DeviceError, Event, HostBlock, device_array
from maskrt.runtime.device_queues import Queues

ALIGNMENT = 256
"""Of every array, in bytes: what kernels and engines may ask for."""


class DeviceMemory:
    """Arrays on a device and their copies on the host; operators from ``libmaskrt_plugins``.

    A frame takes its arrays one after the other; the next frame gets the same ones again, so
    nothing is allocated once a frame of each kind has been seen. Frames that are on their way at
    the same time need a memory each.
    """

    deferred = True

    def __init__(self, queues: Queues) -> None:
        self.queues = queues
        self._device = queues.device
        self._blocks: list[tuple[int, int]] = []  # address, size
        self._next = 0
        self._pinned: list[HostBlock] = []
        self._next_pinned = 0
        self._arrays: dict[int, tuple[int, tuple[int, ...], np.dtype[Any], NDArray[Any]]] = {}
        self._views: dict[int, tuple[Any, NDArray[Any]]] = {}
        self._groups: dict[int, _Group] = {}
        self._events: list[Event] = []
        self._next_event = 0
        self._marks: list[Event] = []  # with clocks
        self._names: list[str] = []  # of the laps that end at the marks
        self._busy = False  # something may be queued that was not waited for

    def begin(self) -> None:
        """Begins a frame; waits for the last one if it has failed half way."""
        self.settle()
        self._next = self._next_pinned = self._next_event = 0
        self._names.clear()
        self._mark(self.queues.compute)

    def inputs(self, *arrays: NDArray[Any]) -> list[NDArray[Any]]:
        """Copies on the device; where it shares the host's memory, what it sees of that."""
        device, copies = self._device, []
        self._busy = True
        for array in arrays:
            here = self._take_view(array)
            np.copyto(here, array)
            if device.facts.integrated:
                seen = self._pinned[self._next_pinned - 1].address
                copies.append(device_array(seen, array.shape, array.dtype))
                continue
            copies.append(self.empty(array.shape, array.dtype))
            device.upload(address_of(copies[-1]), here, self.queues.uploads)
        if not device.facts.integrated:
            uploaded = self._take_event()
            device.record(uploaded, self.queues.uploads)
            device.order(self.queues.compute, uploaded)
        return copies

    def input(self, array: NDArray[Any]) -> NDArray[Any]:
        """The array itself if it lies on the device, or a copy there."""
        return array if self._owns(array) else self.inputs(array)[0]

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array on the device."""
        kind = np.dtype(dtype)
        at = self._next
        address = self._take(math.prod(shape) * kind.itemsize)
        last = self._arrays.get(at)
        if last is None or last[:3] != (address, shape, kind):
            last = (address, shape, kind, device_array(address, shape, kind))
            self._arrays[at] = last
        return last[3]

    def empty_together(
        self, wanted: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]
    ) -> list[NDArray[Any]]:
        """Arrays of these shapes and types in one block: they are downloaded in one copy."""
        at = self._next
        last = self._groups.get(at)
        size = last.size if last is not None and last.wanted == wanted else _span(wanted)
        address = self._take(size)
        if last is None or last.wanted != wanted or last.address != address:
            arrays = _parts(wanted, lambda offset: address + offset)
            self._groups[at] = last = _Group(wanted, address, size, arrays)
        return last.arrays

    def buffer(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """As ``empty``: everything is kept from frame to frame."""
        return self.empty(shape, dtype)

    def call(self, operation: str, params: ctypes.Structure) -> None:
        """Queues ``maskrt_cuda_<operation>``.

        Raises:
            DeviceError: it could not be launched.
        """
        try:
            call_on_stream(operation, params, self._take, self.queues.compute)
        except RuntimeError as error:
            raise DeviceError(f"CUDA: {error}: close the detector and open it again") from error

    def first_slots(self, array: NDArray[Any], slots: int) -> NDArray[Any]:
        """The array itself where that is contiguous, or a copy."""
        batch, _, *sides = array.shape
        if batch == 1:
            return array[:, :slots]
        part = self.empty((batch, slots, *sides), array.dtype)
        size = part.nbytes // batch
        for i in range(batch):
            source, destination = address_of(array[i]), address_of(part[i])
            self._device.copy(destination, source, size, self.queues.compute)
        return part

    def download(self, *arrays: NDArray[Any]) -> DeviceDownload:
        """Queues copies to the host, behind all work that is queued so far."""
        device, queues = self._device, self.queues
        self._busy = True
        computed, done = self._take_event(), self._take_event()
        device.record(computed, queues.compute)
        device.order(queues.downloads, computed)
        group = self._group_of(arrays)
        if group is not None:
            copies = self._take_views(group)
            device.download(
                self._pinned[self._next_pinned - 1].array[: group.size],
                group.address,
                queues.downloads,
            )
        else:
            copies = []
            for array in arrays:
                copies.append(self._take_view(array))
                device.download(copies[-1], address_of(array), queues.downloads)
        self._names.append("download")
        self._mark(queues.downloads)
        device.record(done, queues.downloads)
        return DeviceDownload(self, done, copies)

    def arrived(self, download: DeviceDownload) -> None:
        """Waits for a download."""
        self._device.wait_for(download.event)
        if download.event is self._events[self._next_event - 1]:
            self._busy = False  # all work was queued before it

    def lap(self, name: str) -> None:
        """What was queued since the last call has this name."""
        self._names.append(name)
        self._mark(self.queues.compute)

    def laps(self) -> dict[str, float]:
        """By the device's clock."""
        laps: dict[str, float] = {}
        for name, (first, last) in zip(self._names, pairwise(self._marks), strict=False):
            laps[name] = laps.get(name, 0.0) + self._device.elapsed(first, last)
        return laps

    def settle(self) -> None:
        """Waits for the device where something may be queued that was not waited for."""
        if self._busy:
            self.queues.idle()
            self._busy = False

    def close(self) -> None:
        """Frees everything; nothing is queued. A lost device has nothing to give."""
        device = self._device
        frees: list[tuple[Callable[[Any], None], Any]] = [
            *((device.free, address) for address, size in self._blocks if size),
            *((device.free_host, block) for block in self._pinned if block.array.size),
            *((device.free_event, event) for event in (*self._events, *self._marks)),
        ]
        self._blocks, self._pinned, self._events, self._marks = [], [], [], []
        self._arrays.clear()
        self._views.clear()
        self._groups.clear()
        for free, what in frees:
            with contextlib.suppress(DeviceError):
                free(what)

    def _mark(self, stream: int) -> None:
        at = len(self._names)
        if at == len(self._marks):
            self._marks.append(self._device.new_event(timing=True))
        self._device.record(self._marks[at], stream)

    def _take(self, size: int) -> int:
        """Each request of a frame has a block of its own, the same one in every frame."""
        self._busy = True
        size = _aligned(size)
        if self._next == len(self._blocks):
            self._blocks.append((0, 0))
        address, held = self._blocks[self._next]
        if held < size:
            if held:  # a larger frame or bucket; nothing that is queued uses the block
                self._device.free(address)
            self._blocks[self._next] = (0, 0)  # so that it is not freed twice if there is no more
            address = self._device.allocate(size)
            self._blocks[self._next] = (address, size)
        self._next += 1
        return address

    def _take_pinned(self, size: int) -> HostBlock:
        """As ``_take``, on the host."""
        if self._next_pinned == len(self._pinned):
            self._pinned.append(_NOTHING)
        block = self._pinned[self._next_pinned]
        if block.array.size < size:
            if block.array.size:
                self._device.free_host(block)
            self._pinned[self._next_pinned] = _NOTHING
            block = self._device.allocate_host(max(ALIGNMENT, size))
            self._pinned[self._next_pinned] = block
        self._next_pinned += 1
        return block

    def _take_view(self, like: NDArray[Any]) -> NDArray[Any]:
        """An array in pinned memory; the same object as in the last frame, where it fits."""
        at = self._next_pinned
        block = self._take_pinned(like.nbytes).array
        last_block, view = self._views.get(at, (None, like))
        if last_block is not block or view.shape != like.shape or view.dtype != like.dtype:
            view = block[: like.nbytes].view(like.dtype).reshape(like.shape)
            self._views[at] = block, view
        return view

    def _group_of(self, arrays: tuple[NDArray[Any], ...]) -> _Group | None:
        """The block that holds just these arrays."""
        for group in self._groups.values():
            if len(group.arrays) == len(arrays) and all(map(is_, group.arrays, arrays)):
                return group
        return None

    def _take_views(self, group: _Group) -> list[NDArray[Any]]:
        """The group's arrays in pinned memory; the same objects as in the last frame."""
        block = self._take_pinned(group.size).array
        if group.block is not block:
            first = address_of(block)
            group.block = block
            group.views = _parts(group.wanted, lambda offset: first + offset)
        return group.views

    def _take_event(self) -> Event:
        if self._next_event == len(self._events):
            self._events.append(self._device.new_event())
        self._next_event += 1
        return self._events[self._next_event - 1]

    def _owns(self, array: NDArray[Any]) -> bool:
        at = address_of(array)
        blocks = islice(self._blocks, self._next)
        if any(address <= at < address + size for address, size in blocks):
            return True
        seen = islice(self._pinned, self._next_pinned)
        return any(block.address <= at < block.address + block.array.size for block in seen)


class DeviceDownload:
    """Arrays on their way to the host."""

    def __init__(self, memory: DeviceMemory, event: Event, arrays: list[NDArray[Any]]) -> None:
        self.event = event
        self._memory = memory
        self._arrays = arrays

    def wait(self) -> list[NDArray[Any]]:
        """The arrays, in pinned memory that the next frame uses again."""
        self._memory.arrived(self)
        return self._arrays


@dataclass
class _Group:
    """Arrays of one block, and their copies in pinned memory."""

    wanted: tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]
    address: int
    size: int
    arrays: list[NDArray[Any]]
    block: NDArray[Any] | None = None
    views: list[NDArray[Any]] = field(default_factory=list)


def _span(wanted: Sequence[tuple[tuple[int, ...], np.dtype[Any]]]) -> int:
    """Bytes of a block for all of them."""
    return sum(_aligned(math.prod(shape) * kind.itemsize) for shape, kind in wanted)


def _parts(
    wanted: Sequence[tuple[tuple[int, ...], np.dtype[Any]]], at: Callable[[int], int]
) -> list[NDArray[Any]]:
    parts, offset = [], 0
    for shape, kind in wanted:
        parts.append(device_array(at(offset), shape, kind))
        offset += _aligned(math.prod(shape) * kind.itemsize)
    return parts


def _aligned(size: int) -> int:
    return max(ALIGNMENT, -(-size // ALIGNMENT) * ALIGNMENT)


def address_of(array: NDArray[Any]) -> int:
    """Where its first element lies; faster than ``array.ctypes.data``."""
    address: int = array.__array_interface__["data"][0]
    return address


_NOTHING = HostBlock(np.empty(0, np.uint8), 0)
