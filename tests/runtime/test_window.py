"""The window by a stand-in for OpenCV's: tests have no screen."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from maskrt.errors import MaskrtError
from maskrt.runtime.window import WindowSink

FRAME = np.zeros((24, 32, 3), np.uint8)


class Screen:
    def __init__(self):
        self.key, self.visible, self.shown, self.gone = -1, 1.0, [], []

    def put_in_place(self, monkeypatch):
        monkeypatch.setenv("DISPLAY", ":0")
        monkeypatch.setattr(cv2, "imshow", lambda title, frame: self.shown.append(title))
        monkeypatch.setattr(cv2, "waitKey", lambda milliseconds: self.key)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda title, what: self.visible)
        monkeypatch.setattr(cv2, "destroyWindow", self.gone.append)


@pytest.fixture
def screen(monkeypatch):
    screen = Screen()
    screen.put_in_place(monkeypatch)
    return screen


@pytest.mark.parametrize("key", [ord("q"), 27, 27 | 0x100000])  # GTK adds bits for NumLock
def test_keys_end_it(screen, key):
    with WindowSink("title") as sink:
        for pressed in (-1, ord("x")):
            screen.key = pressed
            sink.write(FRAME, "")
            assert not sink.ended
        screen.key = key
        sink.write(FRAME, "")
        assert sink.ended
        screen.key = -1
        sink.write(FRAME, "")
        assert sink.ended
    assert screen.shown == ["title"] * 4
    assert screen.gone == ["title"]


def test_its_button_ends_it(screen):
    sink = WindowSink()
    sink.write(FRAME, "")
    screen.visible = 0.0
    sink.write(FRAME, "")
    assert sink.ended


def test_a_window_system_that_never_says_visible(screen):
    screen.visible = -1.0
    sink = WindowSink()
    for _ in range(3):
        sink.write(FRAME, "")
    assert not sink.ended


def test_no_screen(monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(MaskrtError, match="--show needs a screen, and neither DISPLAY"):
        WindowSink()


def test_an_opencv_without_windows(screen, monkeypatch):
    def missing(*arguments):
        raise cv2.error("The function is not implemented")

    monkeypatch.setattr(cv2, "imshow", missing)
    monkeypatch.setattr(cv2, "destroyWindow", missing)
    with pytest.raises(MaskrtError, match="an OpenCV with windows"), WindowSink() as sink:
        sink.write(FRAME, "")
