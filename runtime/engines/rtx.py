"""Dense stages on TensorRT-RTX, with operators from ``libmaskrt_plugins`` on the same stream."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskrt.errors import MissingDependencyError, ModelFileError
from maskrt.manifest import Stage
from maskrt.runtime.device import CudaDevice, Device, DeviceError
from maskrt.runtime.device_memory import DeviceMemory


class TensorRTRTX:
    """TensorRT-RTX on a GPU.

    Args:
        device: None: the first GPU.

    Raises:
        MissingDependencyError: TensorRT-RTX or cuda-bindings is not installed.
        DeviceError: there is no GPU.
    """

    def __init__(self, device: Device | None = None) -> None:
        self._trt: Any = _module()
        self._device = device or CudaDevice()
        self.memory = DeviceMemory(self._device)
        self._logger: Any = self._trt.Logger(self._trt.Logger.ERROR)
        self._runtime: Any = self._trt.Runtime(self._logger)

    def load(self, stage: Stage, files: Sequence[bytes]) -> TensorRTRTXStage:
        """Loads a stage from its engine."""
        engine = self._runtime.deserialize_cuda_engine(files[0])
        context = engine.create_execution_context() if engine else None
        if context is None:
            raise ModelFileError(
                f"TensorRT-RTX {self._trt.__version__} cannot load the {stage.name}: see its "
                "messages above; where the file is from another version, build it again with  "
                "maskrt build"
            )
        return TensorRTRTXStage(engine, context, stage, self.memory, self._device)


class TensorRTRTXStage:
    """A stage in an execution context."""

    def __init__(
        self, engine: Any, context: Any, stage: Stage, memory: DeviceMemory, device: Device
    ) -> None:
        self._engine: Any = engine
        self._context: Any = context
        self._stage = stage
        self._memory = memory
        self._device = device
        self._profile = 0

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Queues the stage; see ``StageEngine.run``.

        Raises:
            DeviceError: TensorRT-RTX refuses to run it.
        """
        for name, array in inputs.items():
            self._choose_profile(name, array.shape)
            self._context.set_input_shape(name, array.shape)
            self._context.set_tensor_address(name, array.ctypes.data)
        lead = next(iter(inputs.values())).shape[0]
        outputs = {}
        for tensor in self._stage.outputs:
            array = self._memory.empty(tensor.sides(lead, lead), np.dtype(tensor.dtype))
            self._context.set_tensor_address(tensor.name, array.ctypes.data)
            outputs[tensor.name] = array
        if not self._context.execute_async_v3(self._device.stream):
            raise DeviceError(
                f"TensorRT-RTX could not run the {self._stage.name}: see its messages"
            )
        return outputs

    def close(self) -> None:
        """Frees context and engine."""
        self._context = self._engine = None

    def _choose_profile(self, name: str, shape: tuple[int, ...]) -> None:
        """The profile that was made for this bucket."""
        for i in range(self._engine.num_optimization_profiles):
            low, _, high = self._engine.get_tensor_profile_shape(name, i)
            if all(a <= side <= b for a, side, b in zip(low, shape, high, strict=True)):
                if i != self._profile:
                    self._context.set_optimization_profile_async(i, self._device.stream)
                    self._profile = i
                return
        raise DeviceError(
            f"the {self._stage.name} was not built for {name} of shape {list(shape)}: build the "
            "bundle again with  maskrt build"
        )


def _module() -> Any:
    for name in ("tensorrt_rtx", "tensorrt_rtx_bindings"):
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    raise MissingDependencyError("tensorrt-rtx", "rtx")
