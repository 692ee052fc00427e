"""Dense stages on ONNX Runtime, on the CPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.cores import set_threads
from maskrt.errors import MissingDependencyError, ModelFileError
from maskrt.manifest import Stage
from maskrt.runtime.memory import HostMemory, Memory


class OnnxRuntime:
    """ONNX Runtime's CPU provider.

    Args:
        threads: for one operator; None: all cores.

    Raises:
        MissingDependencyError: it is not installed.
    """

    def __init__(self, threads: int | None = None) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise MissingDependencyError("onnxruntime", "cpu") from None
        self._onnxruntime: Any = onnxruntime
        self._options: Any = onnxruntime.SessionOptions()
        self._options.log_severity_level = 3
        # threads that wait would spin, on cores that the operators between the stages need
        self._options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        set_threads(self._options, threads)

    def active(self) -> AbstractContextManager[None]:
        """Nothing has to be made ready."""
        return nullcontext()

    def new_memory(self) -> HostMemory:
        """Host memory."""
        return HostMemory()

    def close(self) -> None:
        """Nothing is held."""

    def load(self, stage: Stage, files: Sequence[bytes]) -> OnnxRuntimeStage:
        """Loads a stage from its ONNX file."""
        try:
            session = self._onnxruntime.InferenceSession(
                files[0], self._options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's errors share no other base
            raise ModelFileError(
                f"ONNX Runtime {self._onnxruntime.__version__} cannot load the {stage.name}: "
                f"{error}"
            ) from error
        return OnnxRuntimeStage(session, stage)


class OnnxRuntimeStage:
    """A stage in a session; inputs are read and outputs written where they lie."""

    def __init__(self, session: Any, stage: Stage) -> None:
        self._session: Any = session
        self._stage = stage
        self._outputs: dict[int, dict[str, NDArray[Any]]] = {}

    def run(self, inputs: Mapping[str, NDArray[Any]], memory: Memory) -> dict[str, NDArray[Any]]:
        """Runs the stage."""
        binding = self._session.io_binding()
        for name, array in inputs.items():
            binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        lead = next(iter(inputs.values())).shape[0]
        outputs = self._buffers(lead)
        for name, array in outputs.items():
            binding.bind_output(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
        self._session.run_with_iobinding(binding)
        return outputs

    def close(self) -> None:
        """Frees the session."""
        self._session = None
        self._outputs.clear()

    def _buffers(self, lead: int) -> dict[str, NDArray[Any]]:
        """Outputs for so many frames or RoIs, kept from run to run."""
        if lead not in self._outputs:
            self._outputs[lead] = {
                tensor.name: np.empty(tensor.sides(lead, lead), tensor.dtype)
                for tensor in self._stage.outputs
            }
        return self._outputs[lead]
