"""Stands in for the module ``tensorrt``, which is only where a GPU is; records what is asked of it.

A test holds its classes and their methods against the type stubs of the real one.
"""

from __future__ import annotations

import enum
from types import SimpleNamespace
from typing import Any

import onnx

__version__ = "10.3.0"
CALLS: list[tuple[Any, ...]] = []
LOGGERS: list[Any] = []
STATE = SimpleNamespace(creators=[], parse_error=None, build_error=None, phases=1, builder=True)


def reset() -> None:
    """As just imported."""
    CALLS.clear()
    vars(STATE).update(creators=[], parse_error=None, build_error=None, phases=1, builder=True)


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class BuilderFlag(enum.IntEnum):
    TF32 = 7
    VERSION_COMPATIBLE = 12


class MemoryPoolType(enum.IntEnum):
    WORKSPACE = 0


class HardwareCompatibilityLevel(enum.IntEnum):
    NONE = 0
    AMPERE_PLUS = 1


class ErrorCode(enum.IntEnum):
    UNSUPPORTED_NODE = 8


class ILogger:
    ERROR = 1

    def log(self, severity: int, msg: str) -> None:
        raise NotImplementedError


class IProgressMonitor:
    def phase_start(self, phase_name: str, parent_phase: str, num_steps: int) -> None: ...

    def step_complete(self, phase_name: str, step: int) -> bool: ...

    def phase_finish(self, phase_name: str) -> None: ...


class ParserError:
    def __init__(self, number: int, op: str, text: str) -> None:
        self.number, self.op, self.text = number, op, text

    def node(self) -> int:
        return self.number

    def desc(self) -> str:
        return self.text

    def code(self) -> ErrorCode:
        return ErrorCode.UNSUPPORTED_NODE


class ITensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape = name, shape


class INetworkDefinition:
    def __init__(self) -> None:
        self.name = ""
        self.inputs: list[ITensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self.inputs)

    def get_input(self, index: int) -> ITensor:
        return self.inputs[index]


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self.network, self.num_errors = network, 0

    def parse(self, model: bytes, path: str | None = None) -> bool:
        for value in onnx.load_from_string(model).graph.input:
            dims = value.type.tensor_type.shape.dim
            shape = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in dims)
            self.network.inputs.append(ITensor(value.name, shape))
        self.num_errors = int(STATE.parse_error is not None)
        return STATE.parse_error is None

    def get_error(self, index: int) -> ParserError:
        error: ParserError = STATE.parse_error
        return error


class IOptimizationProfile:
    def set_shape(
        self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]
    ) -> None:
        CALLS.append(("set_shape", input, min, opt, max))


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return b"TIMES" + self.data[5:] + b"+"


class IBuilderConfig:
    def __init__(self) -> None:
        self.progress_monitor: Any = None
        self.builder_optimization_level = 3
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.plugins_to_serialize: list[str] = []
        self._cache: ITimingCache | None = None

    def set_flag(self, flag: BuilderFlag) -> None:
        CALLS.append(("set_flag", flag))

    def clear_flag(self, flag: BuilderFlag) -> None:
        CALLS.append(("clear_flag", flag))

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        CALLS.append(("set_memory_pool_limit", pool, pool_size))

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        return 0

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        data = bytes(serialized_timing_cache)
        return ITimingCache(data) if not data or data.startswith(b"TIMES") else None

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        CALLS.append(("set_timing_cache", cache.data, ignore_mismatch))
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache | None:
        return self._cache


class Builder:
    def __init__(self, logger: ILogger) -> None:
        self.logger = logger
        LOGGERS[:] = [logger]
        if not STATE.builder:
            logger.log(1, "CUDA initialization failure with error: 35")
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        CALLS.append(("create_network", flags))
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> bytes | None:
        CALLS.append(("build", network.name, dict(vars(config))))
        monitor = config.progress_monitor
        for _ in range(STATE.phases):
            monitor.phase_start("Timing", None, 2)
            if not monitor.step_complete("Timing", 0):
                return None
            monitor.phase_finish("Timing")
        if STATE.build_error != "":
            self.logger.log(4, "something verbose")
        if STATE.build_error:
            self.logger.log(1, STATE.build_error)
        if STATE.build_error is not None:
            return None
        return b"plan of " + network.name.encode()


class IPluginRegistry:
    @property
    def all_creators(self) -> list[Any]:
        return list(STATE.creators)

    def load_library(self, plugin_path: str) -> object | None:
        CALLS.append(("load_library", plugin_path))
        if "broken" in plugin_path:
            LOGGERS[0].log(1, "Unable to load library: broken.so: invalid ELF header")
            return None
        STATE.creators.append(SimpleNamespace(name="MaskSelect", plugin_namespace="maskrt"))
        return object()

    def get_creator(self, type: str, version: str, plugin_namespace: str = "") -> Any:
        for creator in STATE.creators:
            if (creator.name, creator.plugin_namespace) == (type, plugin_namespace):
                return creator
        return None


def get_plugin_registry() -> IPluginRegistry:
    return IPluginRegistry()


def init_libnvinfer_plugins(logger: ILogger, namespace: str) -> bool:
    CALLS.append(("init_libnvinfer_plugins", namespace))
    return True
