"""Builds an engine from an ONNX graph."""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from maskrt.artefact import LIBRARIES, MAX_NAME
from maskrt.errors import ModelFileError
from maskrt.export.builder import explain, plugins, timing_cache
from maskrt.export.builder.capabilities import capabilities, parse_capability
from maskrt.export.builder.errors import BuildError
from maskrt.export.builder.facts import first_gpu
from maskrt.export.builder.library import EngineLibrary, load
from maskrt.export.builder.logger import BuildLog, logger_of
from maskrt.export.builder.monitor import Progress, Watch, monitor_of, run_watched
from maskrt.export.builder.options import BuildOptions, Profile
from maskrt.export.builder.profiles import add_profiles
from maskrt.export.builder.stages import StageFinder, stage_finder
from maskrt.files import replacing

if TYPE_CHECKING:
    import tensorrt as trt

_NOT_RTX = {
    "hardware_compatible": "hardware compatible engines: name the GPUs with  --sm",
    "version_compatible": "version compatible engines: build again with the version that runs it",
    "embed_plugins": "engines with plugins: its operators are native, in a bundle",
}
"""Options that only TensorRT has."""
_ONE_BUILD = threading.Lock()  # a process has one logger for a library


def build_engine(
    model: onnx.ModelProto | Path,
    library: EngineLibrary,
    *,
    name: str,
    profiles: Sequence[Profile] = (),
    options: BuildOptions | None = None,
    progress: Progress | None = None,
    warn: Callable[[str], None] | None = None,
    stage_of: StageFinder | None = None,
) -> bytes:
    """Builds a strongly typed engine. Ctrl-C stops it at the library's next step.

    Args:
        model: the graph, or its file: with plugin nodes for TensorRT, a dense stage for
            TensorRT-RTX, which needs no GPU.
        library: which builds it, and later runs it.
        name: of the network, as ``ArtefactHead.to_name`` gives it; the plan holds it as plain
            bytes.
        profiles: shapes of dynamic inputs.
        options: None: all defaults.
        progress: called from another thread with a phase, its steps that are done, and all of them.
        warn: called with what the user should know of a build that went on; default:
            ``warnings.warn``.
        stage_of: which part of the model a node belongs to; default: read from the graph.

    Returns:
        The plan.

    Raises:
        BuildError: telling which node failed and what to do next.
        MissingDependencyError, ModelFileError: TensorRT-RTX is not installed; no such file.
        ValueError: the profiles or the name do not suit.
        KeyboardInterrupt: after the build has stopped; a second Ctrl-C does not wait for that.
    """
    options = options or BuildOptions()
    if len(name.encode()) > MAX_NAME:
        raise ValueError(f"name: found {len(name.encode())} bytes, expected at most {MAX_NAME}")
    lib = load(library)
    _check_machine(lib, library, options)
    model = model if isinstance(model, onnx.ModelProto) else _read(model)
    build = _Build(
        lib, library, model, name, profiles, options, warn or _warn, stage_of or stage_finder(model)
    )
    watch = Watch(progress)
    with _ONE_BUILD, BuildLog() as log:
        logger = logger_of(lib)
        logger.sink = log
        try:
            plan = run_watched(lambda: build.run(watch, log), watch)
        finally:
            logger.sink = None
    if options.log:
        options.log.unlink(missing_ok=True)  # of a build that failed earlier
    return plan


