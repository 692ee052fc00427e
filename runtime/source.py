"""What a source of frames is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

from maskrt.closing import Closing
from maskrt.runtime.frames import Frame


class Source(Closing, ABC):
    """Yields frames: uint8 ``[H, W, 3]`` in BGR order. A context manager.

    Iterating again starts again (a camera: goes on). ``len()`` works where the number of frames is
    certain, that is, for images and arrays.

    One thread iterates; any may close, also while a frame is being read: what is open is let go
    when that read returns, and the iteration ends.
    """

    name: str
    """For messages and file names: the file's or folder's name, ``camera 0``, ``array``."""
    fps: float | None = None
    """Frames per second; None where there is no clock, as with images."""
    live: bool = False
    """Whether frames come whether or not anybody takes them, as from a camera."""
    count: int | None = None
    """Frames in all, as far as it is known; of videos it is what the file claims."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames in order."""

    def frame_name(self, index: int) -> str:
        """What to call what is made of a frame: the image's file name, or ``street_000042``."""
        return f"{Path(self.name).stem.replace(' ', '_')}_{index:06d}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, {self.count or 'unknown'} frames>"
