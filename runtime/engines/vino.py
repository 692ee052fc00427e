"""Dense stages on OpenVINO, on the CPU."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from numpy.typing import NDArray

from maskrt.errors import MissingDependencyError, ModelFileError
from maskrt.manifest import Stage
from maskrt.runtime.memory import HostMemory, Memory
from maskrt.spec import Precision

HINTS: dict[Precision, str] = {"fp32": "f32", "fp16": "f16", "bf16": "bf16", "int8": "f32"}
"""OpenVINO's name of what is computed in."""


def precision_hint(precision: Precision, capabilities: Sequence[str]) -> str:
    """What a CPU computes in; a warning where that is not what the bundle was built for.

    Args:
        precision: of the bundle.
        capabilities: OpenVINO's OPTIMIZATION_CAPABILITIES of the CPU.
    """
    if precision in ("fp16", "bf16") and precision.upper() not in capabilities:
        warnings.warn(
            f"this CPU does not compute in {precision}: the bundle runs in float32, which is "
            "slower and as accurate",
            stacklevel=2,
        )
        return "f32"
    return HINTS[precision]


class OpenVino:
    """OpenVINO's CPU device.

    Args:
        precision: what the stages are computed in; where the processor lacks it, in float32,
            with a warning.
        threads: of inference; None: all cores.

    Raises:
        MissingDependencyError: it is not installed.
    """

    def __init__(self, precision: Precision = "fp32", threads: int | None = None) -> None:
        try:
            import openvino
        except ImportError:
            raise MissingDependencyError("openvino", "cpu") from None
        self._openvino: Any = openvino
        self._core: Any = openvino.Core()
        hint = precision_hint(
            precision, self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        )
        self._settings: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": hint,
        }
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads

    def active(self) -> AbstractContextManager[None]:
        """Nothing has to be made ready."""
        return nullcontext()

    def new_memory(self) -> HostMemory:
        """Host memory."""
        return HostMemory()

    def close(self) -> None:
        """Nothing is held."""

    def load(self, stage: Stage, files: Sequence[bytes]) -> OpenVinoStage:
        """Loads a stage from its topology (.xml) and its weights (.bin)."""
        try:
            model = self._core.read_model(files[0], files[1])
            compiled = self._core.compile_model(model, "CPU", self._settings)
        except Exception as error:  # OpenVINO's errors are plain RuntimeErrors
            raise ModelFileError(
                f"OpenVINO {self._openvino.__version__} cannot load the {stage.name}: {error}"
            ) from error
        return OpenVinoStage(self._openvino, compiled.create_infer_request(), stage)


class OpenVinoStage:
    """A stage in an infer request; inputs are read where they lie, outputs are the request's."""

    def __init__(self, openvino: Any, request: Any, stage: Stage) -> None:
        self._openvino = openvino
        self._request: Any = request
        self._names = [tensor.name for tensor in stage.outputs]

    def run(self, inputs: Mapping[str, NDArray[Any]], memory: Memory) -> dict[str, NDArray[Any]]:
        """Runs the stage."""
        for name, array in inputs.items():
            tensor = self._openvino.Tensor(array, shared_memory=True)
            self._request.set_tensor(name, tensor)
        self._request.infer()
        return {name: self._request.get_tensor(name).data for name in self._names}

    def close(self) -> None:
        """Frees the request."""
        self._request = None
