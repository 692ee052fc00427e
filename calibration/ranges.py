"""The histograms of a calibration in a file, so that an interrupted one goes on where it stopped.

The file is an .npz archive without pickled objects. It says which graph, which tensors and which
images it is of; images are known by their content and their position.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from maskrt.calibration.histogram import BINS, Histogram
from maskrt.errors import MaskrtError
from maskrt.files import replacing

FORMAT = "maskrt.ranges"
VERSION = 1

# what NumPy, zipfile and json raise on damaged and foreign files
_UNREADABLE = (
    zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, TypeError,
    AttributeError, NotImplementedError, RuntimeError, OverflowError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True)
class Ranges:
    """What is known after some of the images."""

    model: str
    """Digest of the graph (``model_digest``)."""
    images: tuple[str, ...] = ()
    """Digests of those that are done, in their order (``image_digest``)."""
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    """By the tensor's name."""

    @classmethod
    def empty(cls, model: str, tensors: Sequence[str]) -> Ranges:
        """Before the first image."""
        return cls(model, (), {name: Histogram() for name in tensors})

    def extended(self, image: str, histograms: Mapping[str, Histogram]) -> Ranges:
        """With one image more; this object stays as it is."""
        merged = {name: known.merged(histograms[name]) for name, known in self.histograms.items()}
        return replace(self, images=(*self.images, image), histograms=merged)


class RangeStore:
    """A file that keeps ranges from run to run.

    Args:
        path: of the file; it need not exist.
        restart: ranges of another model, of other tensors or of other images are replaced; without
            it they are refused. Files that are broken or foreign are never replaced.
        every: seconds between two writes at least, but for the last one.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, restart: bool = False, every: float = 60.0
    ) -> None:
        self.path = Path(path)
        self.restart = restart
        self.every = every
        self._written: float | None = None
        self._known: Ranges | None = None  # what the file holds

    def resume(
        self, model: str, tensors: Sequence[str], frames: Sequence[NDArray[np.uint8]]
    ) -> Ranges:
        """What is in the file, or empty ranges where there is none.

        Args:
            model: digest of the graph.
            tensors: all names.
            frames: the images of this run. Those that the file has are read, to be compared; more
                may follow.

        Raises:
            MaskrtError: the file is broken or foreign, or of another run.
        """
        if not self.path.exists():
            return Ranges.empty(model, tensors)
        found = load_ranges(self.path)
        other = _difference(found, model, tensors, frames)
        if not other:
            self._known = found
            return found
        if self.restart:
            return Ranges.empty(model, tensors)
        raise MaskrtError(
            f"{self.path} holds activation ranges {other}: delete it, or name another file"
        )

    def checkpoint(self, ranges: Ranges) -> None:
        """Writes the file when that was long ago; the first time at once: it shows what fails."""
        now = time.monotonic()
        if self._written is None or now - self._written >= self.every:
            self.save(ranges)

    def save(self, ranges: Ranges) -> None:
        """Writes the file if anything is new.

        Raises:
            MaskrtError: it cannot be written.
        """
        if ranges is not self._known and ranges.images:
            save_ranges(ranges, self.path)
            self._known = ranges
            self._written = time.monotonic()


def model_digest(model: onnx.ModelProto) -> str:
    """Of what decides the values: nodes, weights, function bodies, versions of operators."""
    digest = hashlib.sha256()
    for part in (model.graph, *model.functions, *model.opset_import):
        data = part.SerializeToString(deterministic=True)
        digest.update(f"{len(data)}:".encode() + data)
    return digest.hexdigest()


def image_digest(frame: NDArray[np.uint8]) -> str:
    """Of an image's shape and pixels."""
    digest = hashlib.sha256(f"{frame.shape}{frame.dtype}".encode())
    digest.update(np.ascontiguousarray(frame).data)
    return digest.hexdigest()


def save_ranges(ranges: Ranges, path: str | os.PathLike[str]) -> None:
    """Writes a file; an older one under that name is replaced when the new one is whole.

    Raises:
        MaskrtError: it cannot be written.
    """
    names = sorted(ranges.histograms)
    found = [ranges.histograms[name] for name in names]
    head = {
        "format": FORMAT,
        "version": VERSION,
        "model": ranges.model,
        "tensors": names,
        "images": list(ranges.images),
    }
    try:
        # an open file, since NumPy adds .npz to a path that lacks it
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                head=np.frombuffer(json.dumps(head).encode(), np.uint8),
                counts=np.array([h.counts for h in found], np.int64).reshape(-1, BINS),
                exponents=np.array([h.exponent for h in found], np.int64),
                extremes=np.array([(h.lowest, h.highest) for h in found]).reshape(-1, 2),
                invalid=np.array([h.invalid for h in found], np.int64),
            )
    except OSError as error:
        raise MaskrtError(f"{path} cannot be written: {error.strerror}") from None


def load_ranges(path: str | os.PathLike[str]) -> Ranges:
    """Reads what ``save_ranges`` wrote.

    Raises:
        MaskrtError: the file is missing, damaged, foreign or of another version.
    """
    if Path(path).is_dir():
        raise MaskrtError(f"{path} is a folder: name a file")
    try:
        archive = np.load(path, allow_pickle=False)
        with archive:
            arrays = {name: archive[name] for name in archive.files}
        head = json.loads(arrays["head"].tobytes())
        if head["format"] != FORMAT:
            raise ValueError(f"its format is {head['format']!r}")
    except _UNREADABLE as error:
        raise MaskrtError(
            f"{path} is no file of activation ranges, or is damaged ({_first(error)}): delete it, "
            "or name another file"
        ) from None
    if head.get("version") != VERSION:
        raise MaskrtError(
            f"{path} is of another version of maskrt (format {head.get('version')}, expected "
            f"{VERSION}): delete it, or name another file"
        )
    try:
        histograms = _histograms(head["tensors"], arrays)
        images = tuple(str(image) for image in head["images"])
        return Ranges(str(head["model"]), images, histograms)
    except _UNREADABLE as error:
        raise MaskrtError(f"{path} is damaged ({error}): delete it") from None


def _first(error: BaseException) -> str:
    """The first sentence; NumPy goes on with advice on how to read what is not to be trusted."""
    return str(error).partition(". ")[0].rstrip(".")


def _histograms(names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Histogram]:
    n = len(names)
    expected = {
        "counts": ((n, BINS), np.int64),
        "exponents": ((n,), np.int64),
        "extremes": ((n, 2), np.float64),
        "invalid": ((n,), np.int64),
    }
    for name, (shape, dtype) in expected.items():
        found = arrays[name]
        if found.shape != shape or found.dtype != dtype:
            raise ValueError(f"{name} is {found.dtype} {found.shape}, expected {shape}")
    if arrays["counts"].min(initial=0) < 0 or arrays["invalid"].min(initial=0) < 0:
        raise ValueError("there are negative counts")
    return {
        str(name): Histogram(
            counts.copy(), int(exponent), float(lowest), float(highest), int(invalid)
        )
        for name, counts, exponent, (lowest, highest), invalid in zip(
            names, *(arrays[key] for key in expected), strict=True
        )
    }


def _difference(
    found: Ranges, model: str, tensors: Sequence[str], frames: Sequence[NDArray[np.uint8]]
) -> str:
    """In words; empty: the file can be used."""
    if found.model != model:
        return "of another model (or of the same one, exported again)"
    if set(found.histograms) != set(tensors):
        return "of other tensors of this model"
    if len(found.images) > len(frames):
        return f"of {len(found.images)} images, and here are {len(frames)}"
    for position, image in enumerate(found.images):
        if image_digest(frames[position]) != image:
            return f"of other images: the first one that differs is number {position + 1}"
    return ""
