"""A GPU through the package ``pycuda``, within the app's own context where it has one."""

from __future__ import annotations

import atexit
import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from numpy.typing import NDArray

from maskrt.errors import MissingDependencyError
from maskrt.runtime.device import DeviceError, DeviceFacts, Event, HostBlock
from maskrt.runtime.devices.driver import NO_DRIVER, Driver, Graphs, explain, load

_PRIMARY: dict[int, Any] = {}
_ONE_AT_A_TIME = threading.Lock()


def installed() -> bool:
    """Whether the package is there."""
    return find_spec("pycuda") is not None


class PycudaDevice:
    """See ``maskrt.runtime.device.Device``. Graphs need ``cuda-bindings`` beside pycuda.

    Args:
        index: of the GPU; None: the one of the thread's context, or the first.

    Raises:
        MissingDependencyError: ``pycuda`` is not installed.
        DeviceError: there is no driver or no such GPU.
    """

    library = "pycuda"

    def __init__(self, index: int | None = None) -> None:
        if not installed():
            raise MissingDependencyError("pycuda", "pycuda")
        try:
            import pycuda.driver as cuda
        except ImportError as error:  # pycuda is linked with the driver's library
            raise DeviceError(NO_DRIVER.format(error)) from error
        self._cuda: Any = cuda
        self._do(cuda.init)
        self._context: Any = self._do(cuda.Context.get_current) if index is None else None
        if self._context is None:
            self._context = self._do(lambda: _primary_context(cuda, index or 0))
        # pycuda's objects live as long as somebody holds them
        self._blocks: dict[int, Any] = {}
        self._host_blocks: dict[int, Any] = {}
        self._streams: dict[int, Any] = {}
        with self.active():
            self.facts = self._facts()
        module = load()
        self._graphs = Graphs(Driver(module)) if module is not None else None
        self.graphs = module is not None

    @contextmanager
    def active(self) -> Iterator[None]:
        """Makes the context current."""
        self._do(self._context.push)
        try:
            yield
        finally:
            self._do(self._context.pop)

    def allocate(self, size: int) -> int:
        """The address of so many bytes."""
        block = self._do(self._cuda.mem_alloc, size)
        self._blocks[int(block)] = block
        return int(block)

    def free(self, address: int) -> None:
        """Gives memory back."""
        self._do(self._blocks.pop(address).free)

    def allocate_host(self, size: int) -> HostBlock:
        """Pinned and mapped memory."""
        flags = self._cuda.host_alloc_flags.DEVICEMAP
        array = self._do(self._cuda.pagelocked_empty, size, "u1", "C", flags)
        try:
            seen = int(self._do(array.base.get_device_pointer))
        except DeviceError:
            array.base.free()
            raise
        self._host_blocks[array.ctypes.data] = array.base
        return HostBlock(array, seen)

    def free_host(self, block: HostBlock) -> None:
        """Gives memory back."""
        self._do(self._host_blocks.pop(block.array.ctypes.data).free)

    def new_stream(self) -> int:
        """A stream's handle."""
        stream = self._do(self._cuda.Stream, 1)  # CU_STREAM_NON_BLOCKING
        self._streams[int(stream.handle)] = stream
        return int(stream.handle)

    def free_stream(self, stream: int) -> None:
        """Gives a stream back: pycuda does when it is let go of."""
        del self._streams[stream]

    def new_event(self, timing: bool = False) -> Event:
        """An event."""
        flags = self._cuda.event_flags
        return self._do(self._cuda.Event, flags.DEFAULT if timing else flags.DISABLE_TIMING)

    def free_event(self, event: Event) -> None:
        """Gives an event back: pycuda does when it is let go of."""

    def upload(self, address: int, array: NDArray[Any], stream: int) -> None:
        """Queues a copy to the device."""
        self._do(self._cuda.memcpy_htod_async, address, array, self._streams[stream])

    def download(self, array: NDArray[Any], address: int, stream: int) -> None:
        """Queues a copy to the host."""
        self._do(self._cuda.memcpy_dtoh_async, array, address, self._streams[stream])

    def copy(self, destination: int, source: int, size: int, stream: int) -> None:
        """Queues a copy within the device."""
        copy = self._cuda.memcpy_dtod_async
        self._do(copy, destination, source, size, self._streams[stream])

    def record(self, event: Event, stream: int) -> None:
        """The event stands for what is queued so far."""
        self._do(event.record, self._streams[stream])

    def order(self, stream: int, event: Event) -> None:
        """The stream waits for the event."""
        self._do(self._streams[stream].wait_for_event, event)

    def wait(self, stream: int) -> None:
        """The host waits for the stream."""
        self._do(self._streams[stream].synchronize)

    def wait_for(self, event: Event) -> None:
        """The host waits for the event."""
        self._do(event.synchronize)

    def elapsed(self, first: Event, last: Event) -> float:
        """Milliseconds between two events."""
        return float(self._do(last.time_since, first))

    def begin_capture(self, stream: int) -> None:
        """Begins to note what the stream is given."""
        self._with_graphs().begin_capture(stream)

    def end_capture(self, stream: int) -> Any:
        """The executable graph."""
        return self._with_graphs().end_capture(stream)

    def launch(self, graph: Any, stream: int) -> None:
        """Queues a graph."""
        self._with_graphs().launch(graph, stream)

    def free_graph(self, graph: Any) -> None:
        """Gives a graph back."""
        self._with_graphs().free_graph(graph)

    def _with_graphs(self) -> Graphs:
        if self._graphs is None:
            raise DeviceError("pycuda has no CUDA graphs: pip install cuda-bindings")
        return self._graphs

    def close(self) -> None:
        """Lets go of what is left. The context stays: the app's own, or the process's."""
        self._blocks.clear()
        self._host_blocks.clear()
        self._streams.clear()

    def _do(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return function(*arguments)
        except self._cuda.Error as error:
            raise _explained(error) from error

    def _facts(self) -> DeviceFacts:
        device = self._do(self._cuda.Context.get_device)
        attributes = self._cuda.device_attribute
        major, minor = self._do(device.compute_capability)
        return DeviceFacts(
            str(self._do(device.name)),
            f"{major}.{minor}",
            int(self._do(device.total_memory)),
            bool(self._do(device.get_attribute, attributes.INTEGRATED)),
        )


def _primary_context(cuda: Any, index: int) -> Any:
    """Retained once for the process, as other CUDA libraries do.

    pycuda can release it in the thread alone that has retained it, and leaves it current there.
    """
    with _ONE_AT_A_TIME:
        if index not in _PRIMARY:
            _PRIMARY[index] = context = cuda.Device(index).retain_primary_context()
            atexit.register(_release, cuda, context)
        return _PRIMARY[index]


def _release(cuda: Any, context: Any) -> None:
    with contextlib.suppress(cuda.Error):
        context.push()  # in any thread
        context.detach()


def _explained(error: Exception) -> DeviceError:
    # "cuMemAlloc failed: out of memory"
    function, _, reason = str(error).partition(" failed: ")
    names = {
        "out of memory": "CUDA_ERROR_OUT_OF_MEMORY",
        "an illegal memory access was encountered": "CUDA_ERROR_ILLEGAL_ADDRESS",
        "unspecified launch failure": "CUDA_ERROR_LAUNCH_FAILED",
        "no CUDA-capable device is detected": "CUDA_ERROR_NO_DEVICE",
        "invalid device ordinal": "CUDA_ERROR_INVALID_DEVICE",
    }
    if not reason:
        return DeviceError(f"CUDA: {error}")
    return explain(function, names.get(reason, reason))
