"""A stand-in for TensorRT-RTX and a device, for sessions that would need a GPU.

The device's memory is host memory. Copies to the host are done only when somebody waits, so that a
result that is read too early is wrong. "Engines" are the stages' ONNX graphs; they run in ONNX
Runtime, on the addresses that the session sets.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from maskrt.runtime.device import device_array

GARBAGE = 0xA5
STREAM = 0x5EAF


class StandInDevice:
    """Memory by ``malloc``, full of garbage; one stream that puts copies to the host off."""

    stream = STREAM

    def __init__(self) -> None:
        self.memory: dict[int, Any] = {}
        self.pending: list[tuple[NDArray[Any], int]] = []
        self.allocations = 0
        self.waits = 0
        self.closed = False

    def allocate(self, size: int) -> int:
        block = ctypes.create_string_buffer(bytes([GARBAGE]) * (size + 256), size + 256)
        address = -(-ctypes.addressof(block) // 256) * 256
        self.memory[address] = block
        self.allocations += 1
        return address

    def free(self, address: int) -> None:
        del self.memory[address]

    def upload(self, address: int, array: NDArray[Any]) -> None:
        ctypes.memmove(address, array.ctypes.data, array.nbytes)

    def download(self, array: NDArray[Any], address: int) -> None:
        array.view(np.uint8).reshape(-1)[:] = GARBAGE
        self.pending.append((array, address))

    def copy(self, destination: int, source: int, size: int) -> None:
        ctypes.memmove(destination, source, size)

    def wait(self) -> None:
        for array, address in self.pending:
            ctypes.memmove(array.ctypes.data, address, array.nbytes)
        self.pending.clear()
        self.waits += 1

    def close(self) -> None:
        self.closed = True


class Logger:
    ERROR = 1

    def __init__(self, severity: int) -> None:
        self.severity = severity


class Runtime:
    def __init__(self, logger: Logger) -> None:
        self.logger = logger

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        try:
            return Engine(onnx.load_from_string(plan), plan)
        except Exception:  # as TensorRT: no engine, and a message in the log
            return None


class Engine:
    num_optimization_profiles = 2

    def __init__(self, model: onnx.ModelProto, plan: bytes) -> None:
        self.session = onnxruntime.InferenceSession(plan)
        dims = model.graph.input[0].type.tensor_type.shape.dim
        self.dynamic = not dims[0].HasField("dim_value")
        self.sides = tuple(dim.dim_value for dim in dims)

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        # the first is for up to 16 RoIs or frames, the second for more
        low, high = ((1, 16), (17, 4096))[profile] if self.dynamic else (self.sides[0],) * 2
        return [(low, *self.sides[1:]), (high, *self.sides[1:]), (high, *self.sides[1:])]

    def create_execution_context(self) -> Context:
        return Context(self)


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.profile = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        assert stream == STREAM
        self.profile = profile
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self.engine.get_tensor_profile_shape(name, self.profile)
        assert all(a <= side <= b for a, side, b in zip(low, shape, high, strict=True))
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        assert address % 256 == 0
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == STREAM
        session = self.engine.session
        feeds = {
            value.name: device_array(
                self.addresses[value.name], self.shapes[value.name], dtype_of(value.type)
            ).copy()
            for value in session.get_inputs()
        }
        results = session.run(None, feeds)
        for value, result in zip(session.get_outputs(), results, strict=True):
            array = np.ascontiguousarray(result)
            ctypes.memmove(self.addresses[value.name], array.ctypes.data, array.nbytes)
        return True


def dtype_of(text: str) -> np.dtype[Any]:
    """Of ONNX Runtime's name of a type."""
    return np.dtype(
        {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int32)": "int32"}[text]
    )


__version__ = "1.7.1"
