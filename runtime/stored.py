"""Frames that are stored: images, folders, videos, arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskrt.errors import FrameError, SourceError
from maskrt.pictures import IMAGE_SUFFIXES, images_in
from maskrt.runtime.capture import Capture
from maskrt.runtime.frames import Frame, to_bgr
from maskrt.runtime.source import Source


class ImageSource(Source):
    """Image files, read one by one."""

    def __init__(self, name: str, paths: list[Path]) -> None:
        self.name = name
        self.paths = paths
        self.count = len(paths)

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[Frame]:
        return map(read_image, self.paths)

    def frame_name(self, index: int) -> str:
        """The image's file name."""
        return self.paths[index].name


class ArraySource(Source):
    """Frames that are in memory already, of any kind that the detector takes."""

    def __init__(self, frames: list[Any]) -> None:
        self.name = "array"
        self._frames = frames
        self.count = len(frames)

    def __len__(self) -> int:
        return len(self._frames)

    def __iter__(self) -> Iterator[Frame]:
        for i, frame in enumerate(self._frames):
            try:
                image = to_bgr(frame)
            except FrameError as error:
                raise FrameError(f"frame {i} of the source: {error}") from None
            yield image


class VideoSource(Source):
    """A video that has an end, decoded as it is read.

    Args:
        name: for file names.
        where: for messages.
        connect: opens it at its beginning.

    Raises:
        SourceError: it cannot be opened.
    """

    def __init__(self, name: str, where: str, connect: Callable[[], Capture]) -> None:
        self.name = name
        self._where = where
        self._connect = connect
        self._closed = False
        self._capture = connect()
        if not self._capture.opened:
            raise SourceError(
                f"{where} cannot be read as a video; it is damaged, incomplete, no video, or in a "
                "format that this OpenCV does not know: try to convert it with "
                f"ffmpeg -i '{name}' -c:v libx264 converted.mp4"
            )
        self.fps = self._capture.fps
        self.count = self._capture.count
        self._fresh = True

    def __iter__(self) -> Iterator[Frame]:
        if self._closed:
            raise ValueError(f"{self.name}: the source is closed")
        if not self._fresh:  # opening again is more reliable than seeking
            self._capture.close()
            self._capture = self._connect()
            if self._closed:  # meanwhile: that was the capture before
                self._capture.close()
        self._fresh = False
        capture, read, seconds = self._capture, 0, 0.0
        while (image := capture.read()) is not None:
            read += 1
            seconds = max(seconds, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            yield image
        if self._capture is capture and not self._closed:
            self._check_end(read, seconds)

    def _check_end(self, read: int, seconds: float) -> None:
        """Tells the end of a video from a decoder that gave up."""
        if read == 0:
            raise SourceError(
                f"{self._where}: not a single frame can be decoded; it is damaged or its codec is "
                "missing in this OpenCV: try to convert it with ffmpeg"
            )
        if self.fps is None or self.count is None:
            return
        # by time, because the claimed number is off where the frame rate varies
        claimed = self.count / self.fps
        reached = max(seconds, read / self.fps)
        if claimed - reached > 0.05 * claimed + 2 / self.fps:
            raise SourceError(
                f"{self._where} ends after {read} of {self.count} frames: it is truncated or "
                "damaged there; copy it again, or cut it to the part that plays"
            )

    def close(self) -> None:
        """Closes the video. Closing twice is fine; iterating afterwards is a ValueError."""
        self._closed = True
        self._capture.close()


def open_path(path: Path) -> Source:
    """An image, a folder of images, or a video.

    Raises:
        SourceError: it does not exist or cannot be opened.
    """
    path = path.expanduser()
    if path.is_dir():
        images = images_in(path)
        if not images:
            raise SourceError(
                f"the folder {path} holds no images (looked for {' '.join(sorted(IMAGE_SUFFIXES))};"
                " not in folders within it): check the path"
            )
        return ImageSource(path.resolve().name, images)
    if not path.exists():
        raise SourceError(f"{path} does not exist: check the path (here: {Path.cwd()})")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return ImageSource(path.name, [path])
    return VideoSource(path.name, str(path), lambda: Capture(str(path)))


def read_image(path: Path) -> Frame:
    """An image file as uint8 ``[H, W, 3]`` BGR, turned upright as its EXIF data says.

    Raises:
        SourceError: if it is missing or cannot be decoded.
    """
    try:
        # not cv2.imread: it cannot open every Unicode path on Windows, nor say what is wrong
        content = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
    try:
        image = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size else None
    except cv2.error:
        image = None
    if image is None:
        size = f"{content.size} bytes" if content.size else "it is empty"
        raise SourceError(
            f"{path} cannot be decoded as an image ({size}): it is damaged, or not of the kind "
            f"that its suffix '{path.suffix}' says; replace or remove it"
        )
    return to_bgr(image)
