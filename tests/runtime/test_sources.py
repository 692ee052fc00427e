import os
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from PIL import Image

from maskrt.errors import FrameError, SourceError
from maskrt.runtime import open_source, sources
from maskrt.runtime.uris import masked


def picture(value, size=(24, 32)):
    return np.full((*size, 3), value, np.uint8)


def write_video(path, n=12, fourcc="MJPG", fps=10):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*fourcc), fps, (32, 24))
    assert writer.isOpened()
    for i in range(n):
        writer.write(picture(20 * i % 256))
    writer.release()
    return path


def values(source):
    return [int(frame.mean().round()) for frame in source]


def test_image(tmp_path):
    frame = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), frame)
    for path in (tmp_path / "a.png", str(tmp_path / "a.png"), f"file://{tmp_path}/a.png"):
        with open_source(path) as source:
            assert (source.name, source.fps, source.count, len(source)) == ("a.png", None, 1, 1)
            (found,) = source
            assert (found == frame).all()
            assert len(list(source)) == 1  # again


@pytest.mark.parametrize("name", ["grüße.png", "图像 1.png", "ЁЖ.JPG"])
def test_unicode_paths(tmp_path, name):
    folder = tmp_path / "Ordner ü 夹"
    folder.mkdir()
    Image.new("RGB", (8, 6), (10, 20, 30)).save(folder / name)
    for uri in (folder, folder / name):
        (frame,) = open_source(uri)
        assert frame.shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        (np.full((6, 8), 7, np.uint8), 7),
        (np.full((6, 8, 4), (1, 2, 3, 0), np.uint8), 2),
        (np.full((6, 8, 3), 257 * 9, np.uint16), 9),
    ],
)
def test_other_kinds_of_images_become_bgr(tmp_path, pixels, expected):
    cv2.imwrite(str(tmp_path / "a.png"), pixels)
    (frame,) = open_source(tmp_path / "a.png")
    assert (frame.shape, frame.dtype) == ((6, 8, 3), np.uint8)
    assert frame.mean() == expected


def test_images_are_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.new("RGB", (8, 6)).save(tmp_path / "a.jpg", exif=exif)
    (frame,) = open_source(tmp_path / "a.jpg")
    assert frame.shape == (8, 6, 3)


def test_folder_is_read_in_natural_order(tmp_path):
    for i in (10, 9, 100, 1, 2):
        cv2.imwrite(str(tmp_path / f"img{i}.png"), picture(i))
    cv2.imwrite(str(tmp_path / "IMG3.PNG"), picture(3))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "._img1.png").write_bytes(b"macOS")
    (tmp_path / "folder.png").mkdir()
    source = open_source(tmp_path)
    assert len(source) == source.count == 6
    assert source.name == tmp_path.name
    assert values(source) == [1, 2, 3, 9, 10, 100]


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n"])
def test_unreadable_image_is_named(tmp_path, content):
    cv2.imwrite(str(tmp_path / "a.png"), picture(1))
    (tmp_path / "b.png").write_bytes(content)
    frames = iter(open_source(tmp_path))
    next(frames)
    with pytest.raises(SourceError, match=r"b\.png cannot be decoded"):
        next(frames)


def test_image_that_vanished(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture(1))
    source = open_source(tmp_path)
    os.remove(tmp_path / "a.png")
    with pytest.raises(SourceError, match=r"a\.png cannot be read"):
        list(source)


def test_missing_path_and_empty_folder(tmp_path):
    for missing in (tmp_path / "none.png", str(tmp_path / "none"), "./0"):
        with pytest.raises(SourceError, match="does not exist"):
            open_source(missing)
    with pytest.raises(SourceError, match="holds no images"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("name", "fourcc"), [("a.avi", "MJPG"), ("a.mp4", "mp4v"), ("ü.mkv", "MJPG")]
)
def test_video(tmp_path, name, fourcc):
    with open_source(write_video(tmp_path / name, fourcc=fourcc)) as source:
        assert (source.name, source.fps, source.count) == (name, 10, 12)
        for _ in range(2):
            assert values(source) == pytest.approx([20 * i for i in range(12)], abs=4)
        frames = iter(source)
        next(frames)
        assert len(values(source)) == 12  # starts again though the other was not finished
    source.close()
    with pytest.raises(ValueError, match="closed"):
        list(source)


def test_video_closed_while_it_is_read(tmp_path):
    with open_source(write_video(tmp_path / "a.avi")) as source:
        frames = iter(source)
        next(frames)
        source.close()
        assert list(frames) == []


