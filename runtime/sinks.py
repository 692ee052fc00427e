"""Where annotated frames go: an image, a folder of images, a video file."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from contextlib import ExitStack
from pathlib import Path

import cv2

from maskrt.closing import Finishing
from maskrt.errors import MaskrtError
from maskrt.files import replacing
from maskrt.pictures import IMAGE_SUFFIXES
from maskrt.runtime.channel import Channel, End
from maskrt.runtime.frames import Frame

CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".avi": "MJPG"}
DEFAULT_FPS = 25.0


class Sink(Finishing, ABC):
    """Takes frames: uint8 ``[H, W, 3]`` in BGR order. A context manager."""

    ended: bool = False
    """Whether the user wants no more frames: has closed the window, for example."""

    @abstractmethod
    def write(self, frame: Frame, name: str) -> None:
        """Takes one frame; ``name`` is what a file of its own is called.

        Raises:
            MaskrtError: it cannot be written.
        """


class ImageSink(Sink):
    """One image file; a second frame is an error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = False

    def write(self, frame: Frame, name: str) -> None:
        """Writes the image."""
        if self._written:
            raise MaskrtError(
                f"the source has several frames, but --save names one image, {self._path}: name a "
                "folder or a video"
            )
        write_image(self._path, frame)
        self._written = True


class FolderSink(Sink):
    """An image file for each frame, called like the frame."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, frame: Frame, name: str) -> None:
        """Writes an image."""
        path = Path(name)
        suffix = path.suffix if path.suffix.lower() in IMAGE_SUFFIXES else ".png"
        write_image(self._folder / f"{path.stem}{suffix}", frame)


class VideoSink(Sink):
    """A video file, encoded as frames come. All frames get the size of the first."""

    def __init__(self, path: Path, fps: float | None) -> None:
        self._path = path
        self._fps = fps or DEFAULT_FPS
        self._codec = CODECS[path.suffix.lower()]
        self._files = ExitStack()
        self._temporary = self._files.enter_context(replacing(path))
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, frame: Frame, name: str) -> None:
        """Encodes a frame."""
        if self._writer is None:
            self._size = (frame.shape[1], frame.shape[0])
            fourcc = cv2.VideoWriter.fourcc(*self._codec)
            self._writer = cv2.VideoWriter(str(self._temporary), fourcc, self._fps, self._size)
            if not self._writer.isOpened():
                raise MaskrtError(
                    f"this OpenCV cannot write {self._path.suffix} files with the codec "
                    f"{self._codec}: name an .avi file, or a folder for single images"
                )
        if (frame.shape[1], frame.shape[0]) != self._size:
            raise MaskrtError(
                f"found a frame of {frame.shape[1]}x{frame.shape[0]} in a video of "
                f"{self._size[0]}x{self._size[1]}: name a folder to keep each frame's size"
            )
        self._writer.write(frame)

    def close(self, *, complete: bool = True) -> None:
        """Ends the video; without a frame, or incomplete, no file is left."""
        started, self._writer = self._writer, None
        if started is not None:
            started.release()
        if complete and started is not None:
            self._files.close()
        else:
            self._files.__exit__(MaskrtError, MaskrtError("incomplete"), None)


def open_sink(path: str | Path, *, fps: float | None = None, single: bool = False) -> Sink:
    """Opens an output by its suffix.

    Args:
        path: a video (.mp4, .mkv, .mov, .avi), an image, or, without a suffix, a folder.
        fps: of a video; None: 25.
        single: whether a single frame will come.

    Raises:
        MaskrtError: for any other suffix, or an image for several frames.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if path.is_dir() or not suffix:
        return FolderSink(path)
    if suffix in CODECS:
        return VideoSink(path, fps)
    if suffix in IMAGE_SUFFIXES:
        if not single:
            raise MaskrtError(
                f"the source has several frames, but the output is one image, {path}: name a "
                "folder or a video"
            )
        return ImageSink(path)
    raise MaskrtError(
        f"{path}: found the suffix {suffix!r}, expected a video ({', '.join(CODECS)}), an image, "
        "or no suffix for a folder"
    )


def write_image(path: Path, frame: Frame) -> None:
    """Writes an image file, complete or not at all.

    Raises:
        MaskrtError: the file cannot be written, or the format is not known.
    """
    try:
        ok, encoded = cv2.imencode(path.suffix, frame)
    except cv2.error:
        ok = False
    if not ok:
        raise MaskrtError(f"{path}: this OpenCV cannot write {path.suffix} images: use .png")
    with replacing(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


class WritingThread(Sink):
    """Writes to another sink in a thread of its own, while the caller draws the next frame.

    Args:
        sink: is closed with this one.
        depth: frames that may wait.
    """

    def __init__(self, sink: Sink, depth: int = 4) -> None:
        self._sink = sink
        self._frames: Channel[tuple[Frame, str]] = Channel(depth)
        self._error: BaseException | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._write, name="maskrt, writing", daemon=True)
        self._thread.start()

    def write(self, frame: Frame, name: str) -> None:
        """Takes one frame, which is not to be changed afterwards.

        Raises:
            MaskrtError: an earlier one could not be written.
        """
        if not self._frames.put((frame, name)):
            self._raise()

    def close(self, *, complete: bool = True) -> None:
        """Waits for the frames that are left, and closes the other sink.

        Raises:
            MaskrtError: one of them could not be written.
        """
        if self._closed:
            return
        self._closed = True
        if complete:
            self._frames.end()
        else:
            self._frames.abandon()
        self._thread.join()
        self._sink.close(complete=complete and self._error is None)
        if complete:
            self._raise()

    def _write(self) -> None:
        try:
            while True:
                self._sink.write(*self._frames.get())
        except End:
            pass
        except BaseException as error:  # it belongs to the caller's thread
            self._error = error
            self._frames.abandon()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error
