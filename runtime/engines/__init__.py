"""What runs the dense stages of a bundle: one module for each target's library.

An engine takes and gives arrays by name; what it gives may be memory of its own, which the next run
overwrites.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from numpy.typing import NDArray

from maskrt.artefact import ArtefactHead
from maskrt.errors import ModelFileError
from maskrt.manifest import Stage
from maskrt.runtime.device import Device
from maskrt.runtime.memory import Memory


class StageEngine(Protocol):
    """A loaded stage."""

    def run(self, inputs: Mapping[str, NDArray[Any]], memory: Memory) -> dict[str, NDArray[Any]]:
        """Runs the stage, or queues it.

        Args:
            inputs: by role, of the dtypes and shapes of the manifest, contiguous.
            memory: of the frame; where it is the device's, inputs and outputs lie in it.

        Returns:
            The outputs by role. They are valid until the next run; in a device's memory, until the
            next frame there.
        """

    def close(self) -> None:
        """Frees what the stage holds."""


class EngineLibrary(Protocol):
    """A target's library."""

    def active(self) -> AbstractContextManager[None]:
        """Everything else, of stages and memories too, is called within."""

    def new_memory(self) -> Memory:
        """Memory for a frame, where its stages read and write."""

    def load(self, stage: Stage, files: Sequence[bytes]) -> StageEngine:
        """Loads a stage from its files, in the manifest's order.

        Raises:
            ModelFileError: the library cannot read them.
        """

    def close(self) -> None:
        """Closes the stages that are still open, and lets go of the device; memories are closed."""


def open_library(
    head: ArtefactHead, threads: int | None, device: Device | None = None
) -> EngineLibrary:
    """What runs the stages of a bundle's target.

    Args:
        head: of the bundle.
        threads: on a CPU; None: all cores.
        device: of a target on GPUs; None: the one of the thread's context, or the first.

    Raises:
        MissingDependencyError: it is not installed.
        ModelFileError: the target has no stages.
    """
    if head.target == "onnxruntime":
        from maskrt.runtime.engines.ort import OnnxRuntime

        return OnnxRuntime(threads)
    if head.target == "openvino":
        from maskrt.runtime.engines.vino import OpenVino

        return OpenVino(head.precision, threads)
    if head.target == "tensorrt-rtx":
        from maskrt.runtime.engines.tensorrt import TensorRT

        return TensorRT(head, device)
    raise ModelFileError(f"this version of maskrt does not run bundles of the target {head.target}")
