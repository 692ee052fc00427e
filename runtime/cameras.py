"""Cameras and live streams: local devices, the network, GStreamer pipelines.

All of them are opened by OpenCV; what differs is the backend, and what it needs to be told.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import cv2

from maskrt.errors import SourceError
from maskrt.runtime.capture import Capture
from maskrt.runtime.frames import Frame
from maskrt.runtime.gstreamer import check_available, check_pipeline, csi_pipeline
from maskrt.runtime.source import Source
from maskrt.runtime.stored import VideoSource
from maskrt.runtime.uris import masked, options_of

LOCAL_PATIENCE, NETWORK_PATIENCE = 10.0, 60.0
"""Seconds; a network camera that starts anew needs most of a minute."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 10.0
"""Seconds before the first attempt to connect again, which double up to the longest."""
NETWORK_TIMEOUT = 10.0
"""Seconds after which opening, or a read, of a network stream counts as failed."""

_SIDE, _FPS = range(1, 65536), range(1, 1001)
_V4L2_EXAMPLE = "v4l2:///dev/video0?width=1280&height=720&fps=30&format=MJPG"
_V4L2_OPTIONS: dict[str, range | re.Pattern[str]] = {
    # in the order in which a camera has to be told: the format decides about the sizes, and so on
    "format": re.compile(r"[A-Za-z0-9]{4}", re.ASCII),
    "width": _SIDE,
    "height": _SIDE,
    "fps": _FPS,
}
_V4L2_PROPERTIES = {
    "format": cv2.CAP_PROP_FOURCC,
    "width": cv2.CAP_PROP_FRAME_WIDTH,
    "height": cv2.CAP_PROP_FRAME_HEIGHT,
    "fps": cv2.CAP_PROP_FPS,
}
_CSI_EXAMPLE = "csi://0?width=1920&height=1080&fps=30&flip=2"
_CSI_OPTIONS = {"width": _SIDE, "height": _SIDE, "fps": _FPS, "flip": range(8)}
_log = logging.getLogger("maskrt")


class CameraSource(Source):
    """A camera or a live stream. Endless.

    When frames stop coming it is connected again, after pauses that grow; each loss and each return
    is told to the logger ``maskrt``. Frames may have another size afterwards.

    Args:
        name: for messages and file names; without secrets.
        connect: opens it.
        advice: what to check when that fails.
        patience: seconds that a lost camera is tried to be connected again.
        waits: seconds before the first attempt, which double up to the longest.

    Attributes:
        patience: as above; may be changed, ``math.inf`` for ever.
        reconnects: how often it was lost and came back.

    Raises:
        SourceError: it cannot be opened. While iterating: it gives no frames, or none any more.
    """

    live = True

    def __init__(
        self,
        name: str,
        connect: Callable[[], Capture],
        *,
        advice: str,
        patience: float = LOCAL_PATIENCE,
        waits: tuple[float, float] = (FIRST_WAIT, LONGEST_WAIT),
    ) -> None:
        self.name = name
        self.patience = patience
        self.reconnects = 0
        self._connect = connect
        self._advice = advice
        self._waits = waits
        self._seen = False  # a frame, ever
        self._closed = threading.Event()
        self._capture = connect()
        if not self._capture.opened:
            raise SourceError(f"{name} cannot be opened: {advice}")
        self.fps = self._capture.fps

    def __iter__(self) -> Iterator[Frame]:
        if self._closed.is_set():
            raise ValueError(f"{self.name}: the source is closed")
        while not self._closed.is_set():
            frame = self._capture.read()
            if frame is None and not self._closed.is_set():
                frame = self._connect_again()
            if frame is None:
                return
            self._seen = True
            yield frame

    def _connect_again(self) -> Frame | None:
        """The first frame after a loss; None: it was closed meanwhile."""
        if not self._seen:
            raise SourceError(f"{self.name} was opened, but gives no frames: {self._advice}")
        _log.warning(
            "%s gives no frames any more; connecting again, for up to %g s",
            self.name,
            self.patience,
        )
        lost, attempts, (wait, longest) = time.monotonic(), 0, self._waits
        self._capture.close()  # a device has to be free before it can be opened
        while (left := lost + self.patience - time.monotonic()) > 0:
            if self._closed.wait(min(wait, left)):
                return None
            wait, attempts = min(2 * wait, longest), attempts + 1
            self._capture = self._connect()
            frame = self._capture.read()
            if self._closed.is_set():  # it may have closed the capture before this one
                self._capture.close()
                return None
            if frame is not None:
                self.reconnects += 1
                seconds = time.monotonic() - lost
                _log.warning("%s gives frames again, after %.1f s", self.name, seconds)
                return frame
            self._capture.close()
        raise SourceError(
            f"{self.name} gives no frames any more, and {attempts} attempts to connect again have "
            f"failed in {self.patience:g} s: {self._advice}"
        )

    def frame_name(self, index: int) -> str:
        """The camera's name as a file name, and the frame's number."""
        # addresses hold characters that some file systems do not take
        return f"{re.sub(r'[^0-9A-Za-z.-]+', '_', self.name)[:80].strip('_')}_{index:06d}"

    def close(self) -> None:
        """Gives the camera back, and ends waiting for a lost one.

        Closing twice is fine; iterating afterwards is a ValueError.
        """
        self._closed.set()
        self._capture.close()


