"""The example programs, each run as a user would; the one for pycuda: tests/simulated."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.request

import cv2
import pytest

ROOM = 25
"""Lines of code that a camera app may take."""


@pytest.fixture(scope="module")
def model(canonical):
    return str(canonical("mask_rcnn"))


def app(name, *arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", f"maskrt.examples.{name}", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def test_camera(model, tmp_path):
    out = tmp_path / "out.mp4"
    done = app("camera", model, "synthetic://320x240?frames=12", out)
    said, errors = done.communicate(timeout=120)
    assert done.returncode == 0, errors
    assert len(said.splitlines()) == 12
    capture = cv2.VideoCapture(str(out))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    capture.release()


def test_a_camera_app_is_short():
    from maskrt.examples import camera

    with open(camera.__file__, encoding="utf-8") as file:
        code = file.read().split('"""', 2)[2]
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= ROOM


def test_headless(model):
    source = "synthetic://320x240?fps=30"
    running = app("headless", model, source, "--address", "127.0.0.1:0", "--every", "0.2")
    try:
        url = running.stderr.readline().split()[-1]
        lines = [json.loads(running.stdout.readline()) for _ in range(3)]
        assert [line["frame"] for line in lines] == sorted(line["frame"] for line in lines)
        assert all(line["fps"] > 0 for line in lines)
        with urllib.request.urlopen(url + "snapshot.jpg", timeout=10) as answer:
            assert answer.read(2) == b"\xff\xd8"  # a JPEG
        running.send_signal(signal.SIGTERM)
        _, errors = running.communicate(timeout=30)
        assert errors.split() == ["ended"]
        assert running.returncode == 0
    finally:
        running.kill()


def test_headless_says_what_is_wrong(model):
    done = app("headless", model, "nowhere.mp4", "--address", "127.0.0.1:0")
    _, errors = done.communicate(timeout=60)
    assert done.returncode == 1
    assert "nowhere.mp4 does not exist" in errors
    assert "Traceback" not in errors


@pytest.mark.slow(reason="cameras in one batch; the runtime tests have them")
def test_several_cameras(canonical, tmp_path):
    model = canonical("mask_rcnn", (1, 3))
    sources = [f"synthetic://320x240?frames={n}&seed={n}" for n in (5, 3)]
    started = time.monotonic()
    done = app("multi_camera", model, *sources, "--save", tmp_path / "out")
    said, errors = done.communicate(timeout=120)
    assert done.returncode == 0, (errors, time.monotonic() - started)
    assert [line.split(": ")[1].split(",")[0] for line in said.splitlines()] == [
        "5 frames",
        "3 frames",
    ]
    assert len(list((tmp_path / "out").iterdir())) == 8
