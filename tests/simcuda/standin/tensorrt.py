"""A stand-in for TensorRT on the simulated GPU: its Python interface, as far as maskrt calls it.

A "plan" is an ONNX file. An execution context queues its work on the stream that it is given; when
the stream gets there, ONNX Runtime computes it, from and to the addresses that were set. What
TensorRT forbids is refused here, too.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import re
import traceback
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

__version__ = "10.13.0"

SCRATCH = 1 << 16
"""Bytes that every engine needs beside its inputs and outputs."""
ALIGNMENT = 256

_cuda = ctypes.CDLL("libcuda.so.1")
_WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


class DataType(enum.Enum):
    FLOAT = 0
    HALF = 1
    INT8 = 2
    INT32 = 3
    BOOL = 4
    UINT8 = 5
    INT64 = 8


class TensorIOMode(enum.Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC = 0
    ON_PROFILE_CHANGE = 1
    USER_MANAGED = 2


class ErrorCode(enum.Enum):
    SUCCESS = 0
    INVALID_ARGUMENT = 3


class IErrorRecorder:
    """Applications derive from it."""


class IProfiler:
    """Applications derive from it."""


class Logger:
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2

    def __init__(self, min_severity: int = WARNING) -> None:
        self.min_severity = min_severity


class PluginRegistry:
    def __init__(self) -> None:
        self.loaded: list[str] = []

    def load_library(self, plugin_path: str) -> int:
        self.loaded.append(plugin_path)
        return 1


_registry = PluginRegistry()


class Runtime:
    def __init__(self, logger: Logger) -> None:
        self.logger = logger
        self.error_recorder: Any = None
        self.engine_host_code_allowed = False

    def get_plugin_registry(self) -> PluginRegistry:
        return _registry

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            return ICudaEngine(serialized_engine, self.error_recorder)
        except Exception as error:  # as TensorRT: no engine, and a message
            self._report(f"[runtime] cannot deserialize: {type(error).__name__}")
            return None

    def _report(self, text: str) -> None:
        if self.error_recorder is not None:
            self.error_recorder.report_error(ErrorCode.INVALID_ARGUMENT, text)


class ICudaEngine:
    def __init__(self, plan: bytes, recorder: Any) -> None:
        model = onnx.load_from_string(plan)
        facts = {entry.key: entry.value for entry in model.metadata_props}
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(plan, options)
        self._recorder = recorder
        self._tensors = [
            *((value, TensorIOMode.INPUT) for value in self._session.get_inputs()),
            *((v, TensorIOMode.INPUT) for v in self._session.get_overridable_initializers()),
            *((value, TensorIOMode.OUTPUT) for value in self._session.get_outputs()),
        ]
        self._by_name = {value.name: value for value, _ in self._tensors}
        # "8 16": a profile for 8 slots, one for 16; other sizes are free up to a limit
        slots = [int(number) for number in facts.get("standin.slots", "0").split()]
        self._slots = slots
        self._limit = int(facts.get("standin.limit", "8192"))
        self._weights = _DeviceBlock(1 << 16)
        self.num_io_tensors = len(self._tensors)
        self.num_optimization_profiles = len(slots)
        self.device_memory_size_v2 = SCRATCH

    def get_tensor_name(self, index: int) -> str:
        return str(self._tensors[index][0].name)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return next(mode for value, mode in self._tensors if value.name == name)

    def get_tensor_dtype(self, name: str) -> DataType:
        return _DTYPES[self._by_name[name].type][0]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        slots, limit = self._slots[profile_index], self._limit

        def shape(free: int) -> tuple[int, ...]:
            sides = self._by_name[name].shape
            return tuple(
                side if isinstance(side, int) else slots if side == "D" and slots else free
                for side in sides
            )

        return [shape(1), shape(limit), shape(limit)]

    def create_execution_context(self, strategy: Any = None) -> IExecutionContext:
        managed = strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        if isinstance(strategy, IRuntimeConfig):
            managed = strategy.strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        return IExecutionContext(self, managed)

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig()


class IRuntimeCache:
    def __init__(self) -> None:
        self.content = b""

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(b"kernels"):
            return False
        self.content = blob
        return True

    def serialize(self) -> bytes:
        return self.content or b"kernels, compiled"


class IRuntimeConfig:
    def __init__(self) -> None:
        self.strategy = ExecutionContextAllocationStrategy.STATIC
        self.cuda_graph_strategy: Any = None
        self.cache: IRuntimeCache | None = None

    def set_execution_context_allocation_strategy(
        self, strategy: ExecutionContextAllocationStrategy
    ) -> None:
        self.strategy = strategy

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        self.cache = cache
        return True


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, managed: bool) -> None:
        self._engine = engine
        self._scratch = (0, 0) if managed else None
        self._profile = 0
        self.profiler: Any = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._seen: set[tuple[tuple[int, ...], ...]] = set()
        for value in engine._session.get_inputs():
            if all(isinstance(side, int) for side in value.shape):
                self._shapes[value.name] = tuple(value.shape)

    def set_device_memory(self, memory: int, size: int) -> None:
        self._scratch = (memory, size)

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._profile = profile_index
        self._shapes.clear()
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, self._profile)
        fits = len(shape) == len(low) and all(
            a <= side <= b for a, side, b in zip(low, shape, high, strict=True)
        )
        if not fits:
            return self._report(f"[setInputShape] {name}: {shape} is not in profile {low} {high}")
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        sides: dict[str, int] = {}
        for given, shape in self._shapes.items():
            symbols = self._engine._by_name[given].shape
            sides.update({s: n for s, n in zip(symbols, shape, strict=True) if isinstance(s, str)})
        shape = self._engine._by_name[name].shape
        return tuple(side if isinstance(side, int) else _value(side, sides) for side in shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self._engine._by_name or memory % ALIGNMENT:
            return self._report(f"[setTensorAddress] {name}: {memory:#x}")
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine, session = self._engine, self._engine._session
        inputs, outputs = session.get_inputs(), session.get_outputs()
        optional = [v for v in session.get_overridable_initializers() if v.name in self._addresses]
        inputs = [*inputs, *optional]
        for value in (*inputs, *outputs):
            if value.name not in self._addresses:
                return self._report(f"[execute] the address of {value.name} was not set")
        shapes = {value.name: self.get_tensor_shape(value.name) for value in (*inputs, *outputs)}
        key = tuple(shapes.values())
        capturing = ctypes.c_int()
        _cuda.cuStreamIsCapturing(ctypes.c_void_p(stream_handle), ctypes.byref(capturing))
        if capturing.value and key not in self._seen:
            return self._report("[execute] a first run for a shape cannot be captured")
        self._seen.add(key)
        feeds = [_Place(v, self._addresses[v.name], shapes[v.name]) for v in inputs]
        results = [_Place(v, self._addresses[v.name], shapes[v.name]) for v in outputs]
        scratch = self._scratch
        if scratch is not None and scratch[1] < engine.device_memory_size_v2:
            return self._report("[execute] no device memory was given")

        def work() -> None:
            if scratch is not None:
                _Place.at(scratch[0], SCRATCH)[:] = 0xEE
            values = session.run(
                [place.name for place in results], {p.name: p.array().copy() for p in feeds}
            )
            for place, value in zip(results, values, strict=True):
                place.array()[...] = value

        if self.profiler is not None:
            if capturing.value:
                return self._report("[execute] a run with a profiler cannot be captured")
            for value in outputs:
                self.profiler.report_layer_time(f"layer of {value.name}", 0.25)
        return _enqueue(stream_handle, work) or self._report(
            "[execute] CUDA refuses the launch of layer 'trunk.conv1'"
        )

    def _report(self, text: str) -> bool:
        if self._engine._recorder is not None:
            self._engine._recorder.report_error(ErrorCode.INVALID_ARGUMENT, text)
        return False


class _DeviceBlock:
    """What an engine holds on the device as long as it lives."""

    def __init__(self, size: int) -> None:
        address = ctypes.c_uint64()
        status = _cuda.cuMemAlloc_v2(ctypes.byref(address), ctypes.c_size_t(size))
        if status:
            raise MemoryError(f"CUDA error {status}")
        self._address = address
        self._context = ctypes.c_void_p()
        _cuda.cuCtxGetCurrent(ctypes.byref(self._context))

    def __del__(self) -> None:
        if not hasattr(self, "_context"):
            return
        # CUDA's runtime, which TensorRT uses, finds a context by itself
        _cuda.cuCtxPushCurrent_v2(self._context)
        _cuda.cuMemFree_v2(self._address)
        _cuda.cuCtxPopCurrent_v2(None)


class _Place:
    """A tensor at an address."""

    def __init__(self, value: Any, address: int, shape: tuple[int, ...]) -> None:
        self.name = value.name
        self._dtype = np.dtype(_DTYPES[value.type][1])
        self._shape = shape
        self._address = address
        self._size = int(np.prod(shape)) * self._dtype.itemsize

    def array(self) -> NDArray[Any]:
        return self.at(self._address, self._size).view(self._dtype).reshape(self._shape)

    @staticmethod
    def at(address: int, size: int) -> NDArray[np.uint8]:
        if not _cuda.simcuda_valid(ctypes.c_uint64(address), ctypes.c_size_t(size)):
            raise ValueError(f"{size} bytes at {address:#x} are no live device memory")
        return np.frombuffer((ctypes.c_uint8 * size).from_address(address), np.uint8)


_queued: dict[int, Callable[[], None]] = {}
_numbers = itertools.count(1)


@_WORK
def _run(number: int) -> None:
    try:
        _queued[number]()
    except Exception as error:
        traceback.print_exc()
        _cuda.simcuda_note(f"an engine failed: {error}".encode())


@_WORK
def _drop(number: int) -> None:
    del _queued[number]


def _enqueue(stream: int, work: Callable[[], None]) -> bool:
    number = next(_numbers)
    _queued[number] = work
    status = _cuda.simcuda_enqueue(ctypes.c_void_p(stream), _run, ctypes.c_void_p(number), _drop)
    return not status


def _value(side: str, sides: dict[str, int]) -> int:
    """``100*B`` and the like; -1: not known."""
    if re.fullmatch(r"[\w\s*+()-]+", side):
        try:
            return int(eval(side, {"__builtins__": {}}, sides))
        except NameError:
            pass
    return -1


_DTYPES = {
    "tensor(float)": (DataType.FLOAT, "float32"),
    "tensor(float16)": (DataType.HALF, "float16"),
    "tensor(int8)": (DataType.INT8, "int8"),
    "tensor(uint8)": (DataType.UINT8, "uint8"),
    "tensor(int32)": (DataType.INT32, "int32"),
    "tensor(int64)": (DataType.INT64, "int64"),
}
