"""Frames in a window."""

from __future__ import annotations

import contextlib
import os
import sys

import cv2

from maskrt.errors import MaskrtError
from maskrt.runtime.frames import Frame
from maskrt.runtime.sinks import Sink

_ESCAPE = 27


class WindowSink(Sink):
    """A window; ``q``, Esc or its button end it. Only the main thread may write to it.

    Args:
        title: of the window.

    Raises:
        MaskrtError: there is no screen.
    """

    def __init__(self, title: str = "maskrt") -> None:
        # without a screen OpenCV's windows end the whole process
        if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
            raise MaskrtError(
                "--show needs a screen, and neither DISPLAY nor WAYLAND_DISPLAY is set: use --save "
                "or --serve, or log in with a desktop (ssh -X)"
            )
        self._title = title
        self._visible = False

    def write(self, frame: Frame, name: str) -> None:
        """Shows a frame."""
        try:
            cv2.imshow(self._title, frame)
            key = cv2.waitKey(1) & 0xFF
            visible = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) > 0
        except cv2.error as error:
            raise MaskrtError(
                "--show needs a screen, and an OpenCV with windows (opencv-python, not "
                "opencv-python-headless): use --save or --serve instead"
            ) from error
        # some window systems never say that a window is visible
        self.ended |= key in (_ESCAPE, ord("q")) or (self._visible and not visible)
        self._visible |= visible

    def close(self, *, complete: bool = True) -> None:
        """Closes the window."""
        with contextlib.suppress(cv2.error):  # it was never opened, or the user closed it
            cv2.destroyWindow(self._title)
