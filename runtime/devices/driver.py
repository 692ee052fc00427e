"""Calls of CUDA's driver through NVIDIA's ``cuda-bindings``, with errors as DeviceError."""

from __future__ import annotations

from typing import Any

from maskrt.runtime.device import DeviceError

NO_DRIVER = (
    "CUDA's driver cannot be used ({}): install NVIDIA's driver; in a container, run it with  "
    "--gpus all"
)
_LOST = {
    "ILLEGAL_ADDRESS",
    "LAUNCH_FAILED",
    "LAUNCH_TIMEOUT",
    "ILLEGAL_INSTRUCTION",
    "MISALIGNED_ADDRESS",
    "HARDWARE_STACK_ERROR",
    "ECC_UNCORRECTABLE",
    "ASSERT",
    "DEVICE_UNAVAILABLE",
}
"""Errors after which a context does nothing any more."""


def load() -> Any:
    """NVIDIA's module of the driver's functions; None: it is not installed."""
    try:
        from cuda.bindings import driver
    except ImportError:
        return None
    return driver


def explain(function: str, status: str) -> DeviceError:
    """What to say of a driver's function that failed with a status, ``CUDA_ERROR_…``."""
    kind = status.removeprefix("CUDA_ERROR_")
    if kind == "OUT_OF_MEMORY":
        advice = "free memory of the GPU (nvidia-smi shows who has it), or use a smaller model"
    elif kind in _LOST:
        advice = "the GPU's context is lost: close the detector and start the program again"
    elif kind in ("NO_DEVICE", "INVALID_DEVICE"):
        advice = "see which GPUs  nvidia-smi  finds, and CUDA_VISIBLE_DEVICES"
    else:
        advice = "see whether  nvidia-smi  finds the GPU, and update its driver"
    return DeviceError(f"CUDA: {function} failed with {status}: {advice}")


class Driver:
    """The driver's functions.

    Raises:
        DeviceError: there is no driver.
    """

    def __init__(self, module: Any) -> None:
        self.module: Any = module
        self.call("cuInit", 0)

    def call(self, function: str, *arguments: Any) -> Any:
        """What the function gives beside its status; several things as a list.

        Raises:
            DeviceError: it failed.
        """
        try:
            status, *results = getattr(self.module, function)(*arguments)
        except RuntimeError as error:  # the package has not found the driver's library
            raise DeviceError(NO_DRIVER.format(error)) from error
        if status != self.module.CUresult.CUDA_SUCCESS:
            name = getattr(status, "name", str(status))
            raise explain(function, name)
        return results[0] if len(results) == 1 else results


class Graphs:
    """CUDA graphs, of whatever context is current."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        # other modes forbid allocations of the app's other threads meanwhile
        self._mode: Any = driver.module.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED

    def begin_capture(self, stream: int) -> None:
        """Begins to note what the stream is given."""
        self._driver.call("cuStreamBeginCapture", stream, self._mode)

    def end_capture(self, stream: int) -> Any:
        """The executable graph."""
        graph = self._driver.call("cuStreamEndCapture", stream)
        try:
            return self._driver.call("cuGraphInstantiate", graph, 0)
        finally:
            self._driver.call("cuGraphDestroy", graph)

    def launch(self, graph: Any, stream: int) -> None:
        """Queues a graph."""
        self._driver.call("cuGraphLaunch", graph, stream)

    def free_graph(self, graph: Any) -> None:
        """Gives a graph back."""
        self._driver.call("cuGraphExecDestroy", graph)
