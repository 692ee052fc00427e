"""Finds and loads the library of CPU operators, ``libmaskrt_ops``, when it is first used."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from pathlib import Path

from maskrt.errors import MaskrtError

VERSION = 1
"""Of the C interface: ``MASKRT_OPS_VERSION`` in ``common/export.h``."""
PATH_VARIABLE = "MASKRT_PLUGIN_PATH"
"""Environment variable: a folder that holds the library, or the library itself."""

_ERRORS = {1: ValueError, 2: MemoryError}  # MaskrtStatus in common/export.h
_PACKAGE = Path(__file__).resolve().parent
_BUILD = "run  make native  in the source checkout"


def library_name() -> str:
    """File name of the library on this system."""
    if sys.platform == "win32":
        return "maskrt_ops.dll"
    return "libmaskrt_ops.dylib" if sys.platform == "darwin" else "libmaskrt_ops.so"


def candidates() -> list[Path]:
    """Where the library may be, best first: the wheel's copy, the user's choice or else a build.

    A choice that leads nowhere is an error, not a reason to take another library.
    """
    name = library_name()
    paths = [_PACKAGE / name]
    chosen = os.environ.get(PATH_VARIABLE)
    if chosen:
        path = Path(chosen).expanduser()
        paths.append(path / name if path.is_dir() else path)
    # an editable install: the package's real folder is that of the checkout
    elif (_PACKAGE.parent / "CMakeLists.txt").is_file():
        paths.append(_PACKAGE.parent / "build" / "cmake" / name)
    return paths


def find() -> Path:
    """The library's file.

    Raises:
        MaskrtError: there is none; it names the paths that were tried.
    """
    paths = candidates()
    for path in paths:
        if path.is_file():
            return path
    tried = "".join(f"\n  {path}" for path in paths)
    raise MaskrtError(
        f"the library of CPU operators is not there; tried:{tried}\n"
        f"{_BUILD}, or set {PATH_VARIABLE} to the folder that holds {library_name()}"
    )


@functools.cache
def library() -> ctypes.CDLL:
    """The loaded library; loaded once, when it is first asked for.

    Raises:
        MaskrtError: it is not there, cannot be loaded, or is of another version than this package.
    """
    path = find()
    try:
        loaded = ctypes.CDLL(str(path))
        found = int(loaded.maskrt_ops_version())
    except (OSError, AttributeError) as error:
        raise MaskrtError(f"{path} cannot be loaded ({error}): {_BUILD}") from None
    if found != VERSION:
        raise MaskrtError(
            f"{path} has version {found} of the operators' interface, expected {VERSION}: {_BUILD}"
        )
    loaded.maskrt_last_error.restype = ctypes.c_char_p
    return loaded


def call(name: str, params: ctypes.Structure) -> None:
    """Calls an operator of the library.

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
