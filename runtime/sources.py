"""Where frames come from: images, folders, videos, cameras, arrays."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from maskrt.closing import Closing
from maskrt.errors import FrameError, SourceError
from maskrt.pictures import IMAGE_SUFFIXES, images_in
from maskrt.runtime.frames import Frame, to_bgr


class Source(Closing, ABC):
    """Yields frames: uint8 ``[H, W, 3]`` in BGR order. A context manager.

    Iterating again starts again (a camera: goes on). ``len()`` works where the number of frames is
    certain, that is, for images and arrays.
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
    """A video file, decoded as it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = path.name
        self._capture: cv2.VideoCapture | None = _capture(str(path))
        if not self._capture.isOpened():
            raise SourceError(
                f"{path} cannot be read as a video; it is damaged, incomplete, no video, or in a "
                "format that this OpenCV does not know: try to convert it with "
                f"ffmpeg -i '{path.name}' -c:v libx264 converted.mp4"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.fps = fps if np.isfinite(fps) and fps > 0 else None
        self.count = count if count > 0 else None
        self._fresh = True

    def __iter__(self) -> Iterator[Frame]:
        if self._capture is None:
            raise ValueError(f"{self.name}: the source is closed")
        if not self._fresh:  # opening again is more reliable than seeking
            self._capture.release()
            self._capture = _capture(str(self._path))
        self._fresh = False
        capture, read, seconds = self._capture, 0, 0.0
        while True:
            ok, image = capture.read()
            if not ok or self._capture is not capture:
                break
            read += 1
            seconds = max(seconds, capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
            yield to_bgr(image)
        if self._capture is capture:
            self._check_end(read, seconds)

    def _check_end(self, read: int, seconds: float) -> None:
        """Tells the end of a video from a decoder that gave up."""
        if read == 0:
            raise SourceError(
                f"{self._path}: not a single frame can be decoded; it is damaged or its codec is "
                "missing in this OpenCV: try to convert it with ffmpeg"
            )
        if self.fps is None or self.count is None:
            return
        # by time, because the claimed number is off where the frame rate varies
        claimed = self.count / self.fps
        reached = max(seconds, read / self.fps)
        if claimed - reached > 0.05 * claimed + 2 / self.fps:
            raise SourceError(
                f"{self._path} ends after {read} of {self.count} frames: it is truncated or "
                "damaged there; copy it again, or cut it to the part that plays"
            )

    def close(self) -> None:
        """Closes the file. Closing twice is fine; iterating afterwards is a ValueError."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


class CameraSource(Source):
    """A camera, by OpenCV's number. Endless."""

    live = True

    def __init__(self, index: int) -> None:
        self.name = f"camera {index}"
        self._capture: cv2.VideoCapture | None = _capture(index)
        if not self._capture.isOpened():
            raise SourceError(
                f"camera {index} cannot be opened: check that it is plugged in, that no other "
                "program uses it, and that you may read it (on Linux: ls -l /dev/video*, and be "
                "in the group 'video'); other cameras have other numbers"
            )
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = fps if np.isfinite(fps) and fps > 0 else None

    def __iter__(self) -> Iterator[Frame]:
        if self._capture is None:
            raise ValueError(f"{self.name}: the source is closed")
        while self._capture is not None:
            ok, image = self._capture.read()
            if not ok:
                raise SourceError(
                    f"{self.name} gives no frames any more: check its cable and its power"
                )
            yield to_bgr(image)

    def close(self) -> None:
        """Gives the camera back. Closing twice is fine; iterating afterwards is a ValueError."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None


def open_source(uri: Any) -> Source:
    """Opens a source of frames.

        with open_source("street.mp4") as frames:
            for frame in frames:
                ...

    Args:
        uri: the path of an image, of a folder of images (read in natural order: ``img2`` before
            ``img10``; other files are ignored) or of a video; the number of a camera, ``0`` or
            ``"0"`` (use ``"./0"`` for a file of that name); a frame as an array, an array
            ``[N, H, W, 3]``, or a list of frames.

    Raises:
        SourceError: if it does not exist or cannot be opened. While iterating: if an image cannot
            be read, a video ends too early, or a camera stops.
        FrameError: while iterating, if an array cannot be read as an image.
    """
    if isinstance(uri, np.ndarray):
        return ArraySource(list(uri) if uri.ndim == 4 else [uri])
    if isinstance(uri, (list, tuple)):
        if not uri:
            raise SourceError("found an empty list of frames, expected at least one")
        return ArraySource(list(uri))
    if isinstance(uri, Path):
        return _open_path(uri)
    if isinstance(uri, (int, np.integer)) and not isinstance(uri, bool):
        return _open_camera(int(uri))
    if isinstance(uri, str) and uri:
        return _open_text(uri)
    raise SourceError(f"found {uri!r} as a source, expected a path, a camera's number, or arrays")


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


def _open_text(uri: str) -> Source:
    if re.fullmatch(r"[+-]?\d+", uri, re.ASCII):
        return _open_camera(int(uri))
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _open_path(Path(uri))
    if scheme.lower() not in SCHEMES:
        raise SourceError(
            f"found the source {uri!r}, expected a path, a camera's number, or one of: "
            + ", ".join(f"{known}://" for known in SCHEMES)
        )
    return SCHEMES[scheme.lower()](rest)


def _open_path(path: Path) -> Source:
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
    return VideoSource(path)


def _open_camera(index: int) -> Source:
    if index < 0:
        raise SourceError(f"found the camera number {index}, expected 0 or more")
    return CameraSource(index)


def _capture(what: str | int) -> cv2.VideoCapture:
    try:
        return cv2.VideoCapture(what)
    except cv2.error:  # if OpenCV was set to raise
        return cv2.VideoCapture()


SCHEMES: dict[str, Callable[[str], Source]] = {"file": lambda rest: _open_path(Path(rest))}
"""What opens ``scheme://rest``; it is given the rest."""
