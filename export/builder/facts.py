"""What a built file says of where and with what it was built."""

from __future__ import annotations

from dataclasses import replace

import maskrt
from maskrt.artefact import ArtefactHead, Target
from maskrt.export.builder.capabilities import capabilities
from maskrt.export.builder.library import library_version, load
from maskrt.export.builder.options import BuildOptions
from maskrt.files import sha256_of
from maskrt.gpus import find_gpus, platform_name
from maskrt.plugins.library import VERSION as PLUGINS_VERSION
from maskrt.spec import QUANTISED, ModelSpec, Precision


def first_gpu() -> str | None:
    """Compute capability of the first GPU, which is the one that TensorRT takes; None: no GPU."""
    gpus, *_ = find_gpus()
    return gpus[0].compute_capability if gpus else None


def make_head(
    spec: ModelSpec,
    target: Target,
    precision: Precision,
    *,
    options: BuildOptions | None = None,
    library: str = "",
    source_sha256: str = "",
) -> ArtefactHead:
    """The head of a file that is built here.

    Args:
        spec: of the model.
        target: the library that will run the file.
        precision: of the dense layers that are not quantised.
        options: of the build.
        library: version of the library; empty for TensorRT and TensorRT-RTX: the installed one's.
        source_sha256: of the canonical ONNX file.

    Raises:
        BuildError, MissingDependencyError: the library is not there, or does not build for one of
            the compute capabilities.
    """
    options = options or BuildOptions()
    chosen: tuple[str, ...] = ()
    if target == "tensorrt-rtx":
        chosen = tuple(capabilities(load(target), options.compute_capabilities, spec.precision))
    elif target == "tensorrt":
        here = first_gpu()
        chosen = (here,) if here else ()
    if not library and (target in ("tensorrt", "tensorrt-rtx")):
        library = library_version(target)
    plugins = options.plugin_library if target == "tensorrt" else None
    return ArtefactHead(
        target=target,
        precision=precision,
        library=library,
        maskrt=maskrt.__version__,
        platform=platform_name(),
        # an INT8 model is INT8 whatever the rest of it is
        spec=spec if spec.precision in QUANTISED else replace(spec, precision=precision),
        source_sha256=source_sha256,
        compute_capabilities=chosen,
        hardware_compatible=options.hardware_compatible,
        version_compatible=options.version_compatible,
        plugins_version=PLUGINS_VERSION if plugins else 0,
        plugins_sha256=sha256_of(plugins) if plugins else "",
        plugins_embedded=bool(plugins) and options.embed_plugins,
    )
