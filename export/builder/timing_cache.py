"""Timings of kernels that TensorRT keeps from build to build."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskrt.errors import MaskrtError
from maskrt.files import replacing

if TYPE_CHECKING:
    import tensorrt as trt


def attach(config: trt.IBuilderConfig, path: Path, warn: Callable[[str], None]) -> None:
    """Gives a build the cache of a file, or an empty one; a file that does not suit is told."""
    data = b""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        pass
    except OSError as error:
        warn(f"the timing cache {path} cannot be read ({error.strerror}): built without it")
    if data and _set(config, data):
        return
    if data:
        warn(
            f"the timing cache {path} is broken, or from another version of TensorRT or another "
            "GPU: it is made anew"
        )
    _set(config, b"")


def _set(config: trt.IBuilderConfig, data: bytes) -> bool:
    try:
        cache = config.create_timing_cache(data)
    except (TypeError, RuntimeError):  # the bindings' ways to say that it cannot be read
        return False
    return cache is not None and bool(config.set_timing_cache(cache, ignore_mismatch=False))


def keep(config: trt.IBuilderConfig, path: Path, warn: Callable[[str], None]) -> None:
    """Writes the cache of a build that is done; an engine does not fail for that."""
    cache: Any = config.get_timing_cache()
    if cache is None:
        return
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(memoryview(cache.serialize()))
    except (MaskrtError, OSError) as error:
        warn(f"the timing cache was not kept: {error}")
