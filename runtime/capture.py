"""OpenCV's video capture, made safe to close from another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import cv2

from maskrt.runtime.frames import Frame, to_bgr

T = TypeVar("T")
FASTEST = 1000.0
"""Frames per second from which on a rate is none: streams without one claim 1000 or 90000."""


class Capture:
    """A ``cv2.VideoCapture``.

    OpenCV crashes when a capture is released while another thread reads from it. Here, closing
    leaves the release to the thread that reads, and does not wait for it.

    Args:
        what: a device's number, a path, a URL or a pipeline.
        backend: one of ``cv2.CAP_*``.
        parameters: property, value, property, value, and so on, that the backend needs to open it.
    """

    def __init__(
        self, what: str | int, backend: int = cv2.CAP_ANY, parameters: Sequence[int] = ()
    ) -> None:
        self._turn = threading.Lock()  # of those who use the capture
        self._state = threading.Lock()  # of the two below; never held for long
        self._busy = self._closed = False
        try:
            if parameters:
                self._capture = cv2.VideoCapture(what, backend, list(parameters))
            else:
                self._capture = cv2.VideoCapture(what, backend)
        except cv2.error:  # if OpenCV was set to raise
            self._capture = cv2.VideoCapture()

    @property
    def opened(self) -> bool:
        """Whether there is something to read from."""
        return self._use(lambda capture: capture.isOpened(), False)

    @property
    def fps(self) -> float | None:
        """Frames per second; None where that is not known."""
        fps = self.get(cv2.CAP_PROP_FPS)
        return fps if 0 < fps < FASTEST else None  # false for NaN, too

    @property
    def count(self) -> int | None:
        """Frames in all, as claimed; None where that is not known."""
        count = self.get(cv2.CAP_PROP_FRAME_COUNT)
        return int(count) if 0 < count < 2**53 else None

    def get(self, what: int) -> float:
        """A property, one of ``cv2.CAP_PROP_*``; 0 where there is none."""
        return self._use(lambda capture: capture.get(what), 0.0)

    def set(self, what: int, value: float) -> None:
        """Asks for a property; what came of it, ``get`` tells."""
        self._use(lambda capture: capture.set(what, value), False)

    def read(self) -> Frame | None:
        """The next frame, uint8 ``[H, W, 3]``; None: there is none, or it was closed."""
        missing: tuple[bool, Any] = (False, None)
        ok, image = self._use(lambda capture: capture.read(), missing)
        return to_bgr(image) if ok and not self._closed else None

    def close(self) -> None:
        """Lets go of it, at the latest when the read that is under way returns."""
        with self._state:
            self._closed = True
            if not self._busy:
                self._capture.release()

    def _use(self, call: Callable[[cv2.VideoCapture], T], otherwise: T) -> T:
        with self._turn:
            with self._state:
                if self._closed:
                    return otherwise
                self._busy = True
            try:
                return call(self._capture)
            except cv2.error:  # as above
                return otherwise
            finally:
                with self._state:
                    self._busy = False
                    if self._closed:
                        self._capture.release()
