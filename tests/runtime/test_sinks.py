from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from maskrt.errors import MaskrtError
from maskrt.runtime.sinks import (
    FolderSink,
    ImageSink,
    Sink,
    VideoSink,
    WritingThread,
    open_sink,
)

FRAME = np.full((48, 64, 3), 90, np.uint8)


def test_kinds(tmp_path):
    assert isinstance(open_sink(tmp_path / "a.png", single=True), ImageSink)
    assert isinstance(open_sink(tmp_path / "folder"), FolderSink)
    assert isinstance(open_sink(tmp_path), FolderSink)
    with open_sink(tmp_path / "a.MP4") as video:
        assert isinstance(video, VideoSink)
        assert not video.ended
    for name, message in (("a.txt", "found the suffix '.txt'"), ("a.png", "name a folder")):
        with pytest.raises(MaskrtError, match=message):
            open_sink(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_image(tmp_path):
    with open_sink(tmp_path / "a.png", single=True) as sink:
        sink.write(FRAME, "x")
        with pytest.raises(MaskrtError, match="several frames"):
            sink.write(FRAME, "y")
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "a.png")), FRAME)


def test_folder_keeps_names(tmp_path):
    with open_sink(tmp_path / "new" / "out") as sink:
        for name in ("photo.JPG", "video frame 3", "b.png"):
            sink.write(FRAME, name)
    written = sorted(p.name for p in (tmp_path / "new" / "out").iterdir())
    assert written == ["b.png", "photo.JPG", "video frame 3.png"]


@pytest.mark.parametrize("suffix", ["mp4", "avi", "mkv"])
def test_video(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    with open_sink(path, fps=12.5) as sink:
        for _ in range(5):
            sink.write(FRAME, "")
        assert not path.exists()
    video = cv2.VideoCapture(str(path))
    assert video.get(cv2.CAP_PROP_FPS) == pytest.approx(12.5)
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 5


def fill(path, error=None, frames=(FRAME,)):
    with open_sink(path) as sink:
        for frame in frames:
            sink.write(frame, "")
        if error:
            raise error


def test_a_failed_video_leaves_nothing(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError):
        fill(path, RuntimeError())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_stopped_video_is_kept(tmp_path):
    path = tmp_path / "a.mp4"
    with pytest.raises(KeyboardInterrupt):
        fill(path, KeyboardInterrupt())
    assert int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT)) == 1


def test_video_frames_of_other_sizes(tmp_path):
    with pytest.raises(MaskrtError, match="found a frame of 32x24 in a video of 64x48"):
        fill(tmp_path / "a.mp4", frames=(FRAME, FRAME[::2, ::2]))
    assert list(tmp_path.iterdir()) == []


class Kept(Sink):
    """Keeps what it is given; writing and closing can be made to fail."""

    def __init__(self, fail_at=None, gate=None):
        self.written, self.closed = [], []
        self.fail_at, self.gate = fail_at, gate

    def write(self, frame, name):
        if self.gate:
            self.gate.wait(5)
        if len(self.written) == self.fail_at:
            raise MaskrtError("the disk is full")
        self.written.append(name)

    def close(self, *, complete=True):
        self.closed.append(complete)


def test_a_writing_thread_writes_everything_in_order():
    kept = Kept()
    with WritingThread(kept, depth=2) as sink:
        for i in range(50):
            sink.write(FRAME, str(i))
    assert kept.written == [str(i) for i in range(50)]
    assert kept.closed == [True]
    sink.close()
    assert kept.closed == [True]


def test_a_writing_thread_tells_what_failed():
    kept = Kept(fail_at=2)
    sink = WritingThread(kept, depth=1)

    def use():
        with sink:
            for i in range(100):
                sink.write(FRAME, str(i))

    with pytest.raises(MaskrtError, match="the disk is full"):
        use()
    assert kept.written == ["0", "1"]
    assert kept.closed == [False]


def test_the_last_frame_fails():
    gate = threading.Event()
    kept = Kept(fail_at=0, gate=gate)
    sink = WritingThread(kept)
    sink.write(FRAME, "0")
    gate.set()
    with pytest.raises(MaskrtError, match="the disk is full"):
        sink.close()
    assert kept.closed == [False]


def test_an_error_of_the_caller_leaves_nothing_to_write():
    gate = threading.Event()
    kept = Kept(gate=gate)
    sink = WritingThread(kept, depth=8)

    def use():
        with sink:
            for i in range(5):
                sink.write(FRAME, str(i))
            gate.set()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()
    assert kept.closed == [False]
    assert len(kept.written) <= 5
