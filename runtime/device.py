"""A CUDA device as sessions see it: memory, copies, streams, events, graphs.

Two packages can stand behind it, ``pycuda`` and NVIDIA's ``cuda-bindings``; see ``devices/``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from maskrt.errors import MaskrtError, MissingDependencyError

LIBRARIES = {"pycuda": "PycudaDevice", "cuda-bindings": "BindingsDevice"}
"""Packages that can drive a device, best first, and the classes in ``devices/`` that use them."""


class DeviceError(MaskrtError):
    """The device or its driver refused something."""


@dataclass(frozen=True)
class DeviceFacts:
    """What a device says of itself."""

    name: str
    compute_capability: str
    """``"8.7"``."""
    memory: int
    """Bytes."""
    integrated: bool
    """Whether it shares the host's memory, as Jetson's GPUs do: copies are not needed then."""


class HostBlock(NamedTuple):
    """Pinned memory of the host."""

    array: NDArray[np.uint8]
    """``(bytes,)``."""
    address: int
    """Where the device sees the same memory."""


Event = Any
"""A point in a stream's work; of a type that only its device knows."""


class Device(Protocol):
    """What sessions need of a device.

    Everything but ``active`` is called while the device is active in the calling thread. What is
    queued on a stream happens some time later: memory that it reads or writes must stay untouched
    until a wait says that it is done. All functions raise DeviceError.

    Attributes:
        library: the package behind it.
        facts: what the device is.
        graphs: whether work can be captured in CUDA graphs.
    """

    library: str
    facts: DeviceFacts
    graphs: bool

    def active(self) -> AbstractContextManager[None]:
        """Makes the device's context the calling thread's within."""

    def allocate(self, size: int) -> int:
        """The address of so many bytes, aligned to 256."""

    def free(self, address: int) -> None:
        """Gives memory back; nothing that is queued may use it."""

    def allocate_host(self, size: int) -> HostBlock:
        """So many bytes of the host's memory that copies can use while the host goes on."""

    def free_host(self, block: HostBlock) -> None:
        """Gives memory back; nothing that is queued may use it."""

    def new_stream(self) -> int:
        """The handle of a stream that waits for no other one, as libraries take it."""

    def free_stream(self, stream: int) -> None:
        """Gives a stream back."""

    def new_event(self, timing: bool = False) -> Event:
        """An event, with a clock or without."""

    def free_event(self, event: Event) -> None:
        """Gives an event back."""

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        """Queues a copy of a contiguous pinned array to the device."""

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        """Queues a copy into a contiguous pinned array."""

    def copy(self, destination: int, source: int, size: int, stream: int) -> None:
        """Queues a copy within the device."""

    def record(self, event: Event, stream: int) -> None:
        """The event stands for what is queued on the stream so far."""

    def order(self, stream: int, event: Event) -> None:
        """What is queued on the stream from now on waits for the event; the host does not."""

    def wait(self, stream: int) -> None:
        """Waits until all that is queued on the stream is done."""

    def wait_for(self, event: Event) -> None:
        """Waits until what the event stands for is done."""

    def elapsed(self, first: Event, last: Event) -> float:
        """Milliseconds between two events with clocks, both of which are over."""

    def begin_capture(self, stream: int) -> None:
        """What the stream is given from now on is noted, not done."""

    def end_capture(self, stream: int) -> Any:
        """A graph of it; raises, and ends the capture, where something in it cannot be captured."""

    def launch(self, graph: Any, stream: int) -> None:
        """Queues a graph."""

    def free_graph(self, graph: Any) -> None:
        """Gives a graph back; if it is queued, that is still done."""

    def close(self) -> None:
        """Lets go of the context. Everything else has been given back before."""


def open_device(index: int | None = None, library: str | None = None) -> Device:
    """A GPU, by the first of the packages that is installed and can be imported.

    Where the calling thread has a CUDA context, as an app that uses pycuda has, that one is used;
    elsewhere the GPU's primary context, which most CUDA libraries in a process share.

    Args:
        index: of the GPU; None: the thread's context, or the first GPU.
        library: ``"pycuda"`` or ``"cuda-bindings"``; None: the first that is there.

    Raises:
        MissingDependencyError: neither package is installed, or not the one that is asked for.
        DeviceError: there is no driver or no such GPU.
        ValueError: another library.
    """
    if library is not None and library not in LIBRARIES:
        raise ValueError(f"library: found {library!r}, expected {' or '.join(LIBRARIES)}")
    broken: DeviceError | None = None
    for name in [library] if library else LIBRARIES:
        make = _implementation(name)
        if make is None:
            continue
        try:
            return make(index)
        except DeviceError as error:
            if not isinstance(error.__cause__, ImportError):
                raise
            broken = error  # the package was built for another driver: the other one may do
    if broken is not None:
        raise broken
    missing = library or "cuda-bindings"
    raise MissingDependencyError(missing, "pycuda" if missing == "pycuda" else "gpu")


def _implementation(library: str) -> Callable[[int | None], Device] | None:
    """None: the package is not installed."""
    module = import_module(f"maskrt.runtime.devices.{library.replace('-', '_')}_device")
    if not module.installed():
        return None
    return cast("Callable[[int | None], Device]", getattr(module, LIBRARIES[library]))


def device_array(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array at a device's address, to be passed on and never looked into."""
    size = math.prod(shape) * dtype.itemsize
    return bytes_at(address, size).view(dtype).reshape(shape)


def bytes_at(address: int, size: int) -> NDArray[np.uint8]:
    """``(size,)`` uint8 at an address; it does not keep the memory alive."""
    return np.asarray(_Memory(address, size))


class _Memory:
    """Bytes at an address, by NumPy's array interface."""

    def __init__(self, address: int, size: int) -> None:
        self.__array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }
