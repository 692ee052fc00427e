"""The pictures to calibrate on: which files, and their frames one at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from maskrt.errors import MaskrtError
from maskrt.pictures import IMAGE_SUFFIXES, images_in

Frame = NDArray[np.uint8]
VIDEOS = {".avi", ".mkv", ".mov", ".mp4", ".webm"}


def find_images(what: Path, root: Path | None = None) -> tuple[Path, ...]:
    """The files that a folder, a list or COCO annotations name.

    Args:
        what: a folder; a text file with a path in each line (blank lines and those that begin
            with ``#`` are passed over); or COCO annotations (``.json``).
        root: what names in a list or in annotations start from; None: that file's folder.

    Returns:
        At least one; of a folder in the order of their names, numbers by value.

    Raises:
        MaskrtError: there is none, some are missing, or the file is something else.
    """
    suffix = what.suffix.lower()
    if what.is_dir():
        inside = images_in(what)
        if not inside:
            raise MaskrtError(
                f"the folder {what} holds no images (looked for {' '.join(sorted(IMAGE_SUFFIXES))};"
                " not in folders within it): check the path"
            )
        return tuple(inside)
    if not what.is_file():
        raise MaskrtError(f"{what} does not exist: check the path (here: {Path.cwd()})")
    if suffix in IMAGE_SUFFIXES or suffix in VIDEOS:
        image = suffix in IMAGE_SUFFIXES
        raise MaskrtError(
            f"{what} is {'an image' if image else 'a video'}, expected a folder of images, a list "
            "of their paths, or COCO annotations"
            + ("" if image else ": save some of its frames to a folder")
        )
    names = _annotated(what) if suffix == ".json" else _listed(what)
    files = [(root or what.parent) / name for name in names]
    missing = [path for path in files if not path.is_file()]
    if not files:
        raise MaskrtError(f"{what} names no images")
    if missing:
        raise MaskrtError(
            f"{len(missing)} of {len(files)} images that {what} names are missing, first "
            f"{missing[0]}: is --image-root the folder that the names start from?"
        )
    return tuple(files)


def choose(files: Sequence[Path], limit: int) -> tuple[Path, ...]:
    """At most ``limit`` files, spread evenly: neighbours are often frames of one scene."""
    if len(files) <= limit:
        return tuple(files)
    return tuple(files[i * len(files) // limit] for i in range(limit))


class Images(Sequence[Frame]):
    """Frames of files, read when they are asked for.

    Args:
        files: images.
        read: gives a file's frame, uint8 [H, W, 3].
    """

    def __init__(self, files: Sequence[Path], read: Callable[[Path], Frame]) -> None:
        self.files = tuple(files)
        self._read = read

    def __len__(self) -> int:
        """Number of files."""
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Frame: ...

    @overload
    def __getitem__(self, index: slice) -> Images: ...

    def __getitem__(self, index: int | slice) -> Frame | Images:
        """A frame, or fewer files.

        Raises:
            MaskrtError: the file cannot be read (the reader's own error).
        """
        if isinstance(index, slice):
            return Images(self.files[index], self._read)
        return self._read(self.files[index])

    def __iter__(self) -> Iterator[Frame]:
        """All frames, one at a time."""
        return map(self._read, self.files)


def _listed(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        raise MaskrtError(
            f"{path} is neither a folder nor text: expected a folder of images, a list of their "
            "paths, or COCO annotations (.json)"
        ) from None
    stripped = (line.strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]


def _annotated(path: Path) -> list[str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        return [str(entry["file_name"]) for entry in content["images"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise MaskrtError(
            f"{path} is no COCO annotation file ({type(error).__name__}: {error}): expected JSON "
            "with images, each with a file_name"
        ) from None
