"""Engines of TensorRT and TensorRT-RTX on a GPU: loading, running, what goes wrong.

The two libraries have the same interface (TensorRT from 10.3 on). Operators of bundles run in
``libmaskrt_plugins``, on the same stream.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from maskrt.artefact import LIBRARIES, ArtefactHead
from maskrt.errors import MissingDependencyError, ModelFileError
from maskrt.manifest import Stage
from maskrt.plugins import library as plugins
from maskrt.runtime.device import Device, DeviceError, open_device
from maskrt.runtime.device_memory import DeviceMemory, address_of
from maskrt.runtime.device_queues import Queues
from maskrt.runtime.engines.kernel_cache import KernelCache
from maskrt.runtime.engines.layers import LayerTimes
from maskrt.runtime.engines.recorder import recorder_of
from maskrt.runtime.memory import Memory

MODULES = {
    "tensorrt": (("tensorrt",), "tensorrt-cu13", "gpu"),
    "tensorrt-rtx": (("tensorrt_rtx", "tensorrt_rtx_bindings"), "tensorrt-rtx", "rtx"),
}
"""For each target: modules that may bring it, and the package and extra to install."""
DTYPES = {
    "FLOAT": "float32",
    "HALF": "float16",
    "BF16": "uint16",  # its bits: NumPy has no such type
    "INT8": "int8",
    "FP8": "uint8",
    "INT32": "int32",
    "INT64": "int64",
    "BOOL": "bool",
    "UINT8": "uint8",
}
"""NumPy's types by TensorRT's names."""
MAX_GRAPHS = 32
"""CUDA graphs of an engine: one for each frame size and bucket, in each memory."""


class TensorRT:
    """TensorRT or TensorRT-RTX, and a GPU.

    Args:
        head: of the file; its target says which library.
        device: None: the one of the thread's context, or the first GPU.

    Attributes:
        queues: the GPU's streams.

    Raises:
        MissingDependencyError: the library, or a package that drives GPUs, is not installed.
        DeviceError: there is no GPU.
    """

    queues: Queues

    def __init__(self, head: ArtefactHead, device: Device | None = None) -> None:
        self.name = LIBRARIES[head.target]
        self._rtx = head.target == "tensorrt-rtx"
        self.trt: Any = module_of(head.target)
        self.queues = Queues(device or open_device())
        self._engines: list[TensorRTStage] = []
        self._scratch, self._scratch_bytes = 0, 0
        try:
            with self.active():
                self.recorder: Any = recorder_of(self.trt)
                self._logger: Any = self.trt.Logger(self.trt.Logger.INTERNAL_ERROR)
                self._runtime: Any = self.trt.Runtime(self._logger)
                self._runtime.error_recorder = self.recorder
                if head.plugins_version and not head.plugins_embedded:
                    _load_plugins(self._runtime, head.target)
                if head.plugins_embedded or head.version_compatible:
                    self._runtime.engine_host_code_allowed = True
        except BaseException:
            self.queues.close()
            raise

    def active(self) -> AbstractContextManager[None]:
        """Makes the device's context the calling thread's."""
        return self.queues.device.active()

    def new_memory(self) -> DeviceMemory:
        """Device memory for a frame."""
        return DeviceMemory(self.queues)

    def load(self, stage: Stage, files: Sequence[bytes]) -> TensorRTStage:
        """Loads a stage of a bundle."""
        dtypes = {tensor.name: str(tensor.dtype) for tensor in stage.outputs}
        return self.load_plan(stage.name, files[0], dtypes)

    def load_plan(
        self, name: str, plan: bytes, dtypes: Mapping[str, str] | None = None
    ) -> TensorRTStage:
        """Loads an engine.

        Args:
            name: for messages.
            plan: the engine.
            dtypes: of its outputs as NumPy has them; None: as the engine says.

        Raises:
            ModelFileError: the library cannot read it.
            DeviceError: the device has not enough memory.
        """
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise ModelFileError(
                f"{self.name} {self.trt.__version__} cannot load the {name}"
                f"{self.recorder.take()}: where the file is from another version, build it again "
                "with  maskrt build"
            )
        stage = TensorRTStage(self, name, engine, plan, dtypes, rtx=self._rtx)
        self._engines.append(stage)
        self._share()
        return stage

    def close(self) -> None:
        """Closes all stages, and gives memory and device back."""
        with contextlib.suppress(DeviceError), self.active():
            for stage in self._engines:
                stage.close()
            if self._scratch:
                self.queues.device.free(self._scratch)
        self._scratch = self._scratch_bytes = 0
        self._engines.clear()
        self._runtime = None
        self.queues.close()

    def _share(self) -> None:
        """Gives all engines the same memory for what passes between their layers.

        They run one after the other, on one stream; none has run yet.
        """
        needed = max(stage.scratch_bytes for stage in self._engines)
        if needed > self._scratch_bytes:
            if self._scratch:
                self.queues.device.free(self._scratch)
            self._scratch = self._scratch_bytes = 0
            self._scratch = self.queues.device.allocate(needed)
            self._scratch_bytes = needed
        for stage in self._engines:
            stage.use(self._scratch, self._scratch_bytes)


class TensorRTStage:
    """An engine in an execution context.

    Its work is captured in a CUDA graph when it is run for the second time with the same shapes and
    memory, and launched as that from then on. Where a capture fails, there are no graphs.
    """

    def __init__(
        self,
        library: TensorRT,
        name: str,
        engine: Any,
        plan: bytes,
        dtypes: Mapping[str, str] | None,
        *,
        rtx: bool,
    ) -> None:
        self._library = library
        self._device = library.queues.device
        self._stream = library.queues.compute
        self._name = name
        self._engine: Any = engine
        trt = library.trt
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        given = [n for n in names if engine.get_tensor_mode(n) == trt.TensorIOMode.OUTPUT]
        self.inputs = [n for n in names if n not in given]
        """Their names."""
        self.outputs = {
            n: np.dtype((dtypes or {}).get(n) or DTYPES[engine.get_tensor_dtype(n).name])
            for n in given
        }
        """NumPy's types of the outputs by name."""
        self.scratch_bytes = int(engine.device_memory_size_v2)
        self._cache = KernelCache(plan, trt.__version__, self._device.facts) if rtx else None
        self._context: Any = self._create_context(trt)
        if self._context is None:
            raise DeviceError(
                f"{library.name} cannot run the {name}{library.recorder.take()}: see whether the "
                "GPU has memory left (nvidia-smi)"
            )
        self._profiler: Any = None
        self._profile = 0
        # TensorRT-RTX captures by itself
        self._use_graphs = self._device.graphs and not rtx
        self._wanted: dict[Any, tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]] = {}
        self._graphs: OrderedDict[tuple[Any, ...], Any] = OrderedDict()

    def use(self, address: int, size: int) -> None:
        """Has the engine use this memory between its layers."""
        if size:
            self._context.set_device_memory(address, size)

    def time_layers(self, times: LayerTimes) -> None:
        """Has the engine report how long its layers take, from its next run on."""
        self._use_graphs = False
        self._profiler = times.profiler_of(self._library.trt, self._name)
        self._context.profiler = self._profiler

    def run(self, inputs: Mapping[str, NDArray[Any]], memory: Memory) -> dict[str, NDArray[Any]]:
        """Queues the engine; see ``StageEngine.run``.

        Raises:
            DeviceError: the library refuses to run it.
        """
        # no other name for the context: an error's traceback would keep it alive
        self._choose_profile(inputs)
        for name, array in inputs.items():
            if not self._context.set_input_shape(name, array.shape):
                raise self._refusal(f"it was not built for {name} {list(array.shape)}")
            self._context.set_tensor_address(name, address_of(array))
        shapes = tuple(array.shape for array in inputs.values())
        wanted = self._wanted.get(shapes)
        if wanted is None:
            if len(self._wanted) == MAX_GRAPHS:
                self._wanted.clear()
            wanted = self._wanted[shapes] = self._output_shapes()
        arrays = cast(DeviceMemory, memory).empty_together(wanted)
        outputs = dict(zip(self.outputs, arrays, strict=True))
        for name, array in outputs.items():
            self._context.set_tensor_address(name, address_of(array))
        self._enqueue([*inputs.values(), *outputs.values()])
        return outputs

    def _output_shapes(self) -> tuple[tuple[tuple[int, ...], np.dtype[Any]], ...]:
        """Of the inputs' shapes that were set last."""
        wanted = []
        for name, dtype in self.outputs.items():
            shape = tuple(self._context.get_tensor_shape(name))
            if any(side < 0 for side in shape):
                raise self._refusal(f"the shape of {name} is not known")
            wanted.append((shape, dtype))
        return tuple(wanted)

    def close(self) -> None:
        """Frees context, graphs and engine; nothing of them is queued."""
        for graph in self._graphs.values():
            self._free(graph)
        self._graphs.clear()
        if self._cache is not None:
            self._cache.save()
        self._context = self._engine = self._cache = self._profiler = None

    def _create_context(self, trt: Any) -> Any:
        own = trt.ExecutionContextAllocationStrategy.USER_MANAGED
        if self._cache is None:
            return self._engine.create_execution_context(own)
        config = self._engine.create_runtime_config()
        config.set_execution_context_allocation_strategy(own)
        if hasattr(trt, "CudaGraphStrategy"):
            config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        self._cache.attach(config)
        return self._engine.create_execution_context(config)

    def _choose_profile(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """The profile that was made for such shapes; the one in use if it was."""
        count = self._engine.num_optimization_profiles
        if count == 1:
            return  # set_input_shape refuses what does not fit
        for i in sorted(range(count), key=lambda i: i != self._profile):
            if all(self._fits(i, name, array.shape) for name, array in inputs.items()):
                if i != self._profile:
                    self._context.set_optimization_profile_async(i, self._stream)
                    self._profile = i
                return
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
        raise self._refusal(f"it was not built for {shapes}")

    def _fits(self, profile: int, name: str, shape: tuple[int, ...]) -> bool:
        low, _, high = self._engine.get_tensor_profile_shape(name, profile)
        return all(a <= side <= b for a, side, b in zip(low, shape, high, strict=True))

    def _enqueue(self, arrays: Sequence[NDArray[Any]]) -> None:
        if not self._use_graphs:
            self._execute()
            return
        key = tuple((address_of(array), array.shape) for array in arrays)
        graph = self._graphs.get(key, _NEW)
        if graph is _NEW:
            # the first time TensorRT may allocate, which no capture allows
            self._execute()
            self._remember(key, None)
            return
        self._graphs.move_to_end(key)
        if graph is None:
            graph = self._capture()
            if graph is None:
                self._execute()
                return
            self._graphs[key] = graph
        self._device.launch(graph, self._stream)

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise self._refusal("")

    def _capture(self) -> Any:
        """A graph of the engine's work; None, from then on for all shapes, where that fails."""
        graph = None
        with contextlib.suppress(DeviceError):
            self._device.begin_capture(self._stream)
            try:
                queued = self._context.execute_async_v3(self._stream)
            finally:
                graph = self._device.end_capture(self._stream)
            if queued:
                return graph
        if graph is not None:
            self._free(graph)
        self._library.recorder.take()
        self._use_graphs = False
        return None

    def _remember(self, key: tuple[Any, ...], graph: Any) -> None:
        self._graphs[key] = graph
        if len(self._graphs) > MAX_GRAPHS:
            _, oldest = self._graphs.popitem(last=False)
            self._free(oldest)  # if it is queued, CUDA frees it when it is done

    def _free(self, graph: Any) -> None:
        if graph is not None:
            with contextlib.suppress(DeviceError):
                self._device.free_graph(graph)

    def _refusal(self, why: str) -> DeviceError:
        said = self._library.recorder.take()
        return DeviceError(
            f"{self._library.name} could not run the {self._name}"
            + (f": {why}" if why else "")
            + f"{said}: build the file again with  maskrt build, and see  maskrt doctor"
        )


def _load_plugins(runtime: Any, target: str) -> None:
    """Adds maskrt's plugins to the library's registry, once in a process."""
    path = str(plugins.library_path())
    with _ONE_AT_A_TIME:
        if (target, path) not in _LOADED:
            runtime.get_plugin_registry().load_library(path)
            _LOADED.add((target, path))


def module_of(target: str) -> Any:
    """The Python module of TensorRT or TensorRT-RTX.

    Raises:
        MissingDependencyError: it is not installed.
    """
    names, package, extra = MODULES[target]
    for name in names:
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
    raise MissingDependencyError(package, extra)


_NEW = cast(Any, object())
_LOADED: set[tuple[str, str]] = set()
_ONE_AT_A_TIME = threading.Lock()