def test_video_closed_from_another_thread_at_any_time(tmp_path):
    path = write_video(tmp_path / "a.avi", n=200)
    for milliseconds in range(0, 20, 2):
        source = open_source(path)
        frames = iter(source)
        next(frames)
        timer = threading.Timer(milliseconds / 1000, source.close)
        timer.start()
        assert len(list(frames)) < 200  # neither a crash nor "ends after ... frames"
        timer.join()


@pytest.mark.parametrize("content", [b"", b"not a video" * 99])
@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.xyz", "a"])
def test_unreadable_video(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=r"cannot be read as a video.*ffmpeg"):
        open_source(tmp_path / name)


def test_truncated_mp4(tmp_path):
    path = write_video(tmp_path / "a.mp4", fourcc="mp4v")
    path.write_bytes(path.read_bytes()[:-400])  # its index is at its end
    with pytest.raises(SourceError, match="cannot be read as a video"):
        list(open_source(path))


@pytest.mark.parametrize("suffix", ["avi", "mkv"])
def test_truncated_video(tmp_path, suffix):
    path = write_video(tmp_path / f"a.{suffix}", n=60)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    read = []
    with pytest.raises(SourceError, match=r"ends after \d+ of \d+ frames"):
        read.extend(open_source(path))


def test_video_without_a_frame_that_can_be_decoded(monkeypatch, tmp_path):
    class Undecodable:
        def __init__(self, *arguments):
            pass

        def isOpened(self):  # noqa: N802 - OpenCV's name
            return True

        def get(self, what):
            return 0.0

        def read(self):
            return False, None

    (tmp_path / "a.mp4").write_bytes(b"a codec that is missing")
    monkeypatch.setattr(cv2, "VideoCapture", Undecodable)
    with pytest.raises(SourceError, match=r"a\.mp4: not a single frame"):
        list(open_source(tmp_path / "a.mp4"))


def test_arrays():
    (frame,) = open_source(picture(5))
    assert (frame == 5).all()
    assert values(open_source([picture(1), np.full((9, 9), 2, np.uint8)])) == [1, 2]
    source = open_source(np.stack([picture(1), picture(2)]))
    assert (values(source), len(source), source.count) == ([1, 2], 2, 2)
    with pytest.raises(FrameError, match=r"frame 1 of the source: .*cv2\.imread"):
        list(open_source([picture(1), None]))


@pytest.mark.parametrize("uri", [None, "", [], 1.5, True, object()])
def test_what_is_no_source(uri):
    with pytest.raises(SourceError, match="expected"):
        open_source(uri)


def test_schemes(monkeypatch):
    with pytest.raises(SourceError, match=r"expected a path, .* file://.* csi://") as raised:
        open_source("nonsense://user:secret@0")
    assert "secret" not in str(raised.value)
    monkeypatch.setitem(
        sources.SCHEMES, "twice", lambda rest: open_source([picture(int(rest))] * 2)
    )
    assert values(open_source("TWICE://9")) == [9, 9]


def test_frame_names(tmp_path):
    for name in ("b c.png", "a.jpg"):
        cv2.imwrite(str(tmp_path / name), picture(1))
    folder = open_source(tmp_path)
    assert [folder.frame_name(i) for i in range(2)] == ["a.jpg", "b c.png"]
    video = open_source(write_video(tmp_path / "my street.avi"))
    assert video.frame_name(42) == "my_street_000042"
    assert open_source(picture(1)).frame_name(0) == "array_000000"


def test_repr(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture(1))
    assert repr(open_source(tmp_path / "a.png")) == "<ImageSource 'a.png', 1 frames>"


def test_secrets_are_masked():
    for address, shown in {
        "rtsp://me:secret@10.0.0.5:554/a": "rtsp://***@10.0.0.5:554/a",
        "rtsp://me:s/ec@ret@host/a": "rtsp://***@host/a",
        "http://host/a?user=me&Password=secret&b=1": "http://host/a?user=me&Password=***&b=1",
        "rtspsrc location=rtsp://me:secret@h user-pw=secret ! x": (
            "rtspsrc location=rtsp://***@h user-pw=*** ! x"
        ),
        "rtsp://host/a": "rtsp://host/a",
        "photos/me@home.jpg": "photos/me@home.jpg",
    }.items():
        assert masked(address) == shown


def test_importing_the_package_is_cheap():
    code = (
        "import sys, maskrt.runtime as r\n"
        "first = {'cv2', 'torch', 'onnx', 'onnxruntime', 'supervision'} & set(sys.modules)\n"
        "r.Detector, r.Detections, r.open_source\n"
        "later = {'torch', 'onnx', 'onnxruntime', 'supervision'} & set(sys.modules)\n"
        "assert not first and not later, (first, later)\n"
        "assert {'Detector', 'Detections', 'open_source'} <= set(dir(r))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
