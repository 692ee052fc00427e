"""Cameras by a stand-in for OpenCV's capture; that OpenCV can open real ones is not tested here."""

from __future__ import annotations

import logging
import math
import threading
import time

import cv2
import numpy as np
import pytest

from maskrt.errors import SourceError
from maskrt.runtime import cameras, open_source
from maskrt.runtime.cameras import CameraSource
from maskrt.runtime.capture import Capture
from maskrt.runtime.mjpeg import MjpegSink

PICTURE = np.full((24, 32, 3), 7, np.uint8)


class FakeCapture:
    """What ``cv2.VideoCapture`` does, as ``script`` says: frames that each connection gives.

    None in the script: it cannot be opened. Behind its end nothing can.
    """

    script: list[int | None]
    opened: list[FakeCapture]
    refuses = ()
    frame_count = 0.0
    rate = 30.0

    def __init__(self, what=None, backend=cv2.CAP_ANY, parameters=()):
        self.what, self.backend, self.parameters = what, backend, parameters
        left = self.script.pop(0) if self.script else None
        self.is_open, self.left, self.given = left is not None, left or 0, {}
        self.released = False
        self.opened.append(self)

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.is_open

    def get(self, what):
        known = {cv2.CAP_PROP_FPS: self.rate, cv2.CAP_PROP_FRAME_COUNT: self.frame_count}
        assert not self.released
        return self.given.get(what, known.get(what, 0.0))

    def set(self, what, value):
        if what not in self.refuses:
            self.given[what] = float(value)
        return True

    def read(self):
        assert not self.released  # OpenCV may crash
        self.left -= 1
        return (True, PICTURE) if self.left >= 0 else (False, None)

    def release(self):
        self.is_open, self.released = False, True


@pytest.fixture
def fake(monkeypatch):
    class Fake(FakeCapture):
        script, opened = [3], []

    monkeypatch.setattr(cv2, "VideoCapture", Fake)
    monkeypatch.setattr(cameras, "check_available", lambda: None)
    return Fake


def camera(patience=0.2, waits=(0.001, 0.004)):
    return CameraSource(
        "camera 1", lambda: Capture(1), advice="look", patience=patience, waits=waits
    )


def take(source, number):
    frames = iter(source)
    return [next(frames).mean() for _ in range(number)]


@pytest.mark.parametrize("uri", [2, "2", np.int64(2)])
def test_number(fake, uri):
    with open_source(uri) as source:
        assert (source.name, source.fps, source.count, source.live) == ("camera 2", 30, None, True)
        assert source.patience == cameras.LOCAL_PATIENCE
        assert source.frame_name(1234567) == "camera_2_1234567"
        with pytest.raises(TypeError):
            len(source)
        assert take(source, 3) == [7, 7, 7]
    assert fake.opened[0].what == 2
    assert not fake.opened[0].is_open
    with pytest.raises(ValueError, match="closed"):
        next(iter(source))


def test_a_camera_that_is_not_there(fake):
    fake.script = []
    with pytest.raises(SourceError, match="camera 7 cannot be opened: check"):
        open_source("7")
    with pytest.raises(SourceError, match="0 or more"):
        open_source(-1)


def test_a_camera_that_never_gives_a_frame(fake):
    fake.script = [0, 5]
    with pytest.raises(SourceError, match="was opened, but gives no frames: look"):
        next(iter(camera()))
    assert len(fake.opened) == 1  # nothing that was lost


def test_a_lost_camera_comes_back(fake, caplog):
    fake.script = [2, None, 0, 3, 1]  # cannot be opened, then opens without a frame
    source = camera()
    assert len(take(source, 5)) == 5
    assert source.reconnects == 1
    assert [capture.is_open for capture in fake.opened] == [False, False, False, True]
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert "camera 1 gives no frames any more" in caplog.messages[0]
    assert "camera 1 gives frames again" in caplog.messages[1]
    take(source, 1)
    assert source.reconnects == 2


def test_patience_ends(fake):
    fake.script = [1]
    source, started = camera(), time.monotonic()
    with pytest.raises(SourceError, match=r"\d+ attempts to connect again have failed in 0\.2 s"):
        take(source, 2)
    assert 0.2 <= time.monotonic() - started < 2
    fake.script = [None, 1]  # iterating again goes on
    assert len(take(source, 1)) == 1


