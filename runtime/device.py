"""A CUDA device through its driver: memory, copies, one stream."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from maskrt.errors import MaskrtError, MissingDependencyError


class DeviceError(MaskrtError):
    """The device or its driver refused something."""


class Device(Protocol):
    """What a session needs of a device. Copies are queued on the stream, as kernels are."""

    stream: int
    """Handle of the stream, for libraries."""

    def allocate(self, size: int) -> int:
        """The address of so many bytes, aligned to 256."""

    def free(self, address: int) -> None:
        """Gives memory back."""

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Queues a copy of a contiguous array to the device; the array must live until ``wait``."""

    def download(self, array: NDArray[Any], address: int) -> None:
        """Queues a copy into a contiguous array; it is there after ``wait``."""

    def copy(self, destination: int, source: int, size: int) -> None:
        """Queues a copy within the device."""

    def wait(self) -> None:
        """Until all that was queued is done."""

    def close(self) -> None:
        """Lets go of the stream and the context."""


class CudaDevice:
    """A GPU, by NVIDIA's package ``cuda-bindings``.

    Uses the device's primary context, which other CUDA libraries in the process share.

    Args:
        index: of the GPU.

    Raises:
        MissingDependencyError: ``cuda-bindings`` is not installed.
        DeviceError: there is no driver or no such GPU.
    """

    def __init__(self, index: int = 0) -> None:
        try:
            from cuda.bindings import driver
        except ImportError:
            raise MissingDependencyError("cuda-bindings", "gpu") from None
        self._driver: Any = driver
        self._do("cuInit", 0)
        self._device = self._do("cuDeviceGet", index)
        self._context = self._do("cuDevicePrimaryCtxRetain", self._device)
        self._do("cuCtxSetCurrent", self._context)
        flags = driver.CUstream_flags.CU_STREAM_NON_BLOCKING
        self._stream = self._do("cuStreamCreate", flags)
        self.stream = int(self._stream)

    def allocate(self, size: int) -> int:
        """The address of so many bytes."""
        return int(self._do("cuMemAlloc", size))

    def free(self, address: int) -> None:
        """Gives memory back."""
        self._do("cuMemFree", address)

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Queues a copy to the device."""
        self._do("cuMemcpyHtoDAsync", address, array.ctypes.data, array.nbytes, self._stream)

    def download(self, array: NDArray[Any], address: int) -> None:
        """Queues a copy to the host."""
        self._do("cuMemcpyDtoHAsync", array.ctypes.data, address, array.nbytes, self._stream)

    def copy(self, destination: int, source: int, size: int) -> None:
        """Queues a copy within the device."""
        self._do("cuMemcpyDtoDAsync", destination, source, size, self._stream)

    def wait(self) -> None:
        """Until all that was queued is done."""
        self._do("cuStreamSynchronize", self._stream)

    def close(self) -> None:
        """Lets go of the stream and the context."""
        if self._stream is not None:
            self._do("cuStreamDestroy", self._stream)
            self._do("cuDevicePrimaryCtxRelease", self._device)
            self._stream = None

    def _do(self, function: str, *arguments: Any) -> Any:
        try:
            status, *results = getattr(self._driver, function)(*arguments)
        except RuntimeError as error:  # the package has not found the driver's library
            raise DeviceError(
                f"CUDA's driver cannot be used ({error}): install NVIDIA's driver; in a container, "
                "run it with  --gpus all"
            ) from error
        if status != self._driver.CUresult.CUDA_SUCCESS:
            raise DeviceError(
                f"CUDA: {function} failed with {status.name}: see whether  nvidia-smi  finds the "
                "GPU, and whether it has memory left"
            )
        return results[0] if len(results) == 1 else results


def device_array(address: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array at a device's address, to be passed on and never looked into."""
    size = int(np.prod(shape)) * dtype.itemsize
    holder = _Memory(address, size)
    return np.asarray(holder).view(dtype).reshape(shape)


class _Memory:
    """Bytes at an address, by NumPy's array interface."""

    def __init__(self, address: int, size: int) -> None:
        self.__array_interface__ = {
            "shape": (size,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }
