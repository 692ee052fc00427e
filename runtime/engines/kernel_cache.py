"""TensorRT-RTX compiles an engine's kernels for the GPU when they are first run, and keeps them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from pathlib import Path
from typing import Any

from maskrt.files import replacing
from maskrt.runtime.device import DeviceFacts


def cache_folder() -> Path:
    """Where compiled kernels are kept: the user's cache folder, or ``MASKRT_CACHE``."""
    chosen = os.environ.get("MASKRT_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", "~")).expanduser() / "maskrt"
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "maskrt"


class KernelCache:
    """The compiled kernels of one engine, for one GPU and version of the library.

    A cache that cannot be read or written costs time, no more: nothing is raised.
    """

    def __init__(self, plan: bytes, version: str, facts: DeviceFacts) -> None:
        digest = hashlib.sha256(plan).hexdigest()[:24]
        name = f"{digest}-{version}-{facts.name}-{facts.compute_capability}.kernels"
        safe = "".join(c if c.isalnum() or c in ".-" else "_" for c in name)
        self._path = cache_folder() / safe
        self._cache: Any = None
        self._loaded = b""

    def attach(self, config: Any) -> None:
        """Has a runtime configuration use the cache."""
        self._cache = config.create_runtime_cache()
        with contextlib.suppress(OSError):
            self._loaded = self._path.read_bytes()
        if self._loaded and not self._cache.deserialize(self._loaded):
            self._loaded = b""  # of another version, or damaged: it is written anew
        config.set_runtime_cache(self._cache)

    def save(self) -> None:
        """Writes the cache where there is something new in it."""
        if self._cache is None:
            return
        content = self._cache.serialize()
        content = bytes(memoryview(content)) if content is not None else b""
        if content and content != self._loaded:
            with contextlib.suppress(OSError), replacing(self._path) as temporary:
                temporary.write_bytes(content)
        self._cache = None
