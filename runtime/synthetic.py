"""Drawn frames: for measurements and trials without a camera."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import cv2
import numpy as np

from maskrt.errors import SourceError
from maskrt.runtime.frames import Frame
from maskrt.runtime.source import Source
from maskrt.runtime.uris import options_of

DIFFERENT = 8
"""Frames until they repeat: enough to keep caches honest, few enough to stay in memory."""
_EXAMPLE = "synthetic://1280x720?frames=100&fps=30&seed=0"
_SIDES = range(16, 4097)
_OPTIONS = {"frames": range(1, 10**9), "fps": range(1, 1001), "seed": range(2**32)}


class SyntheticSource(Source):
    """Frames of ``synthetic_frames``, again and again.

    Args:
        size: (height, width).
        frames: in all; None: endless.
        fps: frames per second, as from a camera: live. None: as fast as they are taken.
        seed: of the random numbers.
    """

    def __init__(
        self,
        size: tuple[int, int] = (720, 1280),
        *,
        frames: int | None = None,
        fps: float | None = None,
        seed: int = 0,
    ) -> None:
        self.name = f"synthetic {size[1]}x{size[0]}"
        self.count = frames
        self.fps = fps
        self.live = fps is not None
        self._frames = synthetic_frames(min(DIFFERENT, frames or DIFFERENT), size, seed)
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame]:
        if self._closed.is_set():
            raise ValueError(f"{self.name}: the source is closed")
        index, due = 0, time.monotonic()
        while index != self.count and not self._closed.is_set():
            if self.fps is not None:
                # a camera does not make up for frames that nobody took in time, either
                due = max(due + 1 / self.fps, time.monotonic())
                if self._closed.wait(due - time.monotonic()):
                    return
            yield self._frames[index % len(self._frames)].copy()
            index += 1

    def close(self) -> None:
        """Ends what iterates. Closing twice is fine; iterating afterwards is a ValueError."""
        self._closed.set()


def open_synthetic(rest: str) -> SyntheticSource:
    """The source of ``synthetic://WIDTHxHEIGHT?frames=…&fps=…&seed=…``, without the scheme.

    Raises:
        SourceError: the size or an option is none.
    """
    place, options = options_of(rest, _OPTIONS, example=_EXAMPLE)
    if not place:
        return SyntheticSource(**options)
    match = re.fullmatch(r"(\d{1,9})x(\d{1,9})", place.lower(), re.ASCII)
    if not match or not all(int(side) in _SIDES for side in match.groups()):
        raise SourceError(
            f"found the size {place!r}, expected WIDTHxHEIGHT with {_SIDES.start} to "
            f"{_SIDES.stop - 1} pixels each, as in {_EXAMPLE}"
        )
    return SyntheticSource((int(match[2]), int(match[1])), **options)


def synthetic_frames(count: int, size: tuple[int, int] = (720, 1280), seed: int = 0) -> list[Frame]:
    """Frames with something to find: shapes before a gradient, the same for the same seed.

    Noise would be no picture: detectors find nothing in it, or far too much.

    Args:
        count: of frames.
        size: (height, width).
        seed: of the random numbers.

    Returns:
        uint8 ``[H, W, 3]`` each.
    """
    random = np.random.default_rng(seed)
    height, width = size
    down = np.linspace(0, 1, height)[:, None, None]
    across = np.linspace(0, 1, width)[None, :, None]
    frames = []
    for _ in range(count):
        corner, to_right, to_bottom = random.uniform(30, 120, (3, 3))
        frame = (corner + to_right * across + to_bottom * down).clip(0, 255).astype(np.uint8)
        for kind in random.integers(0, 3, 8).tolist():
            side = float(random.uniform(0.06, 0.16)) * min(size)
            x, y = (int(at) for at in random.uniform(side, (width - side, height - side)))
            color = tuple(random.integers(0, 256, 3).tolist())
            if kind == 0:
                cv2.circle(frame, (x, y), round(side), color, cv2.FILLED, cv2.LINE_AA)
            else:
                corners = 3 if kind == 1 else 4
                angles = random.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
                points = np.stack([x + side * np.cos(angles), y + side * np.sin(angles)], 1)
                outline = np.rint(points).astype(np.int32)
                cv2.fillPoly(frame, [outline], color, cv2.LINE_AA)
        frames.append(frame)
    return frames
