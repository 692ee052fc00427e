"""Types of command line arguments."""

from __future__ import annotations

import argparse
import re
from pathlib import Path


def size(text: str) -> tuple[int, int]:
    """``800x1088`` as (800, 1088): height and width."""
    match = re.fullmatch(r"(\d+)[xX](\d+)", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected HEIGHTxWIDTH in pixels, such as 800x1088"
        )
    return int(match[1]), int(match[2])


def batch(text: str) -> tuple[int, int]:
    """``4`` as (4, 4), ``1-8`` as (1, 8)."""
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", text)
    if not match:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a number of frames, or a range such as 1-8"
        )
    return int(match[1]), int(match[2] or match[1])


def names(text: str) -> list[str]:
    """Names from a file, one a line, or separated by commas."""
    path = Path(text)
    if path.is_file():
        found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        found = [name.strip() for name in text.split(",")]
    found = [name for name in found if name]
    if not found:
        raise argparse.ArgumentTypeError(
            f"found no names in {text!r}, expected a file with one a line, or a,b,c"
        )
    return found


def threshold(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0 to 1")
    return value


def compute_capability(text: str) -> str:
    """``86``, ``sm_86`` or ``8.6`` as "8.6"."""
    match = re.fullmatch(r"(?:sm_)?(\d{1,2})\.?(\d)", text.lower())
    if not match:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a compute capability such as 86 or 8.6"
        )
    return f"{match[1]}.{match[2]}"


def memory(text: str) -> int:
    """``512M`` or ``2G`` as bytes."""
    match = re.fullmatch(r"(\d+)([kKmMgG]?)[bB]?", text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected bytes, such as 512M or 2G")
    return int(match[1]) << {"": 0, "k": 10, "m": 20, "g": 30}[match[2].lower()]