def write_engine(path: str | os.PathLike[str], plan: bytes) -> None:
    """Writes an engine; a file already at ``path`` is replaced only by the complete one.

    Raises:
        MaskrtError: it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(plan)


def log_path(output: str | os.PathLike[str]) -> Path:
    """Where the log of a build that fails is kept: ``model.engine.build.log``."""
    output = Path(output)
    return output.with_name(output.name + ".build.log")


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=3)


def _read(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf's errors depend on its implementation
        raise ModelFileError(f"{path} cannot be read as an ONNX file ({error})") from None


def _check_machine(lib: Any, library: EngineLibrary, options: BuildOptions) -> None:
    """Refuses what a library cannot do here, before it is asked."""
    if library == "tensorrt-rtx":
        for refused, what in _NOT_RTX.items():
            if getattr(options, refused):
                raise BuildError(f"TensorRT-RTX has no {what}")
        capabilities(lib, options.compute_capabilities)
        return
    here = first_gpu()
    if here is None:
        raise BuildError(
            "TensorRT builds only where the GPU is, and none is visible here. TensorRT-RTX builds "
            "here, for desktop GPUs:  --target tensorrt-rtx"
        )
    for capability in map(parse_capability, options.compute_capabilities):
        if capability != here:
            raise BuildError(
                f"TensorRT builds for the GPU that it runs on: found compute capability {here}, "
                f"expected {capability}: build on that GPU, or for desktop GPUs with  "
                "--target tensorrt-rtx"
            )


class _Build:
    """One build; ``run`` is called once, in a thread of its own."""

    def __init__(
        self,
        lib: Any,
        library: EngineLibrary,
        model: onnx.ModelProto,
        name: str,
        profiles: Sequence[Profile],
        options: BuildOptions,
        warn: Callable[[str], None],
        stage_of: StageFinder,
    ) -> None:
        self.lib = lib
        self.library = library
        self.model = model
        self.name = name
        self.profiles = profiles
        self.options = options
        self.warn = warn
        self.stage_of = stage_of

    def run(self, watch: Watch, log: BuildLog) -> bytes:
        """The plan."""
        builder = self._builder(log)  # first: its logger becomes the plugin registry's
        plugins.prepare(self.lib, self.library, self.model, self.options, self.stage_of, log)
        network: trt.INetworkDefinition = builder.create_network(self._flags())
        network.name = self.name
        watch.start("Reading the graph", 1)
        parser: trt.OnnxParser = self.lib.OnnxParser(network, logger_of(self.lib))
        if not parser.parse(self.model.SerializeToString()):
            raise self._error(explain.of_parser(parser, self.model, log.errors), log)
        watch.finish("Reading the graph")
        config = builder.create_builder_config()
        self._configure(config, watch)
        add_profiles(builder, network, config, self.profiles)
        plan: Any = None  # a buffer, which the type stubs do not say
        if not watch.cancelled:
            plan = builder.build_serialized_network(network, config)
        if watch.error:
            raise watch.error
        if plan is None:
            raise self._error(explain.of_builder(self.model, log), log, watch.cancelled)
        if self.options.timing_cache and self.library == "tensorrt":
            timing_cache.keep(config, self.options.timing_cache, self.warn)
        return bytes(memoryview(plan))

    def _builder(self, log: BuildLog) -> trt.Builder:
        logger = logger_of(self.lib)
        try:
            if self.library == "tensorrt":  # its parser maps some standard operators to plugins
                self.lib.init_libnvinfer_plugins(logger, "")
            builder: trt.Builder = self.lib.Builder(logger)
        except (TypeError, RuntimeError) as error:  # a null pointer, to the bindings
            raise self._error(
                explain.Failure(explain.readable(log.errors) or str(error)), log
            ) from None
        return builder

    def _flags(self) -> int:
        # the default from 11 on, where the flag may go; its number differs from library to library
        flag = getattr(self.lib.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
        return 0 if flag is None else 1 << int(flag)

    def _configure(self, config: trt.IBuilderConfig, watch: Watch) -> None:
        lib, options = self.lib, self.options
        config.progress_monitor = monitor_of(lib, watch)
        if options.workspace is not None:
            config.set_memory_pool_limit(lib.MemoryPoolType.WORKSPACE, options.workspace)
        if options.level is not None:
            config.builder_optimization_level = options.level
        if not options.tf32:
            config.clear_flag(lib.BuilderFlag.TF32)
        if self.library == "tensorrt-rtx":
            self._target_gpus(config)
            if options.timing_cache:
                self.warn(
                    "TensorRT-RTX keeps no timing cache: it picks kernels where the engine runs"
                )
            return
        if options.version_compatible:
            config.set_flag(lib.BuilderFlag.VERSION_COMPATIBLE)
        if options.hardware_compatible:
            config.hardware_compatibility_level = lib.HardwareCompatibilityLevel.AMPERE_PLUS
        if options.embed_plugins:
            config.plugins_to_serialize = [str(options.plugin_library)]
        if options.timing_cache:
            timing_cache.attach(config, options.timing_cache, self.warn)

    def _target_gpus(self, config: Any) -> None:
        chosen = capabilities(self.lib, self.options.compute_capabilities)
        config.num_compute_capabilities = len(chosen)
        for index, (capability, value) in enumerate(chosen.items()):
            if not config.set_compute_capability(value, index):
                raise BuildError(
                    f"TensorRT-RTX refuses compute capability {capability}: leave it out of  --sm"
                )

    def _error(
        self, failure: explain.Failure, log: BuildLog, cancelled: bool = False
    ) -> BuildError:
        stage = self.stage_of(failure.node) if failure.node else ""
        name = LIBRARIES[self.library]
        text = explain.message(failure, name, stage, self.options.workspace)
        kept = None if cancelled else self.options.log
        if kept:
            log.save(kept)
            text += f"\nThe whole log: {kept}"
        return BuildError(text, node=failure.node, stage=stage, log=kept)