def open_number(index: int) -> Source:
    """A camera by OpenCV's number.

    Raises:
        SourceError: there is none.
    """
    if index < 0:
        raise SourceError(f"found the camera number {index}, expected 0 or more")
    return CameraSource(
        f"camera {index}",
        lambda: Capture(index),
        advice="check that it is plugged in, that no other program uses it, and that you may read "
        "it (on Linux: ls -l /dev/video*, and be in the group 'video'); other cameras have other "
        "numbers",
    )


def open_v4l2(rest: str) -> Source:
    """A camera of Linux by its device: ``/dev/video0?width=…&height=…&fps=…&format=…``.

    Raises:
        SourceError: there is none, or an option is wrong.
    """
    device, options = options_of(rest, _V4L2_OPTIONS, example=_V4L2_EXAMPLE)
    if not device.startswith("/"):
        raise SourceError(f"found the device {device!r}, expected a path, as in {_V4L2_EXAMPLE}")

    def connect() -> Capture:
        capture = Capture(device, cv2.CAP_V4L2)
        if capture.opened:
            _configure(capture, device, options)
        return capture

    return CameraSource(
        device,
        connect,
        advice="check that it is plugged in (v4l2-ctl --list-devices), that no other program uses "
        "it, and that you may read it (ls -l /dev/video*; be in the group 'video'); many cameras "
        "have several devices, of which one gives pictures",
    )


def open_csi(rest: str) -> Source:
    """A CSI camera on Jetson: ``0?width=…&height=…&fps=…&flip=…``.

    Raises:
        SourceError: there is none, an option is wrong, or OpenCV has no GStreamer.
    """
    sensor, options = options_of(rest, _CSI_OPTIONS, example=_CSI_EXAMPLE)
    if not re.fullmatch(r"\d{1,2}", sensor, re.ASCII):
        raise SourceError(f"found the camera {sensor!r}, expected a number, as in {_CSI_EXAMPLE}")
    pipeline = csi_pipeline(int(sensor), **options)
    check_available()
    return CameraSource(
        f"csi {int(sensor)}",
        lambda: Capture(pipeline, cv2.CAP_GSTREAMER),
        advice="check its cable, that no other program uses it, and that the camera's service runs "
        "(sudo systemctl restart nvargus-daemon); GStreamer alone tells more: gst-launch-1.0 "
        f"nvarguscamerasrc sensor-id={int(sensor)} num-buffers=30 ! fakesink",
    )


def open_pipeline(pipeline: str) -> Source:
    """Any GStreamer pipeline that ends with an appsink.

    Raises:
        SourceError: it cannot be opened, or OpenCV has no GStreamer.
    """
    pipeline = check_pipeline(pipeline)
    check_available()
    return _open_stream(
        "GStreamer pipeline",
        masked(pipeline),
        lambda: Capture(pipeline, cv2.CAP_GSTREAMER),
        advice=f"try it with gst-launch-1.0, and fakesink for appsink; found {masked(pipeline)}",
    )


def open_network(url: str) -> Source:
    """A stream over RTSP or HTTP. What has a known length over HTTP is a video, not a camera.

    Raises:
        SourceError: it cannot be opened.
    """
    scheme, _, rest = url.partition("://")
    name = masked(url)
    if not re.match(r"[^/?#]", rest) or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise SourceError(
            f"found the address {name!r}, expected {scheme}://HOST/PATH or "
            f"{scheme}://USER:PASSWORD@HOST:PORT/PATH, with %20 for blanks"
        )
    milliseconds = int(NETWORK_TIMEOUT * 1000)
    limits = (
        *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, milliseconds),
        *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, milliseconds),
    )

    def connect() -> Capture:
        return Capture(url, cv2.CAP_FFMPEG, limits)

    advice = (
        "check that the host can be reached, the user and the password (special characters as "
        f"%XX), and the path; ffplay '{name}' tells more"
    )
    if scheme.startswith("rtsp"):  # some cameras claim a length
        return CameraSource(name, connect, advice=advice, patience=NETWORK_PATIENCE)
    return _open_stream(name, name, connect, advice=advice)


def _open_stream(name: str, where: str, connect: Callable[[], Capture], *, advice: str) -> Source:
    """A video if it has a known length, which is not to be begun again at its end; or a camera."""
    first = [connect()]

    def next_capture() -> Capture:
        return first.pop() if first else connect()

    if first[0].opened and first[0].count is not None:
        return VideoSource(name, where, next_capture)
    return CameraSource(name, next_capture, advice=advice, patience=NETWORK_PATIENCE)


def _configure(capture: Capture, device: str, options: dict[str, Any]) -> None:
    """Asks for what is wanted, and warns of what the camera gives instead."""
    wanted = {name: options[name] for name in _V4L2_OPTIONS if name in options}
    for name, value in wanted.items():
        code = cv2.VideoWriter.fourcc(*value.upper()) if name == "format" else value
        capture.set(_V4L2_PROPERTIES[name], code)
    # only then: what comes later may change what came before
    for name, value in wanted.items():
        given = capture.get(_V4L2_PROPERTIES[name])
        text = _letters(int(given)) if name == "format" else f"{given:g}"
        if text != str(value).upper():
            _log.warning(
                "%s: asked for %s=%s, the camera gives %s; v4l2-ctl -d %s --list-formats-ext lists "
                "what it can do",
                *(device, name, value, text, device),
            )


def _letters(code: int) -> str:
    return code.to_bytes(4, "little", signed=code < 0).decode("latin-1").strip("\0 ")
