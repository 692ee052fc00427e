"""``maskrt run`` from unusual sources, and where it shows what it finds."""

from __future__ import annotations

import argparse
import json
import re
import urllib.request

import pytest

from maskrt.cli import main
from maskrt.commands import run as command
from maskrt.runtime import mjpeg, window
from maskrt.runtime.sinks import Sink

SOURCE = "synthetic://256x192?frames=3"


@pytest.fixture
def run(canonical):
    path = canonical("mask_rcnn")
    return lambda *arguments: main(["run", str(path), "--threads", "1", *map(str, arguments)])


class Screen(Sink):
    """A window whose user presses q at the third frame."""

    frames: list = []  # noqa: RUF012 - of each test anew

    def write(self, frame, name):
        self.frames.append(frame)
        self.ended = len(self.frames) == 3


def test_json_on_standard_output_is_nothing_but_json(run, capsys):
    assert run("--source", SOURCE, "--json", "-") == 0
    out, err = capsys.readouterr()
    assert [json.loads(line)["frame"] for line in out.splitlines()] == [0, 1, 2]
    assert "3 frames" in err
    assert "written" not in err


def test_the_user_ends_it(run, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(window, "WindowSink", Screen)
    monkeypatch.setattr(Screen, "frames", [])
    lines = tmp_path / "a.jsonl"
    endless = "synthetic://256x192?fps=200"
    assert run("--source", endless, "--show", "--save", tmp_path / "a.avi", "--json", lines) == 0
    assert len(Screen.frames) == 3
    assert len(lines.read_text().splitlines()) == 3
    assert (tmp_path / "a.avi").stat().st_size > 0
    assert "3 frames" in capsys.readouterr().out


def test_frames_are_drawn_once_for_all(run, monkeypatch):
    from maskrt.runtime.detections import Detections

    drawn, draw = [], Detections.draw
    monkeypatch.setattr(Detections, "draw", lambda *a: drawn.append(0) or draw(*a))
    monkeypatch.setattr(window, "WindowSink", Screen)
    monkeypatch.setattr(Screen, "frames", [])
    assert run("--source", SOURCE, "--show", "--serve", "0") == 0
    assert len(drawn) == 3


def test_serve(run, monkeypatch, capsys):
    seen, write = [], mjpeg.MjpegSink.write

    def look(self, frame, name):
        write(self, frame, name)
        with urllib.request.urlopen(self.url + "snapshot.jpg", timeout=5) as page:
            seen.append(page.read(2))

    monkeypatch.setattr(mjpeg.MjpegSink, "write", look)
    assert run("--source", SOURCE, "--serve", "127.0.0.1:0") == 0
    assert seen == [b"\xff\xd8"] * 3
    assert re.search(r"^serving: http://127\.0\.0\.1:\d+/$", capsys.readouterr().out, re.M)


def test_serve_fails_before_the_model_is_loaded(tmp_path, capsys):
    with mjpeg.MjpegSink(port=0) as taken:
        arguments = ["run", str(tmp_path / "none.onnx"), "--source", SOURCE]
        assert main([*arguments, "--serve", str(taken.port)]) == 1
    assert "cannot be listened on" in capsys.readouterr().err


def test_passwords_are_not_printed(run, capfd):
    assert run("--source", "rtsp://me:s3cret@127.0.0.1:9/x") == 1
    out, err = capfd.readouterr()
    assert "rtsp://***@127.0.0.1:9/x cannot be opened" in err
    assert "s3cret" not in out + err


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("8080", ("127.0.0.1", 8080)),
        ("0.0.0.0:8080", ("0.0.0.0", 8080)),
        ("jetson.local:1", ("jetson.local", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("[::]:0", ("::", 0)),
    ],
)
def test_addresses(text, address):
    assert command._address(text) == address


@pytest.mark.parametrize(
    "text", ["", "x", ":8080", "::1:8080", "[::1]", "65536", "0.0.0.0:", "a/b:80", "http://a:80"]
)
def test_unusable_addresses(text):
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected a port"):
        command._address(text)


@pytest.mark.parametrize(
    ("arguments", "threads"),
    [
        ([], None),
        (["--json", "out.jsonl"], None),
        (["--save", "out.mp4"], 3),
        (["--serve", "0"], 3),
        (["--save", "out.mp4", "--threads", "4"], 4),
    ],
)
def test_a_core_is_left_to_what_draws(arguments, threads, monkeypatch):
    monkeypatch.setattr(command, "usable_cores", lambda: 4)
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    options = parser.parse_args(["model.onnx", "--source", "0", *arguments])
    assert command._shared_cores(options) == threads