def test_pauses_double_up_to_the_longest(fake):
    class Clock:
        def __init__(self):
            self.pauses = []

        def is_set(self):
            return False

        def wait(self, seconds):
            self.pauses.append(seconds)
            return False

    fake.script = [1, *[None] * 6, 1]
    source = camera(patience=math.inf, waits=(0.5, 10))
    source._closed = Clock()
    take(source, 2)
    assert source._closed.pauses == [0.5, 1, 2, 4, 8, 10, 10]


def test_closing_ends_the_waiting(fake):
    fake.script = [1]
    source, read = camera(patience=60, waits=(60, 60)), []
    thread = threading.Thread(target=lambda: read.extend(source))
    thread.start()
    while not read:
        time.sleep(0.001)
    time.sleep(0.02)
    started = time.monotonic()
    source.close()
    thread.join(10)
    assert not thread.is_alive()
    assert time.monotonic() - started < 1
    assert len(read) == 1


def test_closed_while_it_is_connected_again(fake):
    source = camera()

    def connect():
        source.close()
        return Capture(1)

    fake.script = [5]
    source._connect = connect
    assert len(list(source)) == 3
    assert not fake.opened[-1].is_open


def test_a_read_under_way_is_not_released(fake, monkeypatch):
    """The thread that reads releases, after the read; who closes does not wait for it."""
    reading, go_on = threading.Event(), threading.Event()

    def read(self):
        reading.set()
        assert go_on.wait(10)
        assert self.is_open
        return True, PICTURE

    monkeypatch.setattr(fake, "read", read)
    source, frames = camera(), []
    thread = threading.Thread(target=lambda: frames.extend(source))
    thread.start()
    assert reading.wait(10)
    source.close()
    assert fake.opened[0].is_open
    go_on.set()
    thread.join(10)
    assert not fake.opened[0].is_open
    assert frames == []  # what came after closing is not given


@pytest.mark.parametrize(("rate", "fps"), [(25, 25), (0, None), (90000, None), (math.nan, None)])
def test_rates_that_are_none(fake, rate, fps):
    fake.rate = rate
    assert open_source(0).fps == fps


def test_v4l2(fake, caplog):
    with open_source("v4l2:///dev/video3?width=1280&height=720&fps=15&format=mjpg") as source:
        assert (source.name, source.fps) == ("/dev/video3", 15)
        assert source.frame_name(5) == "dev_video3_000005"
    (capture,) = fake.opened
    assert (capture.what, capture.backend) == ("/dev/video3", cv2.CAP_V4L2)
    assert list(capture.given.items()) == [
        (cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG")),
        (cv2.CAP_PROP_FRAME_WIDTH, 1280),
        (cv2.CAP_PROP_FRAME_HEIGHT, 720),
        (cv2.CAP_PROP_FPS, 15),
    ]
    assert caplog.messages == []


def test_v4l2_without_options_changes_nothing(fake):
    open_source("v4l2:///dev/video0")
    assert fake.opened[0].given == {}


def test_v4l2_warns_of_what_it_did_not_get(fake, caplog):
    fake.refuses = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FOURCC)
    open_source("v4l2:///dev/video0?width=1280&height=720&format=YUYV")
    assert len(caplog.messages) == 2
    assert "asked for format=YUYV, the camera gives ;" in caplog.messages[0]
    assert "asked for width=1280, the camera gives 0;" in caplog.messages[1]


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("v4l2://video0", r"found the device 'video0', expected a path"),
        ("v4l2:///dev/video0?size=3", "'size' of a source, expected one of format, width"),
        ("v4l2:///dev/video0?width=0", "found '0' .* from 1 to 65535"),
        ("v4l2:///dev/video0?width=1e3", "found '1e3'"),
        ("v4l2:///dev/video0?width", "found ''"),
        ("v4l2:///dev/video0?width=1&width=2", "twice"),
        ("v4l2:///dev/video0?format=MJPEG", "four letters"),
        ("csi://", "found the camera ''"),
        ("csi://-1", "found the camera '-1'"),
        ("csi://0 ! filesink", "found the camera '0 ! filesink'"),
        ("csi://0?flip=8", "from 0 to 7"),
        ("csi://0?width=1 ! filesink location=x", "expected a whole number"),
        ("csi://0?sensor=1", "expected one of width, height, fps, flip"),
        ("gst://videotestsrc", "expected an appsink"),
        ("rtsp://", "expected rtsp://HOST/PATH"),
        ("rtsp:///path", "expected rtsp://HOST/PATH"),
        ("http://host/a b", "with %20 for blanks"),
    ],
)
def test_unusable_addresses(fake, uri, message):
    with pytest.raises(SourceError, match=message):
        open_source(uri)
    assert fake.opened == []


