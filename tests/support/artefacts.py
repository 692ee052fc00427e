"""Files that many tests read, made once: exported models and what is built from them.

They lie in ``build/artefacts`` in a folder named after what makes them (the product's sources, the
models' definitions, the libraries' versions), so that two workers, and the runs after this one,
share them as long as none of that changes. Whoever wants to change one makes a copy.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "build" / "artefacts"
SOURCES = ("core", "export", "calibration", "runtime", "plugins", "examples", "tests/support")
SUFFIXES = {".py", ".pth", ".h", ".cpp"}
LIBRARIES = ("torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "openvino", "numpy")
KEPT = 2
"""Folders of earlier sources that stay: somebody may be going back and forth between two."""


def _files() -> Iterable[Path]:
    for folder in SOURCES:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SUFFIXES:
                yield path


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


@cache
def digest() -> str:
    """Of everything that has a say in what an artefact holds."""
    found = hashlib.sha256()
    for path in _files():
        found.update(str(path.relative_to(ROOT)).encode())
        found.update(path.read_bytes())
    found.update(" ".join(f"{name} {_version(name)}" for name in LIBRARIES).encode())
    return found.hexdigest()[:16]


def artefact(name: str, make: Callable[[Path], object]) -> Path:
    """The file ``name``; made unless it is there.

    Args:
        name: says all that the file depends on, besides the sources; with its suffix.
        make: writes the file at the path that it is given.

    Returns:
        A path that is not to be written to.
    """
    folder = FOLDER / digest()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    with FileLock(folder / f".{name}.lock"):
        if not path.exists():
            part = folder / f"part.{name}"  # its suffix tells writers what to write
            make(part)
            part.chmod(0o444)
            part.replace(path)
    return path


def forget_old_ones() -> None:
    """Removes what earlier sources made, but for the newest."""
    if not FOLDER.is_dir():
        return
    found = sorted(FOLDER.iterdir(), key=os.path.getmtime, reverse=True)
    for folder in [path for path in found if path.name != digest()][KEPT:]:
        shutil.rmtree(folder, ignore_errors=True)
