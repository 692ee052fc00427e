"""Finds the Python module of TensorRT or TensorRT-RTX."""

from __future__ import annotations

import importlib
from typing import Any, Literal

from maskrt.artefact import LIBRARIES
from maskrt.errors import MissingDependencyError
from maskrt.export.builder.errors import BuildError

EngineLibrary = Literal["tensorrt", "tensorrt-rtx"]

_MODULES: dict[EngineLibrary, tuple[str, ...]] = {
    "tensorrt": ("tensorrt",),
    # the bindings alone do: the other module, of the metapackage, just passes their names on
    "tensorrt-rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings"),
}


def load(library: EngineLibrary) -> Any:
    """The module of a library.

    Raises:
        BuildError: TensorRT is not installed, or cannot be loaded.
        MissingDependencyError: TensorRT-RTX is not installed.
    """
    for name in _MODULES[library]:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except (
            ImportError,
            OSError,
        ) as error:  # its shared objects are missing, or for another CUDA
            raise BuildError(
                f"{LIBRARIES[library]} is installed, but cannot be loaded ({error}): install it "
                "again, for the CUDA release of this machine"
            ) from error
        if hasattr(module, "Builder"):  # type stubs leave a folder without code
            return module
    if library == "tensorrt-rtx":
        raise MissingDependencyError("tensorrt-rtx-cu13", "rtx")
    raise BuildError(
        "this needs TensorRT's Python module 'tensorrt', which is not installed: run  "
        "pip install tensorrt-cu13  (tensorrt-cu12 where CUDA is 12), or on Jetson  "
        "sudo apt-get install python3-libnvinfer  and use the system's Python (a virtual "
        "environment with --system-site-packages)"
    )


def library_version(library: EngineLibrary) -> str:
    """Version of the library that is installed, ``"10.3.0"``.

    Raises:
        BuildError, MissingDependencyError: as ``load``.
    """
    return str(load(library).__version__)