def test_csi(fake):
    source = open_source("csi://1?width=1280&height=720&flip=2")
    assert (source.name, source.live) == ("csi 1", True)
    (capture,) = fake.opened
    assert capture.backend == cv2.CAP_GSTREAMER
    assert capture.what.startswith("nvarguscamerasrc sensor-id=1 ! ")
    assert "width=1280, height=720, framerate=30/1" in capture.what
    assert "flip-method=2" in capture.what


@pytest.mark.parametrize("prefix", ["gst:", "gst://", "GST:"])
def test_pipelines(fake, prefix):
    pipeline = "rtspsrc location=rtsp://me:secret@h ! x ! appsink drop=true"
    source = open_source(prefix + pipeline)
    assert (source.name, source.live) == ("GStreamer pipeline", True)
    assert (fake.opened[0].what, fake.opened[0].backend) == (pipeline, cv2.CAP_GSTREAMER)
    fake.script = []
    with pytest.raises(SourceError, match="cannot be opened") as raised:
        open_source(prefix + pipeline)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("scheme", ["rtsp", "rtsps", "http", "https", "RTSP"])
def test_network(fake, scheme, caplog):
    url = f"{scheme.lower()}://me:s3cret@10.0.0.5:554/cam?channel=1&subtype=0"
    source = open_source(url.replace(scheme.lower(), scheme, 1))
    assert (source.live, source.patience) == (True, cameras.NETWORK_PATIENCE)
    assert source.name == f"{scheme.lower()}://***@10.0.0.5:554/cam?channel=1&subtype=0"
    assert source.frame_name(3) == f"{scheme.lower()}_10.0.0.5_554_cam_channel_1_subtype_0_000003"
    (capture,) = fake.opened  # opened once, not twice
    assert (capture.what, capture.backend) == (url, cv2.CAP_FFMPEG)
    limits = dict(zip(capture.parameters[::2], capture.parameters[1::2], strict=True))
    assert limits == {
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC: 10000,
        cv2.CAP_PROP_READ_TIMEOUT_MSEC: 10000,
    }
    source.patience, source._waits = 0.01, (0.001, 0.001)
    with pytest.raises(SourceError, match="gives no frames any more") as raised:
        list(source)
    fake.script = []
    with pytest.raises(SourceError, match="cannot be opened") as unopened:
        open_source(url)
    told = [*caplog.messages, str(raised.value), str(unopened.value), repr(source)]
    assert len(told) == 4
    assert not any("s3cret" in text for text in told)


def test_a_film_over_http_has_an_end(fake):
    fake.script, fake.frame_count = [3, 3], 3.0
    with open_source("http://host/street.mp4") as source:
        assert (source.live, source.count) == (False, 3)
        assert source.frame_name(1) == "street_000001"
        assert len(list(source)) == 3
        assert len(fake.opened) == 1
        assert len(list(source)) == 3  # from its beginning
        assert len(fake.opened) == 2


def test_rtsp_is_live_whatever_length_it_claims(fake):
    fake.frame_count = 99.0
    assert open_source("rtsp://host/a").live


def test_a_real_stream_ends_and_comes_back():
    """By OpenCV's own reader, from maskrt's own server."""
    end = threading.Event()

    def serve(sink):
        with sink:
            while not end.wait(0.005):
                sink.write(PICTURE, "")

    def start(port):
        end.clear()
        sink = MjpegSink(port=port)
        thread = threading.Thread(target=serve, args=(sink,))
        thread.start()
        return sink, thread

    sink, thread = start(0)
    source = open_source(f"{sink.url}stream.mjpg")
    source._waits = (0.01, 0.01)
    frames = iter(source)
    try:
        assert next(frames).shape == PICTURE.shape
        end.set()
        thread.join()
        _, thread = start(sink.port)
        while not source.reconnects:  # it has a few frames of before
            assert next(frames).shape == PICTURE.shape
    finally:
        source.close()
        end.set()
        thread.join()
    assert (source.live, source.reconnects) == (True, 1)
