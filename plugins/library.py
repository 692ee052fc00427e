"""Finds and loads the native libraries when they are first used.

``libmaskrt_ops`` holds the operators for the CPU, ``libmaskrt_plugins`` the CUDA kernels and the
TensorRT plugins. Both come with ``pip install`` where the machine can compile them.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from maskrt.errors import MaskrtError

VERSION = 2
"""Of the C interface: ``MASKRT_OPS_VERSION`` in ``common/export.h``."""
PATH_VARIABLE = "MASKRT_PLUGIN_PATH"
"""Environment variable: a folder that holds the libraries, or one of them itself."""
OPS, PLUGINS = "maskrt_ops", "maskrt_plugins"

_ERRORS: dict[int, type[Exception]] = {1: ValueError, 2: MemoryError}  # MaskrtStatus in export.h
_PACKAGE = Path(__file__).resolve().parent
_WHAT = {OPS: "the library of CPU operators", PLUGINS: "the library of TensorRT plugins"}
_BUILD = {
    OPS: "run  make native  in the source checkout, or install maskrt where a C++ compiler is",
    PLUGINS: "run  make plugins  in the source checkout, or install maskrt where nvcc is",
}


def library_name(stem: str = OPS) -> str:
    """File name of a library on this system."""
    if sys.platform == "win32":
        return f"{stem}.dll"
    return f"lib{stem}.dylib" if sys.platform == "darwin" else f"lib{stem}.so"


def candidates(stem: str = OPS) -> list[Path]:
    """Where the library may be, best first: the wheel's copy, the user's choice or else a build.

    A choice that leads nowhere is an error, not a reason to take another library.
    """
    name = library_name(stem)
    paths = [_PACKAGE / name]
    chosen = os.environ.get(PATH_VARIABLE)
    if chosen:
        path = Path(chosen).expanduser()
        if path.is_dir():
            path = path / name
        elif path.name in {library_name(other) for other in _WHAT}:
            path = path.with_name(name)  # it names the other library: this one lies beside it
        paths.append(path)
    # an editable install: the package's real folder is that of the checkout
    elif (_PACKAGE.parent / "CMakeLists.txt").is_file():
        paths.append(_PACKAGE.parent / "build" / "cmake" / name)
    return paths


def find(stem: str = OPS) -> Path:
    """The library's file.

    Raises:
        MaskrtError: there is none; it names the paths that were tried.
    """
    paths = candidates(stem)
    for path in paths:
        if path.is_file():
            return path
    tried = "".join(f"\n  {path}" for path in paths)
    raise MaskrtError(
        f"{_WHAT[stem]} is not there; tried:{tried}\n"
        f"{_BUILD[stem]}; or set {PATH_VARIABLE} to the folder that holds {library_name(stem)}"
    )


def library_path() -> Path:
    """The file of the TensorRT plugins, for ``get_plugin_registry().load_library(str(path))``.

    Raises:
        MaskrtError: there is none, it cannot be loaded, or it is of another version.
    """
    plugin_library()
    return find(PLUGINS)


@functools.cache
def library() -> ctypes.CDLL:
    """``libmaskrt_ops``; loaded once, when it is first asked for.

    Raises:
        MaskrtError: it is not there, cannot be loaded, or is of another version than this package.
    """
    return _loaded(OPS)


@functools.cache
def plugin_library() -> ctypes.CDLL:
    """``libmaskrt_plugins``; loaded once, when it is first asked for. Needs no GPU.

    Raises:
        MaskrtError: it is not there, cannot be loaded, is of another version than this package, or
            was built without the TensorRT plugins.
    """
    loaded = _loaded(PLUGINS)
    for symbol in ("getCreators", "setLoggerFinder"):
        if not hasattr(loaded, symbol):
            raise MaskrtError(
                f"{find(PLUGINS)} lacks the symbol {symbol}, with which TensorRT asks for plugins: "
                f"{_BUILD[PLUGINS]}"
            )
    return loaded


def cuda_version() -> tuple[int, int]:
    """The CUDA release that ``libmaskrt_plugins`` was built with: the driver must know it.

    Raises:
        MaskrtError: the library could not be loaded.
    """
    number = int(plugin_library().maskrt_cuda_version())
    return number // 1000, number % 1000 // 10


def _loaded(stem: str) -> ctypes.CDLL:
    path = find(stem)
    try:
        with _sleeping_threads():
            loaded = ctypes.CDLL(str(path))
        found = int(loaded.maskrt_ops_version())
    except (OSError, AttributeError) as error:
        raise MaskrtError(f"{path} cannot be loaded ({error}): {_BUILD[stem]}") from None
    if found != VERSION:
        raise MaskrtError(
            f"{path} has version {found} of the operators' interface, expected {VERSION}: "
            f"{_BUILD[stem]}"
        )
    loaded.maskrt_last_error.restype = ctypes.c_char_p
    return loaded


@contextmanager
def _sleeping_threads() -> Iterator[None]:
    """Lets OpenMP threads that wait sleep, if OpenMP comes with what is loaded within.

    They would spin for milliseconds otherwise, on cores that other threads could use: those of a
    camera, or of the engine that runs next. A policy that the user has chosen stays.
    """
    variable = "OMP_WAIT_POLICY"
    if variable in os.environ:
        yield
        return
    os.environ[variable] = "passive"
    try:
        yield
    finally:
        del os.environ[variable]


def call(name: str, params: ctypes.Structure) -> None:
    """Calls an operator of ``libmaskrt_ops``.

    Args:
        name: of the C function.
        params: what it takes the address of.

    Raises:
        ValueError: the operator refuses its params.
        MemoryError: it could not get its scratch memory.
        RuntimeError: it failed inside, which is a bug.
        MaskrtError: the library could not be loaded.
    """
    loaded = library()
    status = loaded[name](ctypes.byref(params))
    if status:
        message = loaded.maskrt_last_error().decode()
        raise _ERRORS.get(status, RuntimeError)(message)


def call_on_stream(
    name: str, params: ctypes.Structure, take: Callable[[int], int], stream: int
) -> None:
    """Queues an operator of ``libmaskrt_plugins`` on a CUDA stream; does not wait for it.

    Args:
        name: of the operator.
        params: whose pointers are device memory.
        take: gives the address of so many bytes of device memory, which only what is queued before
            the operator's end may use.
        stream: the stream's handle.

    Raises:
        ValueError: the operator refuses its params.
        MemoryError: it could not get its scratch memory.
        RuntimeError: the launch failed, or a bug.
        MaskrtError: the library could not be loaded.
    """
    loaded = plugin_library()
    workspace = loaded[f"maskrt_cuda_{name}_workspace"]
    workspace.restype = ctypes.c_int64
    needed = max(0, workspace(ctypes.byref(params)))
    status = loaded[f"maskrt_cuda_{name}"](
        ctypes.byref(params),
        ctypes.c_void_p(take(needed)),
        ctypes.c_size_t(needed),
        ctypes.c_void_p(stream),
    )
    if status:
        message = loaded.maskrt_last_error().decode()
        raise _ERRORS.get(status, RuntimeError)(message)
