"""Which files of a folder are images, and in which order."""

from __future__ import annotations

import re
from pathlib import Path

IMAGE_SUFFIXES = frozenset({
    ".bmp", ".dib", ".exr", ".hdr", ".jp2", ".jpe", ".jpeg", ".jpg",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
})  # fmt: skip
"""Of what OpenCV reads."""


def images_in(folder: Path) -> list[Path]:
    """The images of a folder, not of folders within it; numbers in names count as numbers."""
    return sorted(filter(is_image, folder.iterdir()), key=_natural)


def is_image(path: Path) -> bool:
    """By its suffix."""
    # hidden ones are not photographs: macOS leaves "._name.jpg" beside each file it copies
    hidden = path.name.startswith(".")
    return path.suffix.lower() in IMAGE_SUFFIXES and not hidden and path.is_file()


def _natural(path: Path) -> tuple[list[tuple[int, str]], str]:
    """Sort key in which numbers count as numbers."""
    parts = re.split(r"(\d+)", path.name.lower(), flags=re.ASCII)
    return [(int(p) if p.isdecimal() else -1, p) for p in parts], path.name
