"""A GPU through NVIDIA's package ``cuda-bindings``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numpy.typing import NDArray

from maskrt.errors import MissingDependencyError
from maskrt.runtime.device import DeviceError, DeviceFacts, Event, HostBlock, bytes_at
from maskrt.runtime.devices.driver import Driver, Graphs, load


def installed() -> bool:
    """Whether the package is there."""
    return load() is not None


class BindingsDevice:
    """See ``maskrt.runtime.device.Device``.

    Args:
        index: of the GPU; None: the one of the thread's context, or the first.

    Raises:
        MissingDependencyError: ``cuda-bindings`` is not installed.
        DeviceError: there is no driver or no such GPU.
    """

    library = "cuda-bindings"

    def __init__(self, index: int | None = None) -> None:
        module = load()
        if module is None:
            raise MissingDependencyError("cuda-bindings", "gpu")
        self._driver = Driver(module)
        self._do = self._driver.call
        current = self._do("cuCtxGetCurrent") if index is None else None
        self._retained = current is None or int(current) == 0
        if self._retained:
            self._device = self._do("cuDeviceGet", index or 0)
            self._context = self._do("cuDevicePrimaryCtxRetain", self._device)
        else:
            self._device, self._context = self._do("cuCtxGetDevice"), current
        self.facts = self._facts()
        self.graphs = True
        graphs = Graphs(self._driver)
        self.begin_capture = graphs.begin_capture
        self.end_capture = graphs.end_capture
        self.launch = graphs.launch
        self.free_graph = graphs.free_graph
        kinds = module.CUevent_flags
        self._no_timing = int(kinds.CU_EVENT_DISABLE_TIMING.value)
        self._events: dict[int, Any] = {}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes the context current."""
        self._do("cuCtxPushCurrent", self._context)
        try:
            yield
        finally:
            self._do("cuCtxPopCurrent")

    def allocate(self, size: int) -> int:
        """The address of so many bytes."""
        return int(self._do("cuMemAlloc", size))

    def free(self, address: int) -> None:
        """Gives memory back."""
        self._do("cuMemFree", address)

    def allocate_host(self, size: int) -> HostBlock:
        """Pinned and mapped memory."""
        at = int(self._do("cuMemHostAlloc", size, 2))  # CU_MEMHOSTALLOC_DEVICEMAP
        try:
            seen = int(self._do("cuMemHostGetDevicePointer", at, 0))
        except DeviceError:
            self._do("cuMemFreeHost", at)
            raise
        return HostBlock(bytes_at(at, size), seen)

    def free_host(self, block: HostBlock) -> None:
        """Gives memory back."""
        self._do("cuMemFreeHost", block.array.ctypes.data)

    def new_stream(self) -> int:
        """A stream's handle."""
        return int(self._do("cuStreamCreate", 1))  # CU_STREAM_NON_BLOCKING

    def free_stream(self, stream: int) -> None:
        """Gives a stream back."""
        self._do("cuStreamDestroy", stream)

    def new_event(self, timing: bool = False) -> Event:
        """An event."""
        return self._do("cuEventCreate", 0 if timing else self._no_timing)

    def free_event(self, event: Event) -> None:
        """Gives an event back."""
        self._do("cuEventDestroy", event)

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        """Queues a copy to the device."""
        self._do("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, stream)

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        """Queues a copy to the host."""
        self._do("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, stream)

    def copy(self, destination: int, source: int, size: int, stream: int) -> None:
        """Queues a copy within the device."""
        self._do("cuMemcpyDtoDAsync", destination, source, size, stream)

    def record(self, event: Event, stream: int) -> None:
        """The event stands for what is queued so far."""
        self._do("cuEventRecord", event, stream)

    def order(self, stream: int, event: Event) -> None:
        """The stream waits for the event."""
        self._do("cuStreamWaitEvent", stream, event, 0)

    def wait(self, stream: int) -> None:
        """The host waits for the stream."""
        self._do("cuStreamSynchronize", stream)

    def wait_for(self, event: Event) -> None:
        """The host waits for the event."""
        self._do("cuEventSynchronize", event)

    def elapsed(self, first: Event, last: Event) -> float:
        """Milliseconds between two events."""
        return float(self._do("cuEventElapsedTime", first, last))

    def close(self) -> None:
        """Lets go of the primary context; one that was somebody else's stays."""
        if self._retained:
            self._retained = False
            self._do("cuDevicePrimaryCtxRelease", self._device)

    def _facts(self) -> DeviceFacts:
        kinds = self._driver.module.CUdevice_attribute

        def attribute(name: str) -> int:
            kind = getattr(kinds, f"CU_DEVICE_ATTRIBUTE_{name}")
            return int(self._do("cuDeviceGetAttribute", kind, self._device))

        name = bytes(self._do("cuDeviceGetName", 128, self._device)).partition(b"\0")[0]
        major = attribute("COMPUTE_CAPABILITY_MAJOR")
        minor = attribute("COMPUTE_CAPABILITY_MINOR")
        return DeviceFacts(
            name.decode(errors="replace"),
            f"{major}.{minor}",
            int(self._do("cuDeviceTotalMem", self._device)),
            bool(attribute("INTEGRATED")),
        )
